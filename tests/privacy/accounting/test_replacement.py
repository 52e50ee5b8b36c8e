"""Changing a part of what is protected as a whole, worked out here from densities: what we answer is never less."""

from __future__ import annotations

import math
from functools import lru_cache

import dp_accounting
import numpy as np
import pytest
from dp_accounting import rdp
from numpy.typing import NDArray
from scipy.stats import norm

from privacy.accounting.events import GaussianEvent
from privacy.accounting.pld import epsilon
from privacy.accounting.rdp import renyi
from privacy.accounting.units import Charge
from tests.privacy.accounting.replacing import replacing

DELTA = 1e-5
STEP = 2.0**-9
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
    assert isinstance(turned, GaussianEvent)
    x = np.linspace(-60 * z, 60 * z + order, 2**20 + 1)
    there, back = (
        np.logaddexp(math.log1p(-rate) + norm.logpdf(x, 0, z), math.log(rate) + norm.logpdf(x, shift, z))
        for shift in (1, -1)
    )
    truth = math.log(np.sum(np.exp(order * there + (1 - order) * back)) * (x[1] - x[0])) / (order - 1)
    weight = turned.count * renyi(turned, order)
    assert truth <= weight


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
