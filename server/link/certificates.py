"""The certificate that sites see: made here under an authority of our own, or given and checked.

An authority is made once, beside the coordinator's key, and lives for years: sites pin its certificate, `ca.crt`.
The server's certificate is made under it whenever there is none, it nears its end, or it does not name the host
that sites dial. Private keys lie in no run folder, since those are handed to auditors.
"""

from __future__ import annotations

import os
import ssl
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from federation.errors import UnusableFile
from federation.files import replace_file

_AUTHORITY: Final = timedelta(days=3650)
_SERVER: Final = timedelta(days=397)  # no longer is accepted everywhere
_NEAR: Final = timedelta(days=90)
_BEFORE: Final = timedelta(hours=1)  # clocks differ
_OURS: Final = "private-federation"
_ANY: Final = ("0.0.0.0", "::")  # noqa: S104  compared with, not bound


@dataclass(frozen=True)
class Certificate:
    """Files that a listener needs, and the one that sites pin (None: that of whoever signed the given one)."""

    chain: Path
    key: Path
    pinned: Path | None


def given(chain: Path, key: Path, host: str, now: datetime | None = None) -> Certificate:
    """A certificate that somebody else made, if sites that dial `host` will take it; else UnusableFile."""
    now = now or datetime.now(UTC)
    leaf, private = _leaf(chain), _private(key)
    if _public(leaf.public_key()) != _public(private.public_key()):
        raise UnusableFile(
            f"does not belong to the key {key}", hint="name the key of this very one", path=chain
        )
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        ends = leaf.not_valid_after_utc
        told = (
            f"expired on {ends:%Y-%m-%d}"
            if now > ends
            else f"is valid from {leaf.not_valid_before_utc:%Y-%m-%d} on"
        )
        raise UnusableFile(told, hint="have it renewed, or check this machine's clock", path=chain)
    if not _names_host(leaf, host):
        known = ", ".join(_names(leaf)) or "nobody"
        hint = "have one made with a subject alternative name for it, or write --address as it says"
        raise UnusableFile(f"names {known}, and sites dial {host}", hint=hint, path=chain)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key)
    except (OSError, ValueError):
        raise UnusableFile("is no certificate that TLS takes", hint="name a PEM file", path=chain) from None
    return Certificate(chain, key, None)


def own(folder: Path, host: str, now: datetime | None = None) -> Certificate:
    """A certificate for `host` under the authority in `folder`; each is made if it is not there or not good any
    more.

    UnusableFile if the folder cannot be written, or holds an authority that is none.
    """
    now = now or datetime.now(UTC)
    made = Certificate(folder / "server.crt", folder / "server.key", folder / "ca.crt")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority, key = _authority(folder, now)
        if not _is_good(made, authority, host, now):
            _make_server(made, authority, key, host, now)
    except OSError as error:
        reason = f"cannot be written ({error.strerror or type(error).__name__})"
        raise UnusableFile(reason, hint="check the folder", path=folder) from None
    return made


def _authority(folder: Path, now: datetime) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    file, secret = folder / "ca.crt", folder / "ca.key"
    if file.exists() or secret.exists():
        found, key = _leaf(file), _private(secret)
        hint = "put back what belongs together; or remove both, and give every site the new ca.crt"
        if not isinstance(key, EllipticCurvePrivateKey) or _public(found.public_key()) != _public(
            key.public_key()
        ):
            raise UnusableFile(f"does not belong to the key {secret}", hint=hint, path=file)
        if not found.not_valid_before_utc <= now <= found.not_valid_after_utc - _SERVER:
            raise UnusableFile("nears its end, or this machine's clock is wrong", hint=hint, path=file)
        return found, key
    key = generate_private_key(SECP256R1())
    name = _name("coordinator of a federation")
    builder = _begin(name, name, key, now, _AUTHORITY)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    replace_file(secret, _pem(key), is_secret=True)
    replace_file(file, certificate.public_bytes(Encoding.PEM))
    return certificate, key


def _make_server(
    made: Certificate, authority: x509.Certificate, signer: EllipticCurvePrivateKey, host: str, now: datetime
) -> None:
    key = generate_private_key(SECP256R1())
    builder = _begin(_name("coordinator"), authority.subject, key, now, _SERVER)
    about = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(about, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    names = [_general(each) for each in sorted(_hosts(host))]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(signer, hashes.SHA256())
    replace_file(made.key, _pem(key), is_secret=True)
    replace_file(made.chain, certificate.public_bytes(Encoding.PEM))


def _is_good(made: Certificate, authority: x509.Certificate, host: str, now: datetime) -> bool:
    """Whether the server's certificate on disk can be used for another while."""
    try:
        leaf, key = _leaf(made.chain), _private(made.key)
        leaf.verify_directly_issued_by(authority)
    except Exception:  # whatever is wrong with it, another one is made
        return False
    is_whole = _public(leaf.public_key()) == _public(key.public_key())
    is_now = leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc - _NEAR
    return is_whole and is_now and all(_names_host(leaf, each) for each in _hosts(host))


def _begin(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, now: datetime, lasts: timedelta
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - _BEFORE).not_valid_after(now + lasts)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _hosts(host: str) -> set[str]:
    """What the certificate names: the host that sites dial, and this machine for trials on it."""
    own_name = os.uname().nodename
    named = own_name if host in _ANY else host
    return {named, "localhost", "127.0.0.1"} if named else {"localhost", "127.0.0.1"}


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _names(leaf: x509.Certificate) -> list[str]:
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))]


def _names_host(leaf: x509.Certificate, host: str) -> bool:
    """Whether a client that dials `host` takes the certificate. Of an address that means all, nothing is known."""
    asked = host.rstrip(".").lower()
    if asked in _ANY:
        return True
    known = [name.lower() for name in _names(leaf)]
    parent = asked.partition(".")[2]
    is_address = isinstance(_general(asked), x509.IPAddress)
    return asked in known or (not is_address and "." in parent and f"*.{parent}" in known)


def _leaf(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())[0]
    except OSError as error:
        reason = f"cannot be read ({error.strerror or type(error).__name__})"
        raise UnusableFile(reason, hint="name the certificate in PEM form", path=path) from None
    except ValueError:
        raise UnusableFile("is no certificate in PEM form", hint="check the file", path=path) from None


def _private(path: Path) -> EllipticCurvePrivateKey:
    """The key in a file that nobody else on this machine can open."""
    try:
        with path.open("rb") as file:
            mode, data = stat.S_IMODE(os.fstat(file.fileno()).st_mode), file.read(1 << 16)
        key = load_pem_private_key(data, password=None)
    except OSError as error:
        reason = f"cannot be read ({error.strerror or type(error).__name__})"
        raise UnusableFile(reason, hint="name the key of the certificate", path=path) from None
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):
        hint = "name the key of the certificate, in PEM form and without a passphrase"
        raise UnusableFile("is no private key that can be read", hint=hint, path=path) from None
    if mode & 0o007:
        reason = f"others on this machine can open this private key (mode {mode:04o})"
        raise UnusableFile(reason, hint=f"chmod 600 {path}", path=path)
    return key  # type: ignore[return-value]  # of any kind that TLS takes; only its public half is looked at


def _public(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]


def _pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _name(common: str) -> x509.Name:
    words = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, _OURS),
        x509.NameAttribute(NameOID.COMMON_NAME, common),
    ]
    return x509.Name(words)
