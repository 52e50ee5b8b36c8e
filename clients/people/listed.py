"""The list of people who withdrew from a pool: a file beside the ledger, read and written by its owner alone.

It holds a secret, the column that names people, and one line for each withdrawal: a mark, which stands for the
person under the secret, and the day. It holds no id. It only grows: whoever consents anew is a further line. So the
list of any earlier moment is a beginning of the present one, and the ledger, whose releases commit to it, tells
whether a list is older than one that was used (`require_newest`).

A list is there from the first time that the site is opened, whether anybody withdraws or not. One that is missing
later was lost, and the records of those who were on it would come back: nothing is released until its newest copy
is back, or it was made anew with the ids of all of them (`since`: what the ledger says up to this entry was said of
another list).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from clients.policy import SiteFile
from federation.files import replace_file
from federation.plan.identifiers import cleaned, digest_of
from privacy.canonical import JSON, Fields
from privacy.errors import RecordsUnavailable
from privacy.ledger import withdrawals as said
from privacy.ledger.chain import Entry

_VERSION = 1
_ANEW = (
    "put its newest copy back; if there is none, give all ids again: federation ledger withdraw SITE --anew"
)


@dataclass(frozen=True)
class Line:
    """One person withdrew on a day, or, with `is_back`, consented anew."""

    mark: bytes
    made: str
    is_back: bool = False

    def to_json(self) -> dict[str, JSON]:
        """Plain data."""
        return {"person": self.mark.hex(), "made": self.made, "back": self.is_back}


@dataclass(frozen=True)
class Withdrawals:
    """The list at one moment. `column` names people in the site's tables; nobody can withdraw without one."""

    secret: bytes = field(repr=False)
    column: str | None
    since: int = 0
    lines: tuple[Line, ...] = field(default=(), repr=False)

    @classmethod
    def new(cls, column: str | None, since: int = 0) -> Withdrawals:
        """An empty list, under a secret of its own."""
        return cls(os.urandom(said.SECRET_BYTES), column, since)

    def mark(self, person: str) -> bytes:
        """What stands for a person. Spellings that a pool takes for one are one."""
        return said.mark(self.secret, digest_of(cleaned(person)))

    def marks(self, lines: int | None = None) -> tuple[bytes, ...]:
        """Those who are withdrawn, in order; after so many lines, or now."""
        found: dict[bytes, None] = {}
        for line in self.lines[:lines]:
            found.pop(line.mark, None)
            if not line.is_back:
                found[line.mark] = None
        return tuple(found)

    def commitment(self, previous: bytes) -> str:
        """What the entry after the one with this hash says of the list, in hex."""
        return said.commitment(said.salt(self.secret, previous), self.marks()).hex()

    def lines_at(self, entry: Entry, start: int = 0) -> int | None:
        """How many lines the list had that a release commits to, from `start` on; None if it is of another list."""
        places = range(start, len(self.lines) + 1)
        return next((at for at in places if self._is_of(entry, at)), None)

    def _is_of(self, entry: Entry, lines: int) -> bool:
        salt = said.salt(self.secret, entry.previous)
        return said.commitment(salt, self.marks(lines)).hex() == entry.body[said.FIELD]

    def require_newest(self, last: Entry | None, path: Path, likely: int = 0) -> int:
        """How many lines the list had that `last`, the ledger's last release, was made with.

        RecordsUnavailable if this list never was that one. Asked in every round, so what is `likely` is tried
        first: how long it takes must not tell how many withdrew since.
        """
        if last is None or last.seq <= self.since:
            return likely
        for lines in chain([likely], range(len(self.lines), -1, -1)):
            if self._is_of(last, lines):
                return lines
        raise RecordsUnavailable(
            f"{path}: the list of people who withdrew is not the one that entry {last.seq} of the ledger was made "
            "with, nor one that follows it: an older copy, or another list",
            hint=_ANEW,
        )

    def by_column(self, column: str | None, path: Path) -> Withdrawals:
        """The list, by whom this column names. RecordsUnavailable if people are on it by another one."""
        if self.lines and self.column != column:
            by = f'people withdrew by column "{self.column}"'
            hint = f'write person = "{self.column}" under [data]'
            raise _unavailable(path, f"{by}, and data.person in site.toml names another, or none", hint)
        return replace(self, column=column)

    def to_bytes(self) -> bytes:
        """The content of the file."""
        lines: list[JSON] = [line.to_json() for line in self.lines]
        content: dict[str, JSON] = {
            "version": _VERSION,
            "secret": self.secret.hex(),
            "column": self.column,
            "since": self.since,
            "lines": lines,
        }
        return json.dumps(content, indent=1).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Withdrawals:
        """What `to_bytes` wrote. ValueError for anything else."""
        fields = Fields(json.loads(data))
        if fields.whole("version") != _VERSION:
            raise ValueError("is of another version")
        column = fields.take("column")
        if not isinstance(column, str | None):
            raise ValueError("names no column")
        secret, since = fields.octets("secret", said.SECRET_BYTES), fields.whole("since")
        lines = tuple(_line(Fields(row)) for row in fields.rows("lines"))
        fields.finish()
        return cls(secret, column, since, lines)


def list_path(rules: SiteFile) -> Path:
    """Where the list of a site's pool is: beside its ledger, whatever links lead there."""
    place = rules.journal.resolve()
    return place.with_name(f"{place.name}.withdrawn")


def load_list(path: Path) -> Withdrawals:
    """The list in a file. RecordsUnavailable if it is missing, damaged or cannot be read."""
    try:
        return Withdrawals.from_bytes(path.read_bytes())
    except FileNotFoundError:
        raise _unavailable(path, "it is gone", _ANEW) from None
    except OSError as error:
        raise _unavailable(path, error.strerror or "it cannot be read") from None
    except (ValueError, RecursionError):
        raise _unavailable(path, "it is damaged", _ANEW) from None


@contextmanager
def alone_with(path: Path) -> Iterator[None]:
    """No other process changes the list meanwhile. RecordsUnavailable if it cannot be read or written.

    Nor for another user: a list that root has replaced would be closed to the site itself.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and path.stat().st_uid != os.geteuid():
            raise _unavailable(
                path, "it is another user's", "give the command as the user that the site runs as"
            )
        lock = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise _unavailable(path, error.strerror or "it cannot be written") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go of it when this process dies
        yield
    except OSError as error:
        raise _unavailable(path, error.strerror or "it cannot be written") from None
    finally:
        os.close(lock)


def write_list(path: Path, known: Withdrawals) -> None:
    """Replace the list as a whole, durably. Within `alone_with` only."""
    replace_file(path, known.to_bytes(), is_secret=True)


def begun(path: Path, column: str | None, last: Entry | None) -> Withdrawals:
    """The list as a site takes it up when it is opened, made now if the ledger says nothing of one.

    RecordsUnavailable if it is gone or an older copy, or if people withdrew by another column than `column`.
    """
    with alone_with(path):
        is_new = last is None and not path.exists()
        known = Withdrawals.new(column) if is_new else load_list(path)
        known.require_newest(last, path)
        after = known.by_column(column, path)
        if is_new or after != known:
            write_list(path, after)
        return after


def _line(fields: Fields) -> Line:
    line = Line(fields.octets("person", said.MARK_BYTES), fields.text("made"), fields.flag("back"))
    fields.finish()
    return line


def _unavailable(path: Path, reason: str, hint: str = "") -> RecordsUnavailable:
    return RecordsUnavailable(
        f"{path}: the list of people who withdrew cannot be used: {reason}",
        hint=hint or "nothing was released; check the disk and the permissions",
    )
