"""The quick accountant: an upper bound at every accuracy, near the truth, and without the library."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting.above import curve, upper
from privacy.accounting.bounds import Mechanism, recount
from tests import ROOT

ONES = {
    "few": Mechanism(1.096, 0.1, 20),
    "many": Mechanism(14.0, 0.02, 5000),
    "rare": Mechanism(0.7, 0.01, 50),
    "often": Mechanism(3.0, 0.9, 50),
    "patient": Mechanism(1.5, 0.1, 30, group=3),
    "replaced": Mechanism(2.0, 0.1, 50, replaced=True),
    "part of a patient": Mechanism(3.0, 0.1, 50, group=2, replaced=True),
    "unsampled": Mechanism(5.0, 1.0, 30),
    "dull": Mechanism(100.0, 0.01, 10),
    "nothing is hidden": Mechanism(0.3, 0.9, 100),
}


@pytest.mark.parametrize("name", ONES)
def test_it_is_above_the_truth_by_about_what_was_asked(name: str) -> None:
    """The auditor's bounds enclose the truth, so no upper bound may lie below the lower one of them."""
    both = recount([ONES[name]], 1e-5)
    for accuracy in (1e-2, 1e-4):
        found = upper([ONES[name]], 1e-5, accuracy)
        assert both.lower <= found <= both.upper * (1 + 2 * accuracy) + 1e-9


mechanisms = st.builds(
    Mechanism,
    noise_multiplier=st.floats(0.5, 30),
    sample_rate=st.one_of(st.just(1.0), st.floats(1e-3, 0.9)),
    count=st.integers(1, 300),
    group=st.integers(1, 3),
    replaced=st.booleans(),
)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    plan=st.lists(mechanisms, min_size=1, max_size=2), delta=st.floats(1e-9, 1e-3), power=st.floats(-5, -1.5)
)
def test_no_plan_at_all_lies_above_it(plan: list[Mechanism], delta: float, power: float) -> None:
    assert recount(plan, delta).lower <= upper(plan, delta, 10**power)


@pytest.mark.parametrize(
    "one", [Mechanism(1.1, 0.1, 1), Mechanism(4.0, 1.0, 1), Mechanism(2.0, 0.1, 1, 2, True)]
)
def test_a_curve_says_of_each_count_what_would_be_said_of_it_alone(one: Mechanism) -> None:
    counts = [1, 2, 3, 5, 8, 40, 41, 300]
    found = curve(one, counts, 1e-5, 1e-4)
    assert found == sorted(found)
    for count, value in zip(counts, found, strict=True):
        alone = Mechanism(one.noise_multiplier, one.sample_rate, count, one.group, one.replaced)
        both = recount([alone], 1e-5)
        assert both.lower <= value <= both.upper * (1 + 1e-3)


def test_no_library_of_accountants_is_loaded() -> None:
    code = (
        "import sys; from privacy.accounting.enough import Search;"
        "Search().enough(3.0, 1e-5, 0.1, 50); sys.exit('dp_accounting' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0
