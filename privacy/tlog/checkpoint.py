"""Checkpoints (C2SP tlog-checkpoint) and what witnesses add to them (tlog-cosignature, Ed25519).

A checkpoint is a note of three lines: the log's name, how many entries it has, the root of their Merkle tree.
A cosignature says that at a time the witness knew no longer tree of that log, and that this one continues all that
it had seen before. Enough witnesses, and a log cannot show one history to a site and another to an auditor.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.errors import MalformedMessage
from privacy.signing import SIGNATURE_BYTES, holds
from privacy.tlog.merkle import HASH_BYTES, root_of
from privacy.tlog.note import WITNESS, Note, Signature, Verifier, decoded, encoded, note_of

MAX_SIZE = 1 << 63
_TIME = struct.Struct(">Q")


@dataclass(frozen=True)
class Checkpoint:
    """Where a log stands: `root` is over its first `size` entries."""

    origin: str
    size: int
    root: bytes

    def note(self) -> Note:
        """As a note that is to be signed."""
        return note_of(f"{self.origin}\n{self.size}\n{encoded(self.root)}\n")


def checkpoint_of(note: Note) -> Checkpoint:
    """What a note says; MalformedMessage if it is no checkpoint. Lines beyond the third are refused."""
    match note.text.split("\n"):
        case [str(origin), str(size), str(root), ""] if origin and re.fullmatch(r"0|[1-9][0-9]{0,18}", size):
            raw = decoded(root)
            is_tree = len(raw) == HASH_BYTES and (size != "0" or raw == root_of(()))
            if is_tree and int(size) < MAX_SIZE:
                return Checkpoint(origin, int(size), raw)
    raise MalformedMessage("this note is no checkpoint of three lines")


def cosigned(note: Note, name: str, key: Ed25519PrivateKey, seconds: int) -> Note:
    """The note with a cosignature of this time, in seconds since 1970. The caller has seen that it continues."""
    by = Verifier(name, WITNESS, key.public_key().public_bytes_raw())
    content = _TIME.pack(seconds) + key.sign(_statement(note, seconds))
    return note.under(Signature(name, by.id, content))


def seen_at(note: Note, by: Verifier) -> int | None:
    """The time of a witness's cosignature; None if it did not sign, or anything in its name is false."""
    times = []
    for content in note.of(by):
        if len(content) != _TIME.size + SIGNATURE_BYTES:
            return None
        (seconds,) = _TIME.unpack(content[: _TIME.size])
        if seconds >= MAX_SIZE or not holds(by.key, content[_TIME.size :], _statement(note, seconds)):
            return None
        times.append(seconds)
    return max(times, default=None)


def _statement(note: Note, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{note.text}".encode()
