"""ML-KEM-768 (FIPS 203), the half of a channel that a quantum computer does not open.

Whoever holds a site's public key encapsulates to it: out come a secret of 32 bytes and a ciphertext, from which the
site, and nobody else, makes the same secret. A ciphertext that was altered is not refused; it gives another secret
(implicit rejection). So the secret is only ever part of the key of a seal, and then the seal does not open. See
docs/protocol.md, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm

from privacy.errors import UnsafeParameters

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey

KEM_KEY_BYTES = 1184
CIPHERTEXT_BYTES = 1088
_SEED_BYTES = 64


@dataclass(frozen=True)
class KemPair:
    """One ML-KEM-768 key pair; `public` is 1184 bytes."""

    private: MLKEM768PrivateKey = field(repr=False)
    public: bytes

    @classmethod
    def from_seed(cls, d: bytes, z: bytes) -> KemPair:
        """The key pair of the two seeds of FIPS 203, 32 bytes each. UnsafeParameters without ML-KEM in this
        build.
        """
        if len(d) + len(z) != _SEED_BYTES:
            raise ValueError(f"the seeds of a KEM key have {_SEED_BYTES} bytes")
        try:
            from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

            private = MLKEM768PrivateKey.from_seed_bytes(d + z)
        except (ImportError, UnsupportedAlgorithm):
            raise _missing() from None
        return cls(private, private.public_key().public_bytes_raw())

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """The secret of a ciphertext of 1088 bytes, 32 bytes. Of an altered one, another secret."""
        return self.private.decapsulate(ciphertext)


def encapsulate(public: bytes) -> tuple[bytes, bytes]:
    """A fresh secret of 32 bytes, and the ciphertext that carries it to the holder of this key."""
    return _loaded(public).encapsulate()


def is_kem_key(public: bytes) -> bool:
    """Whether these bytes are a public key: 1184 of them, every coefficient below the modulus (FIPS 203, 7.2)."""
    try:
        _loaded(public)
    except ValueError:
        return False
    return True


def require_kem() -> None:
    """UnsafeParameters, in one line, if this build has no ML-KEM: before a site is asked for anything."""
    _loaded(bytes(KEM_KEY_BYTES))


def _loaded(public: bytes) -> MLKEM768PublicKey:
    try:
        from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey

        return MLKEM768PublicKey.from_public_bytes(public)
    except (ImportError, UnsupportedAlgorithm):
        raise _missing() from None


def _missing() -> UnsafeParameters:
    return UnsafeParameters(
        "this build of the package `cryptography` has no ML-KEM-768, and no channel is made without it",
        hint="install cryptography 48 or newer from its own wheels, with OpenSSL 3.5 or newer",
    )
