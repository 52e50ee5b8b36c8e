"""The words say the bound: never less, and no more than a rounding above it."""

from __future__ import annotations

import doctest
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.report.risks.told import RiskFigures
from privacy.accounting.events import GaussianEvent
from privacy.accounting.risks.charged import risk_for
from privacy.accounting.risks.epsilon import advantage
from privacy.accounting.units import Charge, Patient
from simulations.tradeoff import bands, page, plots, risk
from simulations.tradeoff.risk import in_times, risk_of


@given(st.floats(0.001, 30), st.floats(0, 0.1))
def test_the_share_of_right_guesses_is_rounded_up_from_the_bound(epsilon: float, delta: float) -> None:
    found = risk_of(None, epsilon, delta, "record")
    assert advantage(epsilon, delta) * (1 - 1e-12) <= found["advantage"] <= advantage(epsilon, delta) + 1e-9
    exact = (1 + Fraction(found["advantage"])) / 2
    assert exact <= Fraction(found["right"]) <= exact + Fraction(1, 10**15)
    times = in_times(found["right"])
    if times is None:
        assert found["right"] > 1 - 2e-6
        assert "every time" in found["words"]
    else:
        told = Fraction(*times)
        assert Fraction(found["right"]) <= told < Fraction(found["right"]) + Fraction(1, times[1])
        assert f"at most {times[0]:,} times in {times[1]:,}." in found["words"]


@pytest.mark.parametrize(
    ("epsilon", "told"),
    [(0.5, "63 times in 100"), (1.0, "74 times in 100"), (2.0, "89 times in 100"), (4.0, "99 times in 100"),
     (8.0, "9,997 times in 10,000")],
)  # fmt: skip
def test_what_a_director_reads(epsilon: float, told: str) -> None:
    words = risk_of(None, epsilon, 1e-5, "record")["words"]
    assert words == f"Whoever guesses whether a person's record was in the data is right at most {told}."
    times, of = (float(number.replace(",", "")) for number in told.split(" times in "))
    assert times / of >= 1 / (1 + math.exp(-epsilon)), "no less than without delta"


def test_no_epsilon_is_no_bound() -> None:
    assert risk_of(None, None, 1e-5, "client")["words"].endswith(
        "may be right every time: this bounds nothing."
    )
    assert risk_of(None, None, 1e-5, "client")["right"] == 1.0


def test_it_is_of_the_run_s_own_mechanism_where_the_report_tells_it() -> None:
    known = risk_for([Charge(GaussianEvent(2.982, 0.2, 100), "record", True)], "record", Patient(), 1e-5)
    assert known is not None
    found = risk_of(RiskFigures.from_json(known.to_json()), 3.0, 1e-5, "record")
    assert (found["short"], found["found"]) == ("right 64 times in 100", "5.2%")
    assert found["tpr_at_fpr"] == known.to_json()["tpr_at_fpr"]
    assert found["hits"].endswith("finds at most 5.2 of 100 people whose record is.")


@pytest.mark.parametrize("module", [bands, page, plots, risk])
def test_examples_hold(module: object) -> None:
    failed, tried = doctest.testmod(module)  # type: ignore[arg-type]
    assert (failed, tried > 0) == (0, True)
