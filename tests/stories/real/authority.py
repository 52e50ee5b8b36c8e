"""A certificate authority, and what it signs for a server on loopback."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


class Authority:
    """Writes `ca.crt`, `server.crt` and `server.key` into a folder."""

    def __init__(self, folder: Path, names: tuple[str, ...] = ("localhost", "127.0.0.1")) -> None:
        self.certificate, self.server, self.key = (
            folder / name for name in ("ca.crt", "server.crt", "server.key")
        )
        folder.mkdir(parents=True, exist_ok=True)
        own, server = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
        alternatives: list[x509.GeneralName] = [
            x509.IPAddress(IPv4Address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
        ]
        ca = _builder("authority of a test", "authority of a test", own)
        ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        ca = ca.add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(own.public_key())
        leaf = _builder(names[0], "authority of a test", server)
        leaf = leaf.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        leaf = leaf.add_extension(issuer, critical=False)
        self.certificate.write_bytes(ca.sign(own, SHA256()).public_bytes(Encoding.PEM))
        self.server.write_bytes(leaf.sign(own, SHA256()).public_bytes(Encoding.PEM))
        secret = server.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.key.touch(mode=0o600)
        self.key.write_bytes(secret)


def _builder(subject: str, issuer: str, key: EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in (subject, issuer)]
    builder = x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1])
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=30))
