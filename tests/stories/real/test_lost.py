"""Sites, the SuperLink and the coordinator are lost in the middle of rounds: the run goes on, and counts right."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
import torch

from federation.report.receipt import Receipt
from tests.stories.real.consortium import SITES, Consortium
from tests.stories.real.family import command, descendants
from tests.stories.real.party import Nursery, Party, await_that
from tests.stories.real.replayed import replayed
from tests.stories.real.test_undisturbed import TRAINS

PLAYS = "server.run:play_round"  # where the coordinator begins a round
STORES = (
    "server.run_folder:RunFolder.store"  # where it has a sum, and nothing of it is on disk but its transcript
)


@pytest.mark.minutes
@pytest.mark.waits
def test_whoever_is_lost_is_let_in_again_and_every_sum_is_of_those_who_were_there(
    nursery: Nursery, tmp_path: Path
) -> None:
    """Ash, which is never lost, holds a round where something has to happen before it ends."""
    with Consortium(tmp_path / "c", nursery, noise="none", rounds=9, deadline_seconds=60) as consortium:
        serve = consortium.serve(halt=(PLAYS, (9,)))
        halts = {"birch": (TRAINS, (2,)), "ash": (TRAINS, (3, 5, 7)), "dogwood": (TRAINS, (1,))}
        sites = consortium.join_all(halts)
        yesterday = consortium.folder / "yesterday"
        sites["dogwood"].halts(1)
        copy_database(consortium.journal("dogwood"), yesterday)
        sites["dogwood"].go(1)

        sites["birch"].halts(2)  # charged, not trained
        sites["birch"].kill()
        sites["ash"].halts(3)
        assert consortium.survivors(2) == ("ash", "cedar", "dogwood")
        birch = consortium.join("birch")
        birch.tells("run_resumed")
        sites["ash"].go(3)

        sites["ash"].halts(5)
        assert "birch" in consortium.survivors(4)
        sites["cedar"].signal(signal.SIGSTOP)
        sites["ash"].go(5)
        sites["ash"].halts(7)
        assert "cedar" not in consortium.survivors(6)
        sites["cedar"].signal(signal.SIGCONT)

        link = superlink(serve)
        os.kill(link, signal.SIGKILL)
        await_that(lambda: superlink(serve) not in (0, link), "another SuperLink", told=consortium.told)
        sites["ash"].go(7)

        serve.halts(9)
        serve.signal(signal.SIGTERM)
        assert serve.ends() == 143
        assert "resume with: federation serve" in serve.err
        sites["dogwood"].kill()
        today = consortium.folder / "today"
        move_database(consortium.journal("dogwood"), today)
        copy_database(yesterday, consortium.journal("dogwood"))
        restored, again = consortium.join("dogwood"), consortium.serve()
        assert "an older copy was restored" in restored.tells("refused")["detail"]
        assert "dogwood" in again.tells("site_refused").values(), "it is named"
        assert again.ends() == 0, again.told()
        consortium.stop()
        move_database(consortium.journal("dogwood"), consortium.folder / "refused")
        move_database(today, consortium.journal("dogwood"))
        check(consortium)


def copy_database(source: Path, target: Path) -> None:
    """A whole copy of a database that is in use."""
    with closing(sqlite3.connect(source)) as reading, closing(sqlite3.connect(target)) as writing:
        reading.backup(writing)


def move_database(source: Path, target: Path) -> None:
    """A database that is in no use, with what is beside it after a kill."""
    for end in ("", "-wal", "-shm", "-journal"):
        file = source.with_name(source.name + end)
        if file.exists():
            file.rename(target.with_name(target.name + end))


def superlink(serve: Party) -> int:
    """The process of the SuperLink; 0 while there is none."""
    found = [process for process in descendants(serve.pid) if "superlink" in command(process)]
    return found[0] if found else 0


def check(consortium: Consortium) -> None:
    """The params are those of the survivors of each round; no ledger was charged twice; the audit passes."""
    receipts = consortium.receipts()
    assert [receipt.round for receipt in receipts] == [*range(1, 10)]
    assert "cedar" not in receipts[5].survivors
    assert receipts[8].survivors == ("ash", "birch", "cedar")
    assert all("ash" in receipt.survivors for receipt in receipts if receipt.survivors)
    assert sum(not receipt.survivors for receipt in receipts) <= 1, (
        "at most the round in which the SuperLink died"
    )
    assert torch.equal(consortium.params(), replayed(consortium, receipts))
    for name in SITES:
        check_ledger(consortium, name, receipts)
    outcome = consortium.audited()
    assert outcome.verdict == "pass", outcome.findings


def check_ledger(consortium: Consortium, name: str, receipts: Iterable[Receipt]) -> None:
    """Every round that a site is in the sum of is begun once in its ledger, and none is begun twice."""
    begun = consortium.charged(name)
    assert set(begun.values()) <= {1}
    assert {receipt.round for receipt in receipts if name in receipt.survivors} <= set(begun)
    assert sum(entry.kind == "reserve" for entry in consortium.entries(name)) <= 1
