"""The most that an attack gains under (epsilon, delta): reached by a mechanism, and by none exceeded."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.accounting.risks.epsilon import advantage


@given(st.floats(0, 50), st.floats(0, 0.5))
def test_it_is_that_of_the_worst_mechanism(epsilon: float, delta: float) -> None:
    """With chance delta the answer is told; else it is told truly with odds e^epsilon (Kairouz et al. 2015)."""
    truly = math.exp(epsilon) / (1 + math.exp(epsilon))
    assert advantage(epsilon, delta) == pytest.approx(delta + (1 - delta) * (2 * truly - 1), abs=1e-12)


@given(st.floats(0, 20), st.floats(0, 0.5), st.floats(0, 1))
def test_no_attack_within_both_bounds_is_better(epsilon: float, delta: float, false: float) -> None:
    odds = math.exp(epsilon)
    true = min(1.0, odds * false + delta, 1 - (1 - delta - false) / odds)
    assert true - false <= advantage(epsilon, delta) + 1e-12


def test_its_ends() -> None:
    assert advantage(0.0, 0.0) == 0.0
    assert advantage(math.inf, 0.0) == advantage(1e9, 1e-5) == 1.0
    assert advantage(0.0, 1.0) == 1.0
    assert advantage(1.0, 1e-5) >= (math.e - 1 + 2e-5) / (math.e + 1) - 1e-15
