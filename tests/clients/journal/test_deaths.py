"""Other processes, and the end of this one: one wins a race, and death costs budget but never privacy."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from clients.journal.journal import Journal
from federation.ledger.export import load_entries
from privacy.accounting.events import GaussianEvent
from privacy.accounting.pld import epsilon
from privacy.errors import LedgerRefusal
from privacy.ledger.chain import KINDS
from privacy.ledger.state import Account, fold
from tests import ROOT
from tests.clients.journal.journals import kinds, opened, spent
from tests.clients.journal.mortal import LARGER, LIMITS
from tests.patience import patience
from tests.privacy.ledger.ledgers import KEY, NEXT, PLAN

RACER = """
import sys
from pathlib import Path
from privacy.accounting.filters import Budget
from privacy.errors import BudgetExceeded
from privacy.accounting.units import Limit
from tests.clients.journal.journals import opened, reserve, spent

journal = opened(Path(sys.argv[1]))
print("ready", flush=True)
run = sys.stdin.readline().strip()
try:
    reserve(journal, run, limits=[Limit("record", Budget(2.5, 1e-5))])
    print("won", flush=True)
except BudgetExceeded:
    print("lost", flush=True)
"""


def child(code: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_of_processes_racing_for_the_last_of_the_budget_one_wins(tmp_path: Path) -> None:
    """DP-39: two processes, and two more, also racing to make the journal."""
    path = tmp_path / "journal.sqlite"
    racers = [child(RACER, path) for _ in range(4)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for number, racer in enumerate(racers):
        assert racer.stdin is not None
        racer.stdin.write(f"run {number}\n")
        racer.stdin.flush()
    outcomes = sorted(racer.communicate(timeout=patience(20))[0].strip() for racer in racers)
    assert outcomes == ["lost", "lost", "lost", "won"]
    with closing(opened(path)) as journal:
        assert sorted(kinds(journal)) == ["budget", "genesis", "refuse", "reserve"]
        assert spent(journal) == epsilon([PLAN.event], 1e-5)
    assert list(tmp_path.iterdir()) == [path]


def test_killed_at_any_step_spent_is_never_less_than_released_and_the_same_bytes_are_sent_again(
    tmp_path: Path,
) -> None:
    """DP-35, DP-36: SIGKILL at every durable step: creation, reservation, rounds, raise, rotation, close."""
    command = [sys.executable, "-m", "tests.clients.journal.mortal", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, text=True, capture_output=True, check=False, timeout=patience(100)
    )
    assert done.returncode == 0, done.stderr
    lengths, written, resent, computed = set[int](), set[str](), 0, 0
    for number in range(1, int(done.stdout) + 1):
        path = tmp_path / f"{number}.sqlite"
        said = [line.split() for line in (tmp_path / f"{number}.log").read_text().splitlines()]
        with closing(reopened(path)) as journal:
            account = fold(journal.entries())
            lengths.add(len(journal.entries()))
            written.update(kinds(journal))
            _is_charged(account, said)
            resent += _sends_again(journal, account, said)
            computed += _computes_again(journal, account, said)
            _goes_on(journal, account)
        # Nor does any death leave a draft for good.
        assert not list(tmp_path.glob(f"{path.name}.new*"))
        assert path.stat().st_mode & 0o777 == 0o600
    assert len(lengths) > 25  # they died in many places
    # A new kind of entry is a new durable step: it belongs into a life. A restore has deaths of its own.
    assert written == set(KINDS) - {"restore"}
    assert resent > 10
    assert computed > 10


def reopened(path: Path) -> Journal:
    """By whichever key is the present one; the site knows which, as it keeps the new one before it rotates."""
    is_rotated = path.exists() and "rotate" in [entry.kind for entry in load_entries(path)]
    return opened(path, key=NEXT if is_rotated else KEY)


def _is_charged(account: Account, said: list[list[str]]) -> None:
    runs = account.runs
    left, begun = [line for line in said if line[0] == "left"], [line for line in said if line[0] == "begun"]
    assert all(int(number) in runs[run].released for _, run, number, _ in left)
    assert all(int(number) in runs[run].begun for _, run, number in begun)
    charged = sum(event.count for event in account.charged("record") if isinstance(event, GaussianEvent))
    assert charged >= sum(len(run.begun) for run in runs.values()) >= len(begun) >= len(left)
    for run in runs.values():
        assert run.masked.keys() <= run.released.keys() <= run.begun.keys()
        assert run.revealed.keys() <= run.released.keys()
    assert ["raised"] not in said or account.terms["record"].limit == LARGER
    assert ["rotated"] not in said or len(account.tip.keys) == 2
    assert all(runs[line[1]].closed == "params" for line in said if line[0] == "closed")
    # The first limits and what they first admit are one step: no death falls between them.
    assert set(account.terms) == ({"record", "patient"} if runs else set())


def _sends_again(journal: Journal, account: Account, said: list[list[str]]) -> int:
    """Whatever left last is sent again byte for byte, and no attempt is masked twice; how often that was so."""
    before, last, count = spent(journal), ["", "", ""], 0
    for line in said:
        last = line if line[0] == "left" else last
    for name, run in account.runs.items():
        if run.closed is None and run.released:
            newest = max(run.released)
            if newest < max(run.begun):  # nobody asks again for what came before it
                with pytest.raises(LedgerRefusal, match="is over"):
                    journal.begin(name, newest, "question")
                continue
            stored = journal.begin(name, newest, "question")
            assert stored is not None
            assert journal.begin(name, newest, "question") == stored
            if last[1:3] == [name, str(newest)]:
                assert stored.hex() == last[3]
                count += 1
    for name, run in account.runs.items():
        if run.closed is None:
            for number in (int(line[2]) for line in said if line[:2] == ["masked", name]):
                with pytest.raises(LedgerRefusal, match=f"attempt 3 at round {number} is over"):
                    journal.mask(name, number, 3, suite=2)
    assert spent(journal) == before
    return count


def _computes_again(journal: Journal, account: Account, said: list[list[str]]) -> int:
    """What was begun and not released is computed anew on the same charge; how many rounds were."""
    before, count = spent(journal), 0
    for name, run in account.runs.items():
        for number in run.begun.keys() - run.released.keys() if run.closed is None else ():
            assert ["left", name, str(number)] not in [line[:3] for line in said]
            assert journal.begin(name, number, "question") is None
            count += 1
    assert spent(journal) == before
    return count


def _goes_on(journal: Journal, account: Account) -> None:
    """The site starts again, and whatever was interrupted is done within the budget."""
    if "two" not in account.runs:
        journal.reserve("one", "plan", PLAN, 100, [] if account.terms else LIMITS)
        if "one" not in account.runs or account.runs["one"].closed is None:
            journal.begin("one", 4, "question")
            journal.release("one", 4, b"again")
            journal.close_run("one", "params")
    limits = {unit: term.limit.budget.epsilon for unit, term in fold(journal.entries()).terms.items()}
    assert spent(journal, "record") <= limits["record"]
    assert spent(journal, "patient") <= limits["patient"]
