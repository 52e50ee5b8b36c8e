"""The auditor's accountant encloses the truth, whoever else is asked for it."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld
from hypothesis import given, settings
from hypothesis import strategies as st

import privacy
from privacy.accounting import pld as accountant
from privacy.accounting.bounds import Bounds, Mechanism, recount
from privacy.accounting.events import GaussianEvent
from privacy.accounting.loss_distributions import Neighbor, Release
from privacy.accounting.unsampled import gaussian_epsilon
from privacy.errors import UnsafeParameters

# Sample rate, noise multiplier, count, delta, and epsilon as the design measured it with other libraries.
GRID = [
    (1, 1, 1, 1e-5, 4.3772),
    (1, 5, 50, 1e-5, 6.5730),
    (0.01, 1, 1000, 1e-5, 1.8282),
    (0.004, 1.1, 15000, 1e-5, 2.2955),
    (0.5, 2, 20, 1e-5, 5.6895),
    (0.001, 0.6, 5000, 1e-6, 2.7484),
]


def by_dp_accounting(mechanisms: list[Mechanism], delta: float, pessimistic: bool) -> float:
    """Epsilon by Google's library: not less than the truth, or not more."""
    step = 2.0**-11
    total = pld.identity(value_discretization_interval=step, pessimistic_estimate=pessimistic)
    for each in mechanisms:
        one = pld.from_gaussian_mechanism(
            each.noise_multiplier,
            value_discretization_interval=step,
            sampling_prob=each.sample_rate,
            pessimistic_estimate=pessimistic,
            use_connect_dots=pessimistic,
        )
        total = total.compose(one.self_compose(each.count))
    return float(total.get_epsilon_for_delta(delta))


def encloses(bounds: Bounds, value: float, slack: float = 1e-3) -> bool:
    return bounds.lower - slack <= value <= bounds.upper + slack


@pytest.mark.parametrize(("rate", "z", "count", "delta", "measured"), GRID)
def test_the_bounds_lie_within_a_thousandth_of_what_every_other_library_says(
    rate: float, z: float, count: int, delta: float, measured: float
) -> None:
    """DP-2: the grid of reference values."""
    bounds = recount([Mechanism(z, rate, count)], delta)
    assert encloses(bounds, measured)
    assert bounds.upper - bounds.lower < 1e-3
    assert bounds.lower <= by_dp_accounting([Mechanism(z, rate, count)], delta, True) + 1e-6


@pytest.mark.parametrize(("rate", "z", "count", "delta", "measured"), GRID)
def test_opacus_lies_above_the_lower_bound_and_no_further_than_its_own_error(
    rate: float, z: float, count: int, delta: float, measured: float
) -> None:
    """DP-3: its PRV accountant answers with an upper bound that is 0.01 too high."""
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [(z, rate, count)]
    with np.errstate(divide="ignore", invalid="ignore"):
        value = accountant.get_epsilon(delta, eps_error=0.01)
    bounds = recount([Mechanism(z, rate, count)], delta)
    assert bounds.lower <= value <= bounds.upper + 0.011


@pytest.mark.parametrize(("group", "measured"), [(1, 2.77), (2, 6.10), (4, 13.9), (8, 33.5)])
def test_a_patient_with_several_records_costs_what_the_mixture_of_gaussians_does(
    group: int, measured: float
) -> None:
    """DP-10: the measured figures are rounded to three digits."""
    bounds = recount([Mechanism(1.0, 0.02, 500, group)], 1e-5)
    assert encloses(bounds, measured, slack=0.006 * measured)
    assert bounds.upper - bounds.lower < 2e-3


def test_groups_agree_with_the_mixture_mechanism_of_another_library() -> None:
    weights = [math.comb(3, k) * 0.1**k * 0.9 ** (3 - k) for k in range(4)]
    one = pld.from_mixture_gaussian_mechanism(
        2.0, sensitivities=[0.0, 1.0, 2.0, 3.0], sampling_probs=weights, value_discretization_interval=1e-3
    )
    value = float(one.self_compose(60).get_epsilon_for_delta(1e-5))
    assert encloses(recount([Mechanism(2.0, 0.1, 60, 3)], 1e-5), value, slack=2e-3)


mechanisms = st.builds(
    Mechanism,
    noise_multiplier=st.floats(0.6, 30),
    sample_rate=st.one_of(st.just(1.0), st.floats(1e-3, 0.9)),
    count=st.integers(1, 300),
)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(plan=st.lists(mechanisms, min_size=1, max_size=2), delta=st.floats(1e-9, 1e-3))
def test_no_plan_at_all_escapes_the_bounds(plan: list[Mechanism], delta: float) -> None:
    bounds = recount(plan, delta)
    assert 0 <= bounds.lower <= bounds.upper
    if bounds.upper < 30:
        assert bounds.lower <= by_dp_accounting(plan, delta, True) + 1e-6
        assert by_dp_accounting(plan, delta, False) <= bounds.upper + 1e-6
        assert bounds.upper - bounds.lower < 0.05 * max(1.0, bounds.upper)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(mu=st.floats(0.01, 6), delta=st.floats(1e-12, 1e-2))
def test_what_is_not_sampled_is_exact(mu: float, delta: float) -> None:
    """Balle and Wang's closed form, found twice."""
    exact = gaussian_epsilon(mu, delta)
    bounds = recount([Mechanism(2 / mu, 1.0, 3), Mechanism(4 / mu, 1.0, 1, group=2)], delta)
    assert bounds.lower <= exact + 1e-9 and exact - 1e-9 <= bounds.upper
    assert bounds.upper - bounds.lower < 1e-7 * (1 + exact)


@pytest.mark.parametrize("delta", [1e-5, 1e-12])
def test_the_grid_finds_the_closed_form_by_itself(delta: float) -> None:
    """A sampled mechanism that says next to nothing sends the other one through the transforms."""
    bounds = recount([Mechanism(3.0, 1.0, 2), Mechanism(1e5, 1e-3, 1)], delta)
    exact = gaussian_epsilon(math.sqrt(2) / 3, delta)
    assert bounds.lower <= exact <= bounds.upper
    assert bounds.upper - bounds.lower < 2e-3


@pytest.mark.parametrize("neighbor", ["removed", "added"])
@pytest.mark.parametrize(("step", "gap"), [(0.01, 1e-4), (0.3, 0.05), (1.1, 0.3)])
def test_the_two_laws_of_one_release_enclose_its_delta_at_every_epsilon(
    neighbor: Neighbor, step: float, gap: float
) -> None:
    """Summed up by hand; coarse grids leave masses that no neighbor can level."""
    rate, z = 0.2, 0.9
    below, above = Release(z, rate, 1, 1e-15).laws(neighbor, step, 1.0)
    x = np.linspace(-12, 14, 400_001)
    q, shifted = (np.exp(-((x - mean) ** 2) / (2 * z * z)) for mean in (0, 1))
    p = (1 - rate) * q + rate * shifted
    one, other = (p, q) if neighbor == "removed" else (q, p)
    for epsilon in np.linspace(-0.2, 2.5, 28):
        by_hand = np.maximum(one - math.exp(epsilon) * other, 0).sum() / q.sum()
        deltas = []
        for law in (below, above):
            losses = law.anchor + step * np.arange(law.first, law.first + len(law.mass))
            deltas.append(law.mass @ np.maximum(0, 1 - np.exp(epsilon - losses)) + law.infinite)
        assert deltas[0] - 1e-12 <= by_hand <= deltas[1] + 1e-12
        assert deltas[1] - deltas[0] < gap


def test_one_percent_less_noise_is_told_apart() -> None:
    """The bounds are narrow enough to convict."""
    less, planned = (recount([Mechanism(z, 0.02, 500)], 1e-5) for z in (0.99, 1.0))
    assert less.lower > planned.upper


def test_order_and_grouping_of_equal_mechanisms_do_not_matter() -> None:
    """DP-5, DP-6."""
    first, second = Mechanism(1.5, 0.05, 40), Mechanism(2.0, 0.1, 60)
    halves = [Mechanism(1.5, 0.05, 15), second, Mechanism(1.5, 0.05, 25)]
    assert recount([first, second], 1e-6) == recount([second, first], 1e-6) == recount(halves, 1e-6)


def test_nothing_costs_nothing_and_an_absurd_amount_has_a_bound() -> None:
    assert recount([], 1e-5) == recount([Mechanism(1.0, 0.5, 0)], 1e-5) == Bounds(0.0, 0.0)
    bounds = recount([Mechanism(0.5, 0.9, 100)], 1e-5)
    assert 200 < bounds.lower < bounds.upper < bounds.lower + 0.1


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan, math.inf, 1e-16])
def test_an_impossible_delta_is_refused(delta: float) -> None:
    """DP-8."""
    with pytest.raises(UnsafeParameters):
        recount([Mechanism(1.0, 0.1, 1)], delta)


@pytest.mark.parametrize(
    ("z", "rate", "count", "group"),
    [
        (math.nan, 0.1, 1, 1),
        (0, 0.1, 1, 1),
        (-1, 0.1, 1, 1),
        (math.inf, 0.1, 1, 1),
        (1, 0, 1, 1),
        (1, 1.1, 1, 1),
        (1, math.nan, 1, 1),
        (1, 0.1, -1, 1),
        (1, 0.1, 1, 0),
    ],
)
def test_an_impossible_mechanism_is_refused(z: float, rate: float, count: int, group: int) -> None:
    """DP-8."""
    with pytest.raises(UnsafeParameters):
        Mechanism(z, rate, count, group)


def test_it_shares_nothing_with_the_accountant_that_spends() -> None:
    folder = Path(privacy.__file__).parent / "accounting"
    used = set()
    for name in ("bounds.py", "loss_distributions.py"):
        for node in ast.walk(ast.parse((folder / name).read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                used.add(node.module or "")
            elif isinstance(node, ast.Import):
                used |= {alias.name for alias in node.names}
    assert {name for name in used if name.startswith("privacy")} == {
        "privacy.errors",
        "privacy.accounting.loss_distributions",
    }
    assert not any("dp_accounting" in name or "opacus" in name for name in used)


def test_a_window_that_reaches_far_beyond_epsilon_accuses_nobody() -> None:
    """Rare contributions, many at once: losses of 300 have a place in the window, and epsilon is 4.0755."""
    event = GaussianEvent(1.016010941415542, 0.004650705344497753, 104, 9)
    delta = 1.5341665988508963e-06
    alone = recount([Mechanism(event.noise_multiplier, event.sample_rate, event.count, event.group)], delta)
    assert alone.lower <= accountant.epsilon([event], delta)
    assert 4.07 < alone.lower < 4.0756 < alone.upper < 4.08
    more = [
        Mechanism(event.noise_multiplier, event.sample_rate, event.count, event.group),
        Mechanism(3.0, 0.1, 10),
    ]
    assert recount(more, delta).lower > alone.lower
