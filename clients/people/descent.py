"""What a site released before somebody withdrew: rounds on data that may hold their records, and what follows.

A round held them unless its release commits to a list with them on it, under this list's own secret. So releases of
earlier versions count as having held everybody, and so do those of a time before the list was made anew. Nobody
notes whose records were in a file at the time. Params of a round are made of those of the rounds before it: once a
run has held a record, all later params of it descend from that record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clients.people.listed import Withdrawals
from privacy.ledger import withdrawals as said
from privacy.ledger.chain import Entry


@dataclass(frozen=True)
class Release:
    """A round of a run that was released, and how many lines the list had then; None where that is not known.

    `is_of_another`: it commits to a list that this one, since it was made, never was.
    """

    entry: Entry
    run: str
    round: int
    lines: int | None
    is_of_another: bool = False


@dataclass(frozen=True)
class Gone:
    """One who is withdrawn: the number of the line, its day, and the rounds before it, by run."""

    number: int
    made: str
    held: Mapping[str, tuple[int, ...]]


def releases(entries: Sequence[Entry], known: Withdrawals) -> tuple[Release, ...]:
    """Every release of a verified ledger, in order."""
    found, start = [], 0
    for entry in entries:
        if entry.kind != "release":
            continue
        is_asked = said.FIELD in entry.body and entry.seq > known.since
        lines = known.lines_at(entry, start) if is_asked else None
        start = start if lines is None else lines
        run, number = str(entry.body["run"]), int(str(entry.body["round"]))
        found.append(Release(entry, run, number, lines, is_asked and lines is None))
    return tuple(found)


def gone(made: Sequence[Release], known: Withdrawals) -> tuple[Gone, ...]:
    """Everybody who is withdrawn now, in order, each with what was released before."""
    on_list = {lines: frozenset(known.marks(lines)) for lines in {release.lines for release in made}}
    number = {line.mark: place for place, line in enumerate(known.lines, start=1)}  # the last line of each
    found = []
    for mark in known.marks():
        held: dict[str, list[int]] = {}
        for release in made:
            if release.lines is None or mark not in on_list[release.lines]:
                held.setdefault(release.run, []).append(release.round)
        at = number[mark]
        rounds = {run: tuple(numbers) for run, numbers in held.items()}
        found.append(Gone(at, known.lines[at - 1].made, rounds))
    return tuple(found)
