"""A ledger as people read it: the facts of a verified ledger, and only of one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clients.journal.journal import Journal
from federation.ledger.statement import statement
from privacy.accounting.events import GaussianEvent, NonPrivateEvent
from privacy.accounting.filters import Budget
from privacy.accounting.pld import epsilon
from privacy.accounting.units import Charge, Limit, Patient
from privacy.errors import LedgerCorrupt
from privacy.ledger.heads import Head
from tests.clients.journal.journals import opened, release
from tests.privacy.ledger.ledgers import APPROVERS

SUMMED = Charge(GaussianEvent(10.0, 1.0, 20), "record", summed=True)
RECORD = Limit("record", Budget(4.0, 1e-5))
PATIENT = Limit("patient", Budget(12.0, 1e-6), Patient(2, 2))


def written(folder: Path) -> Journal:
    """A ledger with two units, a run of twenty rounds of which two were begun, and one released."""
    journal = opened(folder / "journal.sqlite")
    journal.accept(7, "00" * 32)
    journal.reserve("study", "sha256:plan", SUMMED, 20, (RECORD, PATIENT))
    release(journal, 1, b"payload", run="study")
    journal.begin("study", 2, "another question")
    return journal


def test_each_unit_has_its_own_budget_and_what_was_spent_of_it(tmp_path: Path) -> None:
    facts = statement(written(tmp_path).entries())
    assert set(facts["units"]) == {"record", "patient"}
    record, patient = facts["units"]["record"], facts["units"]["patient"]
    assert record["epsilon"] == epsilon([SUMMED.event], 1e-5)
    assert (record["epsilon_max"], record["delta"], record["records"], record["sites"]) == (4.0, 1e-5, 1, 1)
    assert patient["epsilon"] == epsilon([SUMMED.to("patient", Patient(2, 2))], 1e-6)
    assert (patient["epsilon_max"], patient["records"], patient["sites"]) == (12.0, 2, 2)
    assert 0 < record["used"] < patient["used"] <= 1


def test_a_run_is_told_with_what_is_charged_for_it(tmp_path: Path) -> None:
    journal = written(tmp_path)
    (run,) = statement(journal.entries())["runs"]
    assert run == {
        "run": "study",
        "plan": "sha256:plan",
        "unit": "record",
        "noise_multiplier": 10.0,
        "sample_rate": 1.0,
        "rounds": 20,
        "rounds_begun": 2,
        "rounds_released": 1,
        "releases_charged": 20,
        "closed": False,
        "left": False,
        "epsilon": epsilon([SUMMED.event], 1e-5),
        "of_its_rounds": {"epsilon": epsilon([SUMMED.with_count(2).event], 1e-5)},
        "delta": 1e-5,
    }
    journal.close_run("study", "00" * 32)
    (run,) = statement(journal.entries())["runs"]
    assert (run["releases_charged"], run["closed"]) == (2, True)
    assert run["epsilon"] == run["of_its_rounds"]["epsilon"]


def test_a_run_closed_before_it_began_costs_nothing(tmp_path: Path) -> None:
    journal = opened(tmp_path / "journal.sqlite")
    journal.reserve("study", "sha256:plan", SUMMED, 20, (RECORD,))
    journal.close_run("study", "00" * 32)
    facts = statement(journal.entries())
    assert facts["units"]["record"]["epsilon"] == 0.0
    assert facts["runs"][0]["releases_charged"] is None


def test_whose_ledger_it_is_and_who_has_a_say(tmp_path: Path) -> None:
    journal = written(tmp_path)
    facts, entries = statement(journal.entries()), journal.entries()
    assert (facts["site"], facts["pool"], facts["simulated"]) == ("north", "cardiology", False)
    assert facts["approvers"] == [key.hex() for key in APPROVERS]
    assert (facts["entries"], facts["head"]) == (len(entries), entries[-1].hash.hex())
    assert (facts["roster_serial"], facts["keys_before"], facts["refusals"]) == (7, [], 0)


def test_refusals_and_witnessed_ledgers_are_counted(tmp_path: Path) -> None:
    journal = written(tmp_path)
    greedy = Charge(GaussianEvent(1.0, 1.0, 20), "record", summed=True)
    with pytest.raises(Exception, match="per record"):
        journal.reserve("greedy", "sha256:other", greedy, 20, (RECORD, PATIENT))
    journal.witness([Head("south", bytes(32), 9, bytes(32), bytes(64))])
    facts = statement(journal.entries())
    assert (facts["refusals"], facts["witnessed"]) == (1, {"south": 9})
    assert [run["run"] for run in facts["runs"]] == ["study"]


def test_a_ledger_without_a_limit_is_json_all_the_same(tmp_path: Path) -> None:
    journal = opened(tmp_path / "journal.sqlite")
    boundless = Limit("record", Budget(float("inf"), 1e-5))
    journal.reserve(
        "study", "sha256:plan", Charge(NonPrivateEvent(), "record", summed=True), 20, (boundless,)
    )
    facts = statement(journal.entries())
    record = facts["units"]["record"]
    assert (record["epsilon"], record["epsilon_max"], record["used"]) == (None, None, 0.0)
    assert (facts["runs"][0]["noise_multiplier"], facts["runs"][0]["releases_charged"]) == (None, None)
    json.dumps(facts, allow_nan=False)


def test_there_is_no_statement_about_a_ledger_that_does_not_verify(tmp_path: Path) -> None:
    """DP-32: no genesis, an entry missing, one twice, or nothing at all."""
    entries = written(tmp_path).entries()
    for wrong in ((), entries[1:], (*entries[:3], *entries[4:]), (*entries, entries[-1])):
        with pytest.raises(LedgerCorrupt):
            statement(wrong)
