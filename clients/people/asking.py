"""A person withdraws, or consents anew: the list grows by a line, and the site's own people are told what follows.

Ids come as text and leave as marks: nothing here keeps, shows or logs one. What is counted in the data is for a
terminal of the site alone. That the data cannot be looked at keeps nobody from withdrawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from clients.data.people import no_name
from clients.data.sources.reading import parsed
from clients.journal.layers import forget_layers, layers_folder
from clients.journal.lock import alone
from clients.people.descent import Gone, Release, gone, releases
from clients.people.listed import Line, Withdrawals, alone_with, list_path, load_list, write_list
from clients.policy import SiteFile, data_files, load_site
from federation.errors import DataError, InputError, SiteFileError
from federation.ledger.export import load_entries
from federation.plan.identifiers import cleaned, folded
from privacy.errors import LedgerRefusal
from privacy.ledger.chain import Entry
from privacy.ledger.state import Account, fold


@dataclass(frozen=True)
class Seen:
    """Of these people: rows in the data as they are now, how many have none, and rows in other spellings."""

    rows: int
    absent: int
    alike: int


@dataclass(frozen=True)
class Told:
    """The list of a site and its releases; after a change, how many were `new` on it and what the data hold."""

    known: Withdrawals
    releases: tuple[Release, ...]
    new: int = 0
    already: int = 0
    seen: Seen | None = None
    alone: tuple[Gone, ...] = ()

    @property
    def gone(self) -> tuple[Gone, ...]:
        """Everybody who is withdrawn now."""
        return gone(self.releases, self.known)


def listed(path: Path) -> Told | None:
    """The list of the site at `path` beside its ledger; None if it has neither. It is only read."""
    rules = load_site(path)
    entries, account = _ledger(rules)
    place = list_path(rules)
    if (account is None or account.withdrawn.last is None) and not place.exists():
        return None
    known = load_list(place)
    return Told(known, releases(entries, known))


def withdraw(path: Path, ids: Sequence[str], today: str, *, undo: bool = False, anew: bool = False) -> Told:
    """Put these people on the list of the site at `path`, durably; with `undo` they have consented anew.

    `anew`: in the place of a list that is lost, perhaps of nobody. The site may run, but for these two, and for the
    first time after data.person was set: what such a process has read says nothing of whose it is.
    """
    rules = load_site(path)
    column = rules.data.person if anew and not ids else _column(rules, path)
    names = () if anew and not ids else _names(ids)
    entries, account = _ledger(rules)
    last = None if account is None else account.withdrawn.last
    place = list_path(rules)
    with ExitStack() as stack:
        if undo or anew or _is_of_another_column(place, column):
            stack.enter_context(alone(rules.journal))
        stack.enter_context(alone_with(place))
        before = _before(place, column, last, entries, anew=anew)
        marks, there = [before.mark(name) for name in names], set(before.marks())
        new = [mark for mark in marks if (mark in there) == undo]
        lines = tuple(Line(mark, today, undo) for mark in new)
        known = replace(before, lines=(*before.lines, *lines))
        write_list(place, known)
        forget_layers(layers_folder(rules.journal))  # a run that goes on begins them anew
    made, fresh = releases(entries, known), {line.mark for line in lines}
    alone_ = tuple(each for each in gone(made, known) if known.lines[each.number - 1].mark in fresh)
    return Told(known, made, len(new), len(names) - len(new), _seen(rules, path, column, names), alone_)


def _column(rules: SiteFile, path: Path) -> str:
    if rules.data.person is None:
        hint = 'name the column of your data that says whose each record is, such as person = "mrn"'
        raise SiteFileError("is missing", hint=hint, path=path, key="data.person")
    return rules.data.person


def _names(ids: Sequence[str]) -> tuple[str, ...]:
    """The ids as a pool compares them, each once. InputError for what names nobody."""
    for number, text in enumerate(ids, start=1):
        if (wrong := no_name(cleaned(text))) is not None:
            raise InputError(
                f"standard input: line {number} {wrong[0]}", hint="one id a line, as in your data"
            )
    if not ids:
        raise InputError("standard input holds no id", hint="one a line; nothing is taken as an argument")
    return tuple(dict.fromkeys(map(cleaned, ids)))


def _ledger(rules: SiteFile) -> tuple[tuple[Entry, ...], Account | None]:
    if not rules.journal.exists():
        return (), None
    entries = load_entries(rules.journal)
    return entries, fold(entries)


def _is_of_another_column(place: Path, column: str | None) -> bool:
    return not place.exists() or load_list(place).column != column


def _before(
    place: Path, column: str | None, last: Entry | None, entries: Sequence[Entry], *, anew: bool
) -> Withdrawals:
    """The list that is to grow."""
    if anew:
        if place.exists():
            raise LedgerRefusal(
                f"there is a list at {place}, and nothing replaces it",
                hint="move it away, if it is no longer the site's list",
            )
        return Withdrawals.new(column, entries[-1].seq if entries else 0)
    if last is None and not place.exists():
        return Withdrawals.new(column)
    known = load_list(place)
    known.require_newest(last, place)
    return known.by_column(column, place)


def _seen(rules: SiteFile, path: Path, column: str | None, names: Sequence[str]) -> Seen | None:
    """What the data hold of these people; None where no table can be looked at."""
    if column is None or not names:
        return Seen(0, 0, 0)
    rows, alike, found, asked = 0, 0, set[str](), set(names)
    folds = {folded(name) for name in names}
    try:
        for place in data_files(rules, path.parent):
            if place is None:
                continue
            table = parsed(place)
            table.require([column])
            for cell in table.column(column):
                name = cleaned(cell)
                if name in asked:
                    rows += 1
                    found.add(name)
                elif folded(name) in folds:
                    alike += 1
    except DataError:
        return None
    return Seen(rows, len(names) - len(found), alike)
