"""Checkpoints of a ledger, and proofs as files: C2SP's tlog-proof, and a witness's add-checkpoint request.

A leaf is the line of an entry in an export. An entry's own hash is salted by the first entry, so the hashes in a
proof give away nothing of the entries that it does not show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from federation.ledger.export import entry_of, line_of
from privacy.errors import MalformedMessage
from privacy.ledger.chain import Entry, is_sealed
from privacy.tlog import merkle
from privacy.tlog.checkpoint import Checkpoint, checkpoint_of
from privacy.tlog.note import Note, decoded, encoded, note_from_text

PROOF = "c2sp.org/tlog-proof@v1"
_MAX_FILE = 1 << 20


def leaves_of(entries: Sequence[Entry]) -> list[bytes]:
    """The hashes of the tree's leaves."""
    return [merkle.leaf_hash(line_of(entry).encode()) for entry in entries]


def origin_of(entries: Sequence[Entry]) -> str:
    """The log's name: one for each ledger, so that two ledgers of one site are two logs."""
    first = entries[0]
    return f"{logs_of(str(first.body['site']))}{first.hash.hex()[:16]}"


def logs_of(site: str) -> str:
    """How the names of all logs of a site begin."""
    return f"private-federation/{site}/"


def checkpoint_at(entries: Sequence[Entry]) -> Checkpoint:
    """Where a ledger stands, after all these entries."""
    return Checkpoint(origin_of(entries), len(entries), merkle.root_of(leaves_of(entries)))


@dataclass(frozen=True)
class Inclusion:
    """That one entry is in the tree of a checkpoint, and which place it has there."""

    entry: Entry
    index: int
    path: tuple[bytes, ...]
    note: Note

    def __str__(self) -> str:
        lines = [PROOF, f"extra {encoded(line_of(self.entry).encode())}", f"index {self.index}"]
        return "\n".join([*lines, *map(encoded, self.path), "", str(self.note)])

    def holds(self) -> bool:
        """Whether the entry is where it says, if the note is believed, and its hash, as others saw it, its own."""
        if not is_sealed(self.entry):
            return False
        told, leaf = checkpoint_of(self.note), merkle.leaf_hash(line_of(self.entry).encode())
        return merkle.is_included(leaf, self.index, told.size, self.path, told.root)


@dataclass(frozen=True)
class Continued:
    """That the tree of a checkpoint continues the one of its first `old` entries, which a witness may have seen."""

    old: int
    path: tuple[bytes, ...]
    note: Note

    def __str__(self) -> str:
        return "\n".join([f"old {self.old}", *map(encoded, self.path), "", str(self.note)])

    def holds(self, old_root: bytes) -> bool:
        """Whether it does, from a tree of that size with this root."""
        told = checkpoint_of(self.note)
        return merkle.is_consistent(self.old, old_root, told.size, told.root, self.path)


def included(entries: Sequence[Entry], seq: int, note: Note) -> Inclusion:
    """The proof of entry number `seq`. ValueError if the checkpoint has no such entry, or is of another ledger."""
    known = _covered(entries, note)
    places = [index for index, entry in enumerate(known) if entry.seq == seq]
    if not places:
        raise ValueError(f"this checkpoint has no entry {seq}")
    path = merkle.inclusion(leaves_of(known), places[0])
    return Inclusion(known[places[0]], places[0], tuple(path), note)


def continued(entries: Sequence[Entry], old: int, note: Note) -> Continued:
    """The proof from a tree of `old` entries. ValueError if the checkpoint has fewer, or is of another ledger."""
    known = _covered(entries, note)
    if old > len(known):
        raise ValueError(f"this checkpoint has {len(known)} entries, and the older one {old}")
    return Continued(old, tuple(merkle.consistency(leaves_of(known), old)), note)


def _covered(entries: Sequence[Entry], note: Note) -> Sequence[Entry]:
    told = checkpoint_of(note)
    known = entries[: told.size]
    if not known or told != checkpoint_at(known):
        raise ValueError("this checkpoint is of another ledger, or of a history that this one does not have")
    return known


def inclusion_from_text(text: str) -> Inclusion:
    """The proof of a file; MalformedMessage for any other text. Nothing is verified."""
    head, _, note = text.partition("\n\n")
    lines = head.split("\n")
    if len(text) > _MAX_FILE or len(lines) < 3 or lines[0] != PROOF:
        raise MalformedMessage("this is no proof of an entry")
    extra, index = _after("extra ", lines[1]), _number(_after("index ", lines[2]))
    try:
        entry = entry_of(decoded(extra).decode())
    except ValueError:
        raise MalformedMessage("the entry in this proof cannot be read") from None
    return Inclusion(entry, index, _path(lines[3:]), checkpoint_from_text(note))


def continued_from_text(text: str) -> Continued:
    """The proof of a file; a checkpoint alone stands for one from nothing. MalformedMessage for any other text."""
    if len(text) > _MAX_FILE:
        raise MalformedMessage("this file is too long")
    if not text.startswith("old "):
        return Continued(0, (), checkpoint_from_text(text))
    head, _, note = text.partition("\n\n")
    first, *rest = head.split("\n")
    return Continued(_number(_after("old ", first)), _path(rest), checkpoint_from_text(note))


def checkpoint_from_text(text: str) -> Note:
    """The note of a file that holds a checkpoint; MalformedMessage for any other text. Nothing is verified."""
    note = note_from_text(text)
    checkpoint_of(note)
    return note


def _path(lines: Sequence[str]) -> tuple[bytes, ...]:
    path = tuple(decoded(line) for line in lines)
    if len(path) > merkle.MAX_PROOF or any(len(step) != merkle.HASH_BYTES for step in path):
        raise MalformedMessage("the hashes of this proof cannot be right")
    return path


def _after(name: str, line: str) -> str:
    if not line.startswith(name):
        raise MalformedMessage(f'a line of this proof does not begin with "{name.strip()}"')
    return line.removeprefix(name)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or (text[0] == "0" and text != "0") or len(text) > 18:
        raise MalformedMessage("a number of this proof is none")
    return int(text)
