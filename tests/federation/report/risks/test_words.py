"""Sentences on risk: true by themselves, never less than the figure, and no more than a rounding above it."""

from __future__ import annotations

import doctest
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.report.risks import words
from federation.report.risks.told import RiskFigures
from federation.report.risks.words import NO_PROMISE, among, hits_of, lead, sentences
from privacy.accounting.risks.charged import risk_by_epsilon
from privacy.accounting.risks.figures import Curve, Pair, risk
from privacy.accounting.unsampled import gaussian_delta

DELTA = 1e-5


def told(mu: float = 0.67) -> dict[str, Any]:
    curve = Curve.of(*((place / 100, gaussian_delta(mu, place / 100)) for place in range(400)))
    return risk(Pair(curve, curve), DELTA).to_json()


@pytest.mark.parametrize(
    ("unit", "who"),
    [
        ("record", ("people whose record is not in the data", "people whose record is")),
        ("patient", ("patients who are not in the data", "patients who are")),
        ("client", ("sites that took no part", "sites that did")),
    ],
)
def test_what_a_board_reads(unit: str, who: tuple[str, str]) -> None:
    said, attack = list(sentences(told(), unit)), "an attacker who accuses 1 wrongly finds at most 4.9 of 100"
    assert lead(told(), unit) == said[0].text == f"Of 100 {who[0]}, {attack} {who[1]}."
    assert len(said) == len({one.name for one in said}) == 6
    assert all(one.text.endswith(".") and "\n" not in one.text for one in said)
    assert "at most 1e-5 of the time" in said[3].text, "a posterior is said with its delta"


@given(st.floats(0, 1))
def test_a_share_is_rounded_up_and_hardly(share: float) -> None:
    shown = float(hits_of({"tpr_at_fpr": {"0.01": share}}).removesuffix("%"))
    assert 100 * share - 1e-9 <= shown <= 100 * share + 0.1 + 1e-9
    times = re.fullmatch(r"([\d,.]+) times? in 10", among("0.1", share))
    assert times is not None
    assert 10 * share - 1e-9 <= float(times[1]) <= 10 * share + 0.1 + 1e-9


def test_where_nothing_is_promised_that_is_said() -> None:
    assert lead(None, "record") == NO_PROMISE
    assert hits_of(None) == "no promise"


def test_a_belief_that_is_certain_is_said_to_be() -> None:
    found = risk_by_epsilon(50.0, DELTA)
    assert found is not None
    assert "more than 100% at most" in " ".join(one.text for one in sentences(found.to_json(), "record"))


def test_a_report_reads_what_it_writes_and_names_what_is_wrong() -> None:
    assert RiskFigures.from_json(told()).to_json() == told()
    with pytest.raises(ValueError, match=r"^advantage: "):
        RiskFigures.from_json({**told(), "advantage": "much"})


UNSAYABLE: dict[str, dict[str, Any]] = {
    "no hits": {"tpr_at_fpr": {}},
    "too few hits": {"tpr_at_fpr": {"0.01": 0.5}},
    "no guesses": {"reconstruction": {}},
    "a guess of no chance": {"reconstruction": {**told()["reconstruction"], "?": 0.5}},
    "no beliefs": {"posterior": {"delta": DELTA, "from": {}}},
    "no delta": {"posterior": {**told()["posterior"], "delta": None}},
    "a delta that is no number": {"posterior": {**told()["posterior"], "delta": math.nan}},
    "no advantage": {"advantage": None},
    "more than all": {"advantage": 1.5},
}


@pytest.mark.parametrize("part", UNSAYABLE.values(), ids=UNSAYABLE)
def test_figures_of_which_no_sentence_could_be_made_are_no_report(part: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"figures of a risk|^posterior.delta"):
        RiskFigures.from_json({**told(), **part})


def test_examples_hold() -> None:
    failed, tried = doctest.testmod(words)
    assert (failed, tried > 0) == (0, True)
