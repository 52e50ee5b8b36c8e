"""Certificates made here, for site files that name one, and for servers that show one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


def certificate(begins: timedelta = timedelta(days=-1), ends: timedelta = timedelta(days=1)) -> bytes:
    """A self-signed certificate in PEM form, valid between these moments, seen from now."""
    key, now = Ed25519PrivateKey.generate(), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fed.example.org")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now + begins).not_valid_after(now + ends)
    return builder.sign(key, None).public_bytes(Encoding.PEM)


class Authority:
    """An authority of a test's own, which signs certificates for hosts."""

    def __init__(self, name: str = "the federation's authority") -> None:
        self._key, self._name = generate_private_key(SECP256R1()), _named(name)
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
            decipher_only=False,
        )  # fmt: skip
        builder = _valid(_builder(self._name, self._name, self._key), timedelta(days=-1), timedelta(days=2))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        own = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        builder = builder.add_extension(own, critical=False)
        self._own = builder.add_extension(usage, critical=True).sign(self._key, SHA256())
        self.pem = self._own.public_bytes(Encoding.PEM)

    def signed(
        self,
        *hosts: str,
        begins: timedelta = timedelta(days=-1),
        ends: timedelta = timedelta(days=1),
    ) -> tuple[bytes, bytes]:
        """A certificate for these names and addresses, and its private key, both in PEM form."""
        key = generate_private_key(SECP256R1())
        names = [_general(host) for host in hosts]
        builder = _valid(_builder(_named(hosts[0]), self._name, key), begins, ends)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        signed = builder.add_extension(issuer, critical=False).sign(self._key, SHA256())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return signed.public_bytes(Encoding.PEM), private

    def write(self, folder: Path, *hosts: str) -> Path:
        """ca.crt, server.crt and server.key in a folder; the first one's path. Nobody else can open the key."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "server.key").touch(mode=0o600)
        signed, private = self.signed(*hosts)
        for name, content in (("ca.crt", self.pem), ("server.crt", signed), ("server.key", private)):
            (folder / name).write_bytes(content)
        return folder / "ca.crt"


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
    return builder.public_key(key.public_key()).serial_number(x509.random_serial_number())


def _valid(builder: x509.CertificateBuilder, begins: timedelta, ends: timedelta) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return builder.not_valid_before(now + begins).not_valid_after(now + ends)
