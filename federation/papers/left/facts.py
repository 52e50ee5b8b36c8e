"""What left a site, as a verified ledger has it: each round of each run, when, how many bytes, which epsilon."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from federation.ledger.statement import statement
from privacy.accounting.events import GaussianEvent
from privacy.accounting.pld import epsilon_by_round
from privacy.canonical import finite
from privacy.ledger.chain import Entry
from privacy.ledger.limits import Run
from privacy.ledger.state import fold


@dataclass(frozen=True)
class Release:
    """A round whose vector could leave. `at`: the minute in UTC in which it began; "" in earlier ledgers.

    `size`: bytes of the masked vector, of all attempts; None in earlier ledgers. `sent`: whether masked bytes may
    have left at all. `opened`: whether the site took part in opening the sum. `epsilon`: of the run so far, by its
    rounds alone; None where there is none.
    """

    number: int
    at: str
    size: int | None
    attempts: int
    opened: bool
    epsilon: float | None

    @property
    def sent(self) -> bool:
        """Whether masked bytes may have left."""
        return self.attempts > 0


@dataclass(frozen=True)
class Study:
    """One run. `summed`: the noise is in the sum, a share from each site; else all of it is the site's own."""

    name: str
    plan: str
    unit: str
    state: str
    summed: bool
    is_private: bool
    epsilon: float | None
    delta: float
    releases: tuple[Release, ...]

    @property
    def part(self) -> str:
        """What of a run it is: "" for its training, "evaluation"."""
        return self.name.partition("/")[2]


@dataclass(frozen=True)
class Left:
    """Everything of one ledger. `statement`: as `federation ledger show --json` prints it."""

    statement: Mapping[str, object]
    studies: tuple[Study, ...]

    @property
    def rounds(self) -> int:
        """How many rounds could leave, of all runs."""
        return sum(release.sent for study in self.studies for release in study.releases)

    @property
    def size(self) -> int | None:
        """Bytes of all of them; None if some are not known."""
        sizes = [release.size for study in self.studies for release in study.releases if release.sent]
        return None if None in sizes else sum(size for size in sizes if size is not None)


def left(entries: Sequence[Entry]) -> Left:
    """What a ledger says that left its site. LedgerCorrupt if it does not verify."""
    account, told = fold(entries), statement(entries)
    charged = {str(run["run"]): run for run in told["runs"]}
    moments = _texts(entries, "begin", "at")
    sizes = _sizes(entries)
    studies = []
    for name, run in account.runs.items():
        known = charged[name]
        spent = _spent(run, known["delta"])
        releases = tuple(
            Release(
                number=number,
                at=moments.get((name, number), ""),
                size=sizes.get((name, number), (0, 0))[1],
                attempts=sizes.get((name, number), (0, 0))[0],
                opened=number in run.revealed,
                epsilon=None if spent is None else _after(spent, place),
            )
            for place, number in enumerate(sorted(run.begun), start=1)
        )
        studies.append(
            Study(
                name,
                run.plan,
                run.charge.protects,
                _state(run),
                run.charge.summed,
                isinstance(run.charge.event, GaussianEvent),
                known["epsilon"],
                known["delta"],
                releases,
            )
        )
    return Left(told, tuple(studies))


def _state(run: Run) -> str:
    if run.is_left:
        return "left on purpose"
    return "open" if run.closed is None else "over"


def _texts(entries: Sequence[Entry], kind: str, name: str) -> dict[tuple[str, int], str]:
    """A text of the entries of one kind, by run and round."""
    return {
        _place(entry): str(entry.body[name]) for entry in entries if entry.kind == kind and name in entry.body
    }


def _sizes(entries: Sequence[Entry]) -> dict[tuple[str, int], tuple[int, int | None]]:
    """How often each round was masked, and how many bytes that made; None if an entry does not say."""
    found: dict[tuple[str, int], tuple[int, int | None]] = {}
    size: int | None
    for entry in entries:
        if entry.kind == "mask":
            count, size = found.get(_place(entry), (0, 0))
            more = entry.body.get("bytes")
            known = size + more if isinstance(more, int) and size is not None else None
            found[_place(entry)] = count + 1, known
    return found


def _place(entry: Entry) -> tuple[str, int]:
    number = entry.body["round"]
    return str(entry.body["run"]), number if isinstance(number, int) else 0


def _spent(run: Run, delta: float) -> dict[int, float] | None:
    """Epsilon by how many rounds were begun, whichever they are; None where the plan bounds none."""
    one = run.charge.of(1, run.rounds).to(run.charge.protects)
    if not run.begun or not isinstance(one, GaussianEvent):
        return None
    return epsilon_by_round(one, len(run.begun), delta)


def _after(spent: Mapping[int, float], rounds: int) -> float | None:
    """What holds of the next number in the list holds of this one, too."""
    listed = list(spent)
    return finite(spent[listed[bisect_left(listed, rounds)]])
