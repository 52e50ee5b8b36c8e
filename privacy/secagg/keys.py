"""One-time keys: X25519 and ML-KEM-768 for agreement, HKDF-SHA256 for derivation, AES-256-GCM for sealing.

A site draws one root of 32 bytes per attempt. Three secrets follow from it, and no one of them from another: the
mask secret and the self seed, which are shared, and the channel secret, which never is (RFC 7748, RFC 5869, FIPS
203).

    One rule: no secret that is ever shared or revealed derives or decrypts anything that carries a share.

So a mask secret that the others rebuild, because its site was lost, gives that site's pair masks and opens no seal.
Every derivation names its use in a label and carries the transcript as salt. See docs/protocol.md, section 4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from privacy.secagg.kem import KemPair
from privacy.suite import label
from privacy.wire import Writer

SECRET_BYTES = 32
PUBLIC_BYTES = 32
TAG_BYTES = 16

_FIELD = 2**255 - 19
# The u-coordinates of the points of an order that divides 8, on the curve and on its twist. Agreement with one of
# them yields zero whatever the private key, so a server could know the "secret" (RFC 7748, section 6.1).
_SMALL_ORDER = (
    *(0, 1, _FIELD - 1),
    0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
    0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
)
_NONCE = bytes(12)


def derive(secret: bytes, salt: bytes, use: str, *parts: bytes) -> bytes:
    """32 bytes by HKDF-SHA256; the label of this use and the length-prefixed parts form the info."""
    info = Writer().text(label(use))
    for part in parts:
        info.blob(part)
    return HKDF(hashes.SHA256(), SECRET_BYTES, salt, info.finish()).derive(secret)


def slot_bytes(slot: int) -> bytes:
    """One slot, as it enters derivations, digests and signatures: u16."""
    return slot.to_bytes(2, "big")


def slots_bytes(slots: Iterable[int]) -> bytes:
    """Slots as they enter derivations, digests and signatures: u16 each, ascending."""
    return b"".join(map(slot_bytes, sorted(slots)))


def secret_names(levels: int) -> tuple[str, ...]:
    """The names of a site's shared secrets, in the order of the wire, with so many levels of excess noise."""
    return ("s", "m", *(f"e{level}" for level in range(1, levels + 1)))


@dataclass(frozen=True, repr=False)
class Secrets:
    """A site's secrets in one attempt, 32 bytes each."""

    mask: bytes  # s: shared; rebuilt if the site is lost
    seed: bytes  # m: shared; rebuilt if the site survives
    channel: bytes  # w: never shared, never revealed

    @classmethod
    def of(cls, root: bytes, session: bytes) -> Secrets:
        """The secrets that follow from this root in this session. The site shares the root with no one."""
        return cls(
            derive(root, session, "mask secret"),
            derive(root, session, "self seed"),
            derive(root, session, "channel secret"),
        )


@dataclass(frozen=True)
class KeyPair:
    """One X25519 key pair; `public` is 32 bytes."""

    private: X25519PrivateKey = field(repr=False)
    public: bytes

    @classmethod
    def from_secret(cls, secret: bytes, context: bytes, use: str) -> KeyPair:
        """The key pair that follows from this secret, under this context and for this use."""
        private = X25519PrivateKey.from_private_bytes(derive(secret, context, use))
        return cls(private, private.public_key().public_bytes_raw())

    def agree(self, public: bytes) -> bytes:
        """The raw X25519 secret shared with a peer; only ever a key to `derive`. ValueError if it is zero."""
        return self.private.exchange(X25519PublicKey.from_public_bytes(public))


def channel_pair(secret: bytes, context: bytes) -> KeyPair:
    """The X25519 key pair for sealed shares, from the channel secret."""
    return KeyPair.from_secret(secret, context, "channel key")


def kem_pair(secret: bytes, context: bytes) -> KemPair:
    """The ML-KEM-768 key pair for sealed shares, from the channel secret."""
    return KemPair.from_seed(derive(secret, context, "kem d"), derive(secret, context, "kem z"))


def is_public_key(public: bytes) -> bool:
    """Whether 32 bytes are the one canonical encoding of a point that is not of small order."""
    coordinate = int.from_bytes(public, "little")
    return len(public) == PUBLIC_BYTES and coordinate < _FIELD and coordinate not in _SMALL_ORDER


def mask_half(secret: bytes, adverts: bytes, own: int, peer: int) -> bytes:
    """x: the part of a pair's mask key that slot `own` gives, from its mask secret."""
    return derive(secret, adverts, "half", slot_bytes(own), slot_bytes(peer))


def wrap_half(secret: bytes, adverts: bytes, own: int, peer: int) -> bytes:
    """y: what `peer` wraps its own mask half in for slot `own`, from the mask secret of `own`."""
    return derive(secret, adverts, "wrap half", slot_bytes(own), slot_bytes(peer))


@dataclass(frozen=True)
class Channel:
    """One direction between two sites, for exactly one message.

    The zero nonce is safe because the key never seals twice. Each key is made with a secret that is encapsulated
    anew for it, so even a site whose state is rolled back seals under another key.
    """

    key: bytes = field(repr=False)
    address: bytes

    @classmethod
    def between(
        cls,
        agreed: bytes,
        encapsulated: bytes,
        ciphertext: bytes,
        adverts: bytes,
        sender: int,
        recipient: int,
    ) -> Channel:
        """The channel from one slot to another: of what X25519 agreed and what ML-KEM encapsulated, both needed.

        The adverts' digest fixes all public keys.
        """
        ends = slot_bytes(sender), slot_bytes(recipient)
        key = derive(agreed + encapsulated, adverts, "channel", *ends, ciphertext)
        return cls(key, Writer().fixed(adverts).u16(sender).u16(recipient).finish())

    @classmethod
    def of_wrap(cls, half: bytes, transcript: bytes, sender: int, recipient: int) -> Channel:
        """How `sender` wraps its mask half for `recipient`, under the wrap half that `recipient` dealt to it.

        The key serves once: a site masks once in an attempt, and the transcript is the attempt's.
        """
        key = derive(half, transcript, "wrap", slot_bytes(sender), slot_bytes(recipient))
        return cls(key, Writer().fixed(transcript).u16(sender).u16(recipient).finish())

    def seal(self, plaintext: bytes) -> bytes:
        """Encrypted and authenticated together with transcript, sender and recipient."""
        return AESGCM(self.key).encrypt(_NONCE, plaintext, self.address)

    def open(self, sealed: bytes) -> bytes | None:
        """The plaintext, or None if these bytes were not sealed for this channel."""
        try:
            return AESGCM(self.key).decrypt(_NONCE, sealed, self.address)
        except InvalidTag:
            return None
