"""Long-term identities: Ed25519 signatures over labeled digests.

A site signs its adverts and its votes; consortium keys sign the roster. Every statement opens with a label, so a
signature made for one purpose serves no other (RFC 8032). Verification is cofactorless.
See docs/protocol.md, section 4.
"""

from __future__ import annotations

from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from privacy.wire import Octets, Writer, digest

IDENTITY_BYTES = 32
SIGNATURE_BYTES = 64

_FIELD = 2**255 - 19
_SIGN_BIT = 1 << 255
# The y-coordinates of the points of an order that divides 8. Under such a key a signature fits many statements.
_SMALL_ORDER = (
    *(0, 1, _FIELD - 1),
    0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
)


def sign(key: Ed25519PrivateKey, label: str, *parts: Octets) -> bytes:
    """A signature of 64 bytes over the label and a digest of the length-prefixed parts."""
    return key.sign(_statement(label, parts))


def is_signed(key: bytes, signature: bytes, label: str, *parts: Octets) -> bool:
    """Whether the holder of this public key, 32 bytes, signed these parts under this label."""
    return _verify(key, signature, _statement(label, parts))


def holds(key: bytes, signature: bytes, statement: bytes) -> bool:
    """Whether a key signed just these bytes, as other protocols have it; False for what is no key or signature."""
    is_possible = len(signature) == SIGNATURE_BYTES and is_identity(key)
    return is_possible and _is_true(key, signature, statement)


@lru_cache(maxsize=1 << 14)
def _verify(key: bytes, signature: bytes, statement: bytes) -> bool:
    """Cached: the answer follows from public bytes alone, and in a simulation every site asks for the same ones."""
    return _is_true(key, signature, statement)


def _is_true(key: bytes, signature: bytes, statement: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, statement)
    except InvalidSignature:
        return False
    return True


def forget_verified() -> None:
    """Verify the next signature anew, whether or not it was seen before: for a stopwatch."""
    _verify.cache_clear()


def public_identity(key: Ed25519PrivateKey) -> bytes:
    """The 32 bytes by which others know this key."""
    return key.public_key().public_bytes_raw()


def is_identity(key: bytes) -> bool:
    """Whether 32 bytes are a canonical encoding, and not of a point of small order."""
    coordinate = int.from_bytes(key, "little") & ~_SIGN_BIT
    return len(key) == IDENTITY_BYTES and coordinate < _FIELD and coordinate not in _SMALL_ORDER


def _statement(label: str, parts: tuple[Octets, ...]) -> bytes:
    """The label in the clear, so that no other protocol's statement is one of ours, and a digest of the rest."""
    return Writer().text(label).fixed(digest(label, *parts)).finish()
