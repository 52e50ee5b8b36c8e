"""Signed notes, as C2SP specifies them (signed-note v1): lines of text that one or more Ed25519 keys sign.

A note's text has no control characters but line breaks. Every other statement that a site's key signs opens with a
length in bytes (`privacy.signing`), a zero byte among them. So no note is one of those, and none of those a note.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.errors import MalformedMessage
from privacy.signing import IDENTITY_BYTES, holds, is_identity

LOG, WITNESS = 0x01, 0x04
"""Types of a signature: of the note by itself, and of a witness with the time at which it saw it."""
MAX_NOTE: Final = 1 << 16
_MOST_SIGNATURES = 64
_DASH, _ID_BYTES = "\u2014 ", 4


@dataclass(frozen=True)
class Verifier:
    """A key that a reader trusts: the name that it signs under, the type of its signatures, 32 public bytes."""

    name: str
    type: int
    key: bytes

    def __post_init__(self) -> None:
        """MalformedMessage for a name that no note can have, or a key that fits many statements."""
        if not self.name or "+" in self.name or any(c.isspace() or not c.isprintable() for c in self.name):
            raise MalformedMessage("a key's name in a note has neither blanks nor a plus sign")
        if not is_identity(self.key):
            raise MalformedMessage("this is no public key of Ed25519")

    @property
    def id(self) -> bytes:
        """Four bytes that tell keys of one name apart. They prove nothing."""
        digest = hashes.Hash(hashes.SHA256())
        digest.update(self.name.encode() + b"\n" + bytes([self.type]) + self.key)
        return digest.finalize()[:_ID_BYTES]

    def __str__(self) -> str:
        """As others are told of it: NAME+ID+KEY."""
        return f"{self.name}+{self.id.hex()}+{encoded(bytes([self.type]) + self.key)}"


def verifier_from_text(text: str) -> Verifier:
    """The key of a text NAME+ID+KEY; MalformedMessage for any other."""
    name, _, rest = text.strip().partition("+")
    identity, _, key = rest.partition("+")
    raw = decoded(key)
    if len(raw) != 1 + IDENTITY_BYTES or raw[0] not in (LOG, WITNESS):
        raise MalformedMessage("this is no key of a note: it has the form NAME+ID+KEY")
    known = Verifier(name, raw[0], raw[1:])
    if identity != known.id.hex():
        raise MalformedMessage("the id in this key of a note is of another key")
    return known


@dataclass(frozen=True)
class Signature:
    """One line under a note."""

    name: str
    id: bytes
    content: bytes


@dataclass(frozen=True)
class Note:
    """A text that ends in a line break, and the signatures under it. Nothing is verified yet."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        lines = [f"{_DASH}{one.name} {encoded(one.id + one.content)}\n" for one in self.signatures]
        return f"{self.text}\n{''.join(lines)}"

    def signed(self, name: str, key: Ed25519PrivateKey) -> Note:
        """With one more signature of its text."""
        by = Verifier(name, LOG, key.public_key().public_bytes_raw())
        return self.under(Signature(name, by.id, key.sign(self.text.encode())))

    def under(self, signature: Signature) -> Note:
        """With one more signature; an older one of the same key goes."""
        kept = [one for one in self.signatures if (one.name, one.id) != (signature.name, signature.id)]
        return replace(self, signatures=(*kept, signature))

    def of(self, by: Verifier) -> Sequence[bytes]:
        """What stands under the note in this key's name."""
        return [one.content for one in self.signatures if (one.name, one.id) == (by.name, by.id)]

    def is_signed(self, by: Verifier) -> bool:
        """Whether the holder of a log's key signed the text, and nothing false stands there in its name."""
        found = self.of(by)
        return bool(found) and all(holds(by.key, content, self.text.encode()) for content in found)


def note_of(text: str) -> Note:
    """A text to be signed; MalformedMessage for one that no note can have."""
    if not text.endswith("\n") or any(c < " " and c != "\n" for c in text) or len(text.encode()) > MAX_NOTE:
        raise MalformedMessage("this text cannot be signed as a note")
    return Note(text, ())


def note_from_text(content: str) -> Note:
    """The note of a file's text. MalformedMessage for anything else; it shows nothing of the content."""
    text, blank, below = content.rpartition("\n\n")
    lines = below.split("\n")
    if not blank or lines[-1] or not 1 < len(lines) <= _MOST_SIGNATURES + 1 or len(content) > MAX_NOTE:
        raise MalformedMessage("this is no signed note")
    return replace(note_of(f"{text}\n"), signatures=tuple(_signature(line) for line in lines[:-1]))


def _signature(line: str) -> Signature:
    name, _, content = line.removeprefix(_DASH).partition(" ")
    raw = decoded(content)
    if not line.startswith(_DASH) or not name or len(raw) <= _ID_BYTES:
        raise MalformedMessage("a line under this note is no signature")
    return Signature(name, raw[:_ID_BYTES], raw[_ID_BYTES:])


def encoded(data: bytes) -> str:
    """Base 64 as RFC 4648, section 4, has it."""
    return b64encode(data).decode()


def decoded(text: str) -> bytes:
    """The bytes of base 64 in its one canonical form; MalformedMessage for any other text."""
    try:
        data = b64decode(text, validate=True)
    except (Error, ValueError):
        data = b""
    if not data or encoded(data) != text:
        raise MalformedMessage("this is no text of a signed note")
    return data
