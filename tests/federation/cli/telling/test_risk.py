"""Risk on a terminal: of the whole run, a sentence for each figure; nothing where a plan has no privacy."""

from __future__ import annotations

from typing import Any

import pytest

from federation.cli.tables import print_budget, print_facts
from federation.cli.telling.risk import hits, risk_lines
from privacy.accounting.risks.charged import risk_by_epsilon, told


def facts(epsilon: float = 0.2) -> dict[str, Any]:
    return {"unit": "record", "epsilon": epsilon, "risk": told(risk_by_epsilon(epsilon, 1e-5))}


def test_each_figure_has_a_line() -> None:
    head, *lines = (line.plain for line in risk_lines(facts()))
    assert head.startswith("What that means at the most")
    assert len(lines) == 6
    assert "finds at most 1.3 of 100 people whose record is." in lines[0]


def test_the_risk_is_that_of_training_and_evaluation_together() -> None:
    both = {**facts(), "together": facts(1.0)}
    assert (hits(facts()), hits(both)) == ("1.3%", "2.8%")
    assert "at most 2.8 of 100" in risk_lines(both)[1].plain


def test_what_promises_nothing_says_so_and_what_has_no_privacy_says_nothing() -> None:
    assert "Nothing is promised" in risk_lines({"unit": "record", "risk": None})[0].plain
    assert hits({"risk": None}) == "no promise"
    assert risk_lines({"unit": "record", "epsilon": None}) == []


def test_budget_and_check_tell_it(capsys: pytest.CaptureFixture[str]) -> None:
    line = {**facts(), "records": 1, "sites": 1}
    rounds, rule = [{"round": 1, "epsilon": 0.2}], {"type": "gdp", "load": 0.5, "room_from": 0.2}
    print_budget({**facts(), "units": [line], "rounds": rounds, "filter": rule})
    limit = {
        "epsilon_before": 0.1, "epsilon_after": 0.2, "epsilon_max": 3.0, "delta": 1e-5, "room_for_foreseen": 1.0,
        "risk_after": facts()["risk"],
    }  # fmt: skip
    print_facts({**facts(), "site": {"id": "ash", "units": {"record": limit}}})
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("What that means at the most") == 2
    assert text.count("hits at 1% false alarms") == 2
    assert text.count("1.3%") == 2
    assert "{'" not in text and "advantage:" not in text, "no plain data between sentences"
