"""Certificates made here, for site files that name one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID


def certificate(begins: timedelta = timedelta(days=-1), ends: timedelta = timedelta(days=1)) -> bytes:
    """A self-signed certificate in PEM form, valid between these moments, seen from now."""
    key, now = Ed25519PrivateKey.generate(), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fed.example.org")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now + begins).not_valid_after(now + ends)
    return builder.sign(key, None).public_bytes(Encoding.PEM)
