"""Reads any ledger from its file and writes it out: for people, auditors and backups; a journal is never touched.

A `.sqlite` journal may be in use, or lie where nothing can be written. So it is never opened: its bytes are copied,
with those of its write-ahead log, and the copy is opened. The log is read before and after the file. If it did not
change, it still held everything that could have moved from it into the file meanwhile, so the copy is a state that
the journal was in.

An export has one line per entry, each the canonical JSON of an entry: seq, kind, body, previous, hash, signature.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from federation.errors import UnusableFile
from federation.ledger import durable
from federation.ledger.store import check_file, explained, read
from privacy.canonical import Fields, canonical, parsed
from privacy.errors import LedgerCorrupt
from privacy.ledger.chain import HASH_BYTES, Entry
from privacy.signing import SIGNATURE_BYTES

_SQLITE = b"SQLite format 3\0"
_TRIES, _PAUSE_SECONDS = 200, 0.01


def load_entries(path: Path, *, may_be_backup: bool = True) -> tuple[Entry, ...]:
    """The entries of a journal, a backup or an export, as they stand: `fold` tells whether they verify.

    LedgerCorrupt if the file is neither, or damaged; UnusableFile if it cannot be read; LedgerRefusal for a backup
    where that will not do.
    """
    try:
        log, content = _snapshot(path)
    except OSError as error:
        reason = error.strerror or "unknown error"
        raise UnusableFile(
            f"this ledger cannot be read ({reason})", hint="check the path", path=path
        ) from None
    if content.startswith(_SQLITE):
        return _journaled(path.name, log, content, may_be_backup)
    try:
        lines = content.decode().removesuffix("\n").split("\n")
        entries = tuple(entry_of(line) for line in lines)
    except ValueError:
        entries = ()
    if not entries:
        raise LedgerCorrupt(
            f"{path.name} is damaged, or no ledger",
            "unreadable",
            hint="a ledger is .sqlite, or an export of it",
        )
    return entries


def export_lines(entries: Sequence[Entry]) -> str:
    """The text of an export. ValueError for an entry without canonical form."""
    return "".join(f"{line_of(entry)}\n" for entry in entries)


def _snapshot(path: Path) -> tuple[bytes, bytes]:
    """The bytes of the write-ahead log and of the file, as they were at one time."""
    log = path.with_name(f"{path.name}-wal")
    for _ in range(_TRIES):
        before, content = _read(log), path.read_bytes()
        # Without a log the file itself must have held still.
        if before == _read(log) and (before or content == path.read_bytes()):
            return before, content
        time.sleep(_PAUSE_SECONDS)
    raise OSError(0, "it is being written all the time")


def _read(log: Path) -> bytes:
    try:
        return log.read_bytes()
    except FileNotFoundError:
        return b""


def _journaled(name: str, log: bytes, content: bytes, may_be_backup: bool) -> tuple[Entry, ...]:
    """The entries of a copy: the copy may hold a kept release, so it is overwritten before it is unlinked."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / name
        files = [(copy, content)] + ([(copy.with_name(f"{name}-wal"), log)] if log else [])
        try:
            for path, data in files:
                path.touch(mode=0o600)
                path.write_bytes(data)
            with explained(copy), closing(durable.connect(copy)) as connection:
                check_file(connection, may_be_backup=may_be_backup)
                return read(connection)
        finally:
            for path in Path(folder).iterdir():
                path.write_bytes(bytes(path.stat().st_size))


def line_of(entry: Entry) -> str:
    """The line of one entry, without its line break: the bytes that a checkpoint's tree has as a leaf."""
    return canonical(
        {
            "seq": entry.seq,
            "kind": entry.kind,
            "body": entry.body,
            "previous": entry.previous.hex(),
            "hash": entry.hash.hex(),
            "signature": entry.signature.hex(),
        }
    )


def entry_of(line: str) -> Entry:
    """The entry of such a line; ValueError if it is none. Nothing is verified."""
    fields = Fields(parsed(line))
    seq, kind, body = fields.whole("seq"), fields.text("kind"), fields.table("body")
    previous, hash_ = fields.octets("previous", HASH_BYTES), fields.octets("hash", HASH_BYTES)
    entry = Entry(seq, kind, body, previous, hash_, fields.octets("signature", SIGNATURE_BYTES))
    fields.finish()
    return entry
