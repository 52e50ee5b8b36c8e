"""Heads: signed notes of where a site's ledger ended, which others keep.

A chain of hashes does not show that its end was cut off, or that all of it is an older copy. Others can show it:
each site sends the head of its ledger along, the server and the peers remember it, and the site is shown its own
newest head again before it charges anything. If its chain lacks that head, the ledger was truncated, restored or
replaced, and the site refuses by itself. A head is signed, so only the site can have made it.

`ledger` tells the pools of one site apart without naming them: a pseudorandom function of the pool's name, keyed by
the site (HKDF, RFC 5869; HMAC-SHA256). A new journal for the same pool has the same tag, so it cannot pass for the
ledger of another pool.

A rehearsal has no ledger; what stands in its place has a tag that is known to all. Whoever verifies heads says
which of the two is meant, and the other is nobody's: so no head of a rehearsal is held against a site in a run, as
one of a ledger that it hides.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from privacy.canonical import JSON, MAX_WHOLE, Fields
from privacy.errors import MalformedMessage
from privacy.ledger.chain import Entry
from privacy.signing import SIGNATURE_BYTES, is_signed, sign
from privacy.wire import TEXT_BYTES, Reader, Writer, digest

_TAG_BYTES = 32
_HASH_BYTES = 32
_LABEL = "privacy/ledger/head/1"
REHEARSED = digest("privacy/ledger/rehearsal/1")
"""The tag of what stands for a ledger in a rehearsal."""


@dataclass(frozen=True)
class Head:
    """The last entry of the ledger `ledger` of `site`: its number and hash, signed by the site."""

    site: str
    ledger: bytes
    seq: int
    hash: bytes
    signature: bytes

    @classmethod
    def signed(cls, site: str, ledger: bytes, entry: Entry, key: Ed25519PrivateKey) -> Head:
        """The head of a ledger that ends in `entry`."""
        signature = sign(key, _LABEL, *_parts(site, ledger, entry.seq, entry.hash))
        return cls(site, ledger, entry.seq, entry.hash, signature)

    def is_signed_by(self, public: bytes, *, rehearsed: bool = False) -> bool:
        """Whether the holder of this public key, 32 bytes, showed this head: of a ledger, or in a rehearsal."""
        if (self.ledger == REHEARSED) is not rehearsed:
            return False
        return is_signed(public, self.signature, _LABEL, *_parts(self.site, self.ledger, self.seq, self.hash))

    def to_bytes(self) -> bytes:
        """As it travels."""
        writer = Writer().text(self.site).fixed(self.ledger).u64(self.seq)
        return writer.fixed(self.hash).fixed(self.signature).finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> Head:
        """MalformedMessage for anything but what `to_bytes` wrote. The signature is not checked."""
        reader = Reader(data)
        site, ledger, seq = reader.text(), reader.fixed(_TAG_BYTES), reader.u64()
        head = cls(site, ledger, seq, reader.fixed(_HASH_BYTES), reader.fixed(SIGNATURE_BYTES))
        reader.finish()
        if not head.site or head.seq > MAX_WHOLE:
            raise MalformedMessage("a head of no site, or of a ledger longer than any")
        return head

    def to_json(self) -> dict[str, JSON]:
        """As ledgers and receipts keep it."""
        return {"site": self.site, **head_body(self)}


def head_from_json(data: object) -> Head:
    """What `to_json` wrote. MalformedMessage for anything else; the signature is not checked."""
    try:
        fields = Fields(data)
        return head_from_fields(fields.text("site"), fields)
    except ValueError as error:
        raise MalformedMessage(f"a head {error}") from None


def head_body(head: Head) -> dict[str, JSON]:
    """A head without the name of its site, by which a witness entry files it."""
    ledger, signature = head.ledger.hex(), head.signature.hex()
    return {"ledger": ledger, "seq": head.seq, "hash": head.hash.hex(), "signature": signature}


def head_from_fields(site: str, fields: Fields) -> Head:
    """The head of `site` that these fields hold. ValueError if they hold none."""
    if not 0 < len(site.encode()) <= TEXT_BYTES:
        raise ValueError("is of no site")
    ledger, seq = fields.octets("ledger", _TAG_BYTES), fields.whole("seq")
    hash_, signature = fields.octets("hash", _HASH_BYTES), fields.octets("signature", SIGNATURE_BYTES)
    head = Head(site, ledger, seq, hash_, signature)
    fields.finish()
    return head


def pool_tag(key: Ed25519PrivateKey, pool: str) -> bytes:
    """The tag of a site's pool, 32 bytes: always the same, and without the key no test of a guessed name."""
    secret = HKDF(SHA256(), 32, salt=None, info=b"privacy/ledger/pool/1").derive(key.private_bytes_raw())
    return hmac.digest(secret, pool.encode(), hashlib.sha256)


def _parts(site: str, ledger: bytes, seq: int, hash_: bytes) -> tuple[bytes, ...]:
    return site.encode(), ledger, Writer().u64(seq).finish(), hash_
