"""Changing a part of what is protected as a whole, worked out here from densities: what we answer is never less."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import dp_accounting
import numpy as np
import pytest
from dp_accounting import rdp
from dp_accounting.pld import pld_pmf, privacy_loss_mechanism
from dp_accounting.pld.privacy_loss_mechanism import AdjacencyType
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from privacy.accounting.bounds import Mechanism, recount
from privacy.accounting.crosscheck import cross_check
from privacy.accounting.events import GaussianEvent, NonPrivateEvent, ReplacedEvent
from privacy.accounting.filters import Budget, Filter
from privacy.accounting.pld import epsilon, rdp_epsilon
from privacy.accounting.rdp import renyi
from privacy.accounting.units import Charge, charge_from_json
from privacy.errors import UnsupportedEvent
from tests.privacy.accounting.replacing import replacing

DELTA = 1e-5
STEP = 2.0**-9
GRID = 2.0**-11
TURNED = [(1.0, 0.05, 1), (1.0, 0.05, 30), (2.0, 0.3, 1), (2.0, 0.3, 25), (4.0, 0.9, 10)]


def losses(z: float, rate: float) -> tuple[NDArray[np.float64], int]:
    """Probabilities of the privacy loss of one release between a vector and its opposite, by loss / STEP rounded.

    There: (1 - q) N(0, z^2) + q N(1, z^2). Back: the same around -1. Symmetric, so one direction is both.
    """
    x = np.linspace(-12 * z - 2, 12 * z + 2, 2**18 + 1)
    there, back = ((1 - rate) * norm.pdf(x, 0, z) + rate * norm.pdf(x, shift, z) for shift in (1, -1))
    certain = (there > 1e-300) & (back > 1e-300)
    cells = np.floor(np.log(there[certain] / back[certain]) / STEP).astype(int)
    mass = np.bincount(cells - cells.min(), weights=there[certain]) * (x[1] - x[0])
    return mass, int(cells.min())


@lru_cache
def exact(z: float, rate: float, count: int) -> float:
    """Epsilon at DELTA of `count` releases, from below by less than count * STEP."""
    mass, lowest = losses(z, rate)
    size = 2 ** math.ceil(math.log2(count * len(mass)))
    total = np.fft.irfft(np.fft.rfft(mass, size) ** count, size)
    loss = STEP * (count * lowest + np.arange(size))
    low, high = 0.0, 100.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        above = loss > middle
        delta = float(np.sum(-np.expm1(middle - loss[above]) * total[above]))
        low, high = (low, middle) if delta <= DELTA else (middle, high)
    return low


@pytest.mark.parametrize(("z", "rate", "count"), TURNED)
def test_what_a_part_is_charged_covers_the_worst_it_can_do(z: float, rate: float, count: int) -> None:
    """DP-7: the charge of one record of a patient who is sampled and clipped as a whole is an upper bound."""
    turned = Charge(GaussianEvent(z, rate, count), "patient", summed=True).to("record")
    found, truth = epsilon([turned], DELTA), exact(z, rate, count)
    assert truth <= found <= 3 * truth
    assert epsilon([GaussianEvent(z, rate, count)], DELTA) < truth, (
        "to charge the whole's epsilon is too little"
    )


@pytest.mark.parametrize(("z", "rate", "count"), TURNED)
def test_replacing_a_sampled_unit_covers_the_worst_it_can_do(z: float, rate: float, count: int) -> None:
    """DP-7: replace-one counts twice the sensitivity for sampled releases too."""
    assert exact(z, rate, count) <= replacing([GaussianEvent(z, rate, count)], DELTA)


@pytest.mark.parametrize(
    ("z", "rate", "order"), [(1.0, 0.05, 4), (2.0, 0.3, 8), (0.7, 0.01, 2), (4.0, 0.9, 20)]
)
def test_the_filter_weighs_a_part_at_no_less_than_its_divergence(z: float, rate: float, order: int) -> None:
    """DP-4: here the two releases with half of the noise each are a proof, not only a measurement."""
    turned = Charge(GaussianEvent(z, rate, 1), "patient", summed=True).to("record")
    assert isinstance(turned, ReplacedEvent)
    x = np.linspace(-60 * z, 60 * z + order, 2**20 + 1)
    there, back = (
        np.logaddexp(math.log1p(-rate) + norm.logpdf(x, 0, z), math.log(rate) + norm.logpdf(x, shift, z))
        for shift in (1, -1)
    )
    truth = math.log(np.sum(np.exp(order * there + (1 - order) * back)) * (x[1] - x[0])) / (order - 1)
    weight = turned.count * renyi(turned, order)
    assert truth <= weight


@lru_cache
def composed_by_hand(z: float, rate: float, count: int) -> float:
    """T removals and T additions with half of the noise's variance each, by the library's own two laws."""
    both, reach = [], 10 / z + 1 / z**2  # the largest loss, next to nothing aside
    for kind in (AdjacencyType.REMOVE, AdjacencyType.ADD):
        loss = privacy_loss_mechanism.GaussianPrivacyLoss(
            z / math.sqrt(2), log_mass_truncation_bound=-50, sampling_prob=rate, adjacency_type=kind
        )
        places = np.arange(math.floor(-reach / GRID), math.ceil(reach / GRID))
        deltas = loss.get_delta_for_epsilon(list(places * GRID))
        both.append(pld_pmf.create_pmf_pessimistic_connect_dots(GRID, places, deltas).to_dense_pmf())
    removed, added = (law.self_compose(count) for law in both)
    return float(removed.compose(added).get_epsilon_for_delta(DELTA))


@pytest.mark.parametrize(("z", "rate", "count"), TURNED)
def test_a_part_is_charged_a_removal_and_an_addition(z: float, rate: float, count: int) -> None:
    """DP-7: as composed from the library's public parts, and never more than twice the worse of the two."""
    turned = Charge(GaussianEvent(z, rate, count), "patient", summed=True).to("record")
    found = epsilon([turned], DELTA)
    assert found == pytest.approx(composed_by_hand(z, rate, count), rel=2e-3)
    twice = epsilon([GaussianEvent(z / math.sqrt(2), rate, 2 * count)], DELTA)
    assert exact(z, rate, count) <= found <= twice * (1 + 1e-9)


def test_it_saves_what_was_charged_for_nothing() -> None:
    """A record under a patient plan: 30 releases at z = 1, q = 0.05 were charged 6.363."""
    turned = Charge(GaussianEvent(1.0, 0.05, 30), "patient", summed=True).to("record")
    assert epsilon([turned], DELTA) == pytest.approx(5.403, abs=2e-3)


@given(z=st.floats(0.5, 20), rate=st.floats(0.01, 0.95), count=st.integers(1, 60), group=st.integers(1, 3))
@settings(max_examples=12, deadline=None, derandomize=True)
def test_no_replacement_is_charged_more_than_before_or_less_than_an_addition(
    z: float, rate: float, count: int, group: int
) -> None:
    turned, one = ReplacedEvent(z, rate, count, group), GaussianEvent(z, rate, count, group)
    before = GaussianEvent(max(z / math.sqrt(2), 0.1), rate, 2 * count, group)
    found = epsilon([turned], DELTA)
    assert epsilon([one], DELTA) * (1 - 3e-3) <= found <= epsilon([before], DELTA) * (1 + 5e-3) + 1e-3
    assert rdp_epsilon([turned], DELTA) <= rdp_epsilon([before], DELTA) * (1 + 1e-6)
    for order in (2, 5, 32):
        assert renyi(turned, order) <= 2 * renyi(replace(before, count=1), order) * (1 + 1e-9)
    if found < 30:
        bounds = recount([Mechanism(z, rate, count, group, replaced=True)], DELTA)
        assert bounds.lower <= found <= bounds.upper * 1.01 + 2e-3


@given(z=st.floats(0.3, 50), count=st.integers(1, 1000), group=st.integers(1, 5))
def test_without_sampling_every_accountant_says_half_the_noise(z: float, count: int, group: int) -> None:
    turned, halved = ReplacedEvent(z, 1.0, count, group), GaussianEvent(max(z / 2, 0.1), 1.0, count, group)
    assert epsilon([turned], DELTA) == pytest.approx(epsilon([halved], DELTA), rel=1e-9)
    assert renyi(turned, 7) == pytest.approx(renyi(halved, 7), rel=1e-9)
    for rule in (Filter(None), Filter(7)):
        budget = Budget(1.0, DELTA)
        assert rule.load([turned], budget) == pytest.approx(rule.load([halved], budget), rel=1e-9)
    bounds = recount([Mechanism(z, 1.0, count, group, replaced=True)], DELTA)
    assert bounds.lower <= epsilon([turned], DELTA) * (1 + 1e-8) <= bounds.upper * (1 + 1e-7)


def test_what_is_replaced_composes_with_what_is_added() -> None:
    events = [ReplacedEvent(2.0, 0.3, 25), GaussianEvent(3.0, 0.1, 50), GaussianEvent(6.0, 1.0, 5)]
    found = epsilon(events, DELTA)
    bounds = recount(
        [Mechanism(2.0, 0.3, 25, replaced=True), Mechanism(3.0, 0.1, 50), Mechanism(6.0, 1.0, 5)], DELTA
    )
    assert max(epsilon([event], DELTA) for event in events) < found
    assert bounds.lower <= found <= bounds.upper + 2e-3
    assert epsilon(events[::-1], DELTA) == found


def test_no_charge_asks_for_a_replacement_and_nothing_else_takes_one_for_an_addition() -> None:
    event = ReplacedEvent(2.0, 0.3, 25)
    assert not isinstance(event, GaussianEvent)
    assert cross_check([event], DELTA)["prv"] is None
    assert Charge(event, "record", summed=True).to("record") == NonPrivateEvent()
    plain = {**Charge(GaussianEvent(2.0, 0.3, 25), "record", True).to_json(), "event": event.to_json()}
    with pytest.raises(UnsupportedEvent):
        charge_from_json(plain)


def test_without_sampling_both_are_exactly_twice_the_sensitivity() -> None:
    """DP-7: z = 2 and 20 releases: 28.37."""
    event = GaussianEvent(2.0, 1.0, 20)
    assert replacing([event], DELTA) == pytest.approx(28.37, abs=0.01)
    for protects, part in (("patient", "record"), ("client", "record"), ("client", "patient")):
        turned = Charge(event, protects, summed=False).to(part)  # type: ignore[arg-type]
        assert epsilon([turned], DELTA) == pytest.approx(28.37, abs=0.01)


def test_the_library_s_renyi_accountant_forgets_the_factor_of_two() -> None:
    """DP-7, the control: the trap that ours avoids. If this fails the library was mended."""
    accountant = rdp.RdpAccountant(neighboring_relation=dp_accounting.NeighboringRelation.REPLACE_ONE)
    accountant.compose(dp_accounting.SelfComposedDpEvent(dp_accounting.GaussianDpEvent(2.0), 20))
    assert accountant.get_epsilon(DELTA) == pytest.approx(12.3, abs=0.05)
