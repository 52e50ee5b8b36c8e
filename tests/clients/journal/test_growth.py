"""What others can make a ledger grow by: a bounded number of entries between two that the site's own runs make."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from clients.journal.journal import Journal
from privacy.errors import LedgerRefusal
from privacy.ledger.chain import Entry, append
from privacy.ledger.heads import Head
from privacy.ledger.state import MAX_LEDGERS, MAX_WITNESSED
from tests.clients.journal.journals import LIMITS, kinds, opened
from tests.privacy.ledger.ledgers import PEER, PLAN


def chain(length: int) -> list[Entry]:
    entries = [append(None, "genesis", {"any": "south"}, PEER)]
    for number in range(1, length):
        entries.append(append(entries[-1], "roster", {"serial": number, "root": ""}, PEER))
    return entries


ENTRIES = chain(60)


def shown(seq: int, ledger: int = 0) -> Head:
    return Head.signed("south", ledger.to_bytes(32, "big"), ENTRIES[seq], PEER)


def test_no_peer_makes_a_ledger_grow_for_ever(journal: Journal) -> None:
    """News of a peer is put on record a few times between two rounds, and of a few of its ledgers."""
    for seq in range(40):
        journal.witness([shown(seq)])
        journal.witness([shown(0, ledger=1000 + seq)])
    assert kinds(journal).count("witness") == MAX_WITNESSED
    for number in range(1, 6):
        journal.begin("run", number, "question", heads=[shown(40 + number)])
        for ledger in range(50):
            journal.witness([shown(0, ledger=50 * number + ledger + 1)])
    assert kinds(journal).count("witness") <= 6 * MAX_WITNESSED
    assert len([head for head in journal.witnessed() if head.site == "south"]) <= MAX_LEDGERS
    assert max(head.seq for head in journal.witnessed()) >= 41, "a round makes room for what is new"


def test_what_is_not_put_on_record_is_compared_all_the_same(journal: Journal) -> None:
    own = journal.head()
    for seq in range(40):
        journal.witness([shown(seq)])
    journal.witness([own])
    assert kinds(journal).count("witness") == MAX_WITNESSED


def test_a_bounded_ledger_reads_back(journal: Journal, path: Path) -> None:
    for seq in range(40):
        journal.witness([shown(seq)])
    journal.close()
    with closing(opened(path)) as again:
        again.witness([shown(50)])
        assert kinds(again).count("witness") == MAX_WITNESSED


def test_a_plan_s_runs_are_counted_by_the_ledger(journal: Journal, path: Path) -> None:
    """Also by another process, and the run at hand is no second one."""
    journal.require_approved("run", "plan", 1)
    for name in ("journal", "another process"):
        again = journal if name == "journal" else opened(path)
        with pytest.raises(LedgerRefusal, match="approves one run of this plan, and it was made"):
            again.reserve("second", "plan", PLAN, 100, LIMITS, 1)
        again.require_approved("second", "another plan", 1)
        again.require_approved("second", "plan", None)
        again.require_approved("second", "plan", 2)
    before = kinds(journal)
    journal.reserve("run", "plan", PLAN, 100, LIMITS, 1)
    assert kinds(journal) == before


def test_an_evaluation_is_no_run_of_its_own(journal: Journal) -> None:
    journal.reserve("run/evaluation", "plan", PLAN, 100, ())
    journal.require_approved("second", "plan", 2)
    with pytest.raises(LedgerRefusal):
        journal.require_approved("second", "plan", 1)
