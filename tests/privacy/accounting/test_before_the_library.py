"""What makes no sense never reaches a library that would answer it, some of it with an epsilon of 0."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import dp_accounting
import pytest
from dp_accounting import rdp
from dp_accounting.pld import privacy_loss_distribution as pld

from privacy.accounting.calibration import noise_multiplier
from privacy.accounting.crosscheck import cross_check
from privacy.accounting.events import GaussianEvent, ReplacedEvent
from privacy.accounting.filters import Budget, Filter, admit
from privacy.accounting.pld import epsilon, epsilon_by_round, rdp_epsilon
from privacy.errors import UnsafeParameters
from tests.privacy.accounting.replacing import replacing

NONE: list[Any] = [math.nan, math.inf, -math.inf, 0.0, -1.0, True, "1", None]
ASKS: list[Callable[[Any, Any, Any, Any, Any], object]] = [
    lambda z, rate, count, group, delta: epsilon([GaussianEvent(z, rate, count, group)], delta),
    lambda z, rate, count, group, delta: epsilon([ReplacedEvent(z, rate, count, group)], delta),
    lambda z, rate, count, group, delta: replacing([GaussianEvent(z, rate, count, group)], delta),
    lambda z, rate, count, group, delta: rdp_epsilon([GaussianEvent(z, rate, count, group)], delta),
    lambda z, rate, count, group, delta: cross_check([GaussianEvent(z, rate, count, group)], delta),
    lambda z, rate, count, group, delta: epsilon_by_round(GaussianEvent(z, rate, count, group), 3, delta),
    lambda z, rate, count, group, delta: admit(
        [], GaussianEvent(z, rate, count, group), Budget(1.0, delta), Filter(4)
    ),
]


class Called(AssertionError):
    """The library was asked."""


@pytest.fixture
def exploding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every door to a library fails."""

    def explode(*_: object, **__: object) -> None:
        raise Called

    for place in ("from_gaussian_mechanism", "from_mixture_gaussian_mechanism", "identity"):
        monkeypatch.setattr(pld, place, explode)
    monkeypatch.setattr(rdp, "RdpAccountant", explode)
    monkeypatch.setattr("opacus.accountants.PRVAccountant", explode)


@pytest.mark.usefixtures("exploding")
@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize(
    "wrong",
    [
        *[{"z": value} for value in NONE],
        *[{"rate": value} for value in [*NONE, 1.0001]],
        *[{"count": value} for value in (-1, 2.5, True, math.nan, "1", None)],
        *[{"group": value} for value in (0, -1, 2.5, True, math.nan, 1001, None)],
        *[{"delta": value} for value in [*NONE, 1.0, 1e-13]],
    ],
)
def test_nonsense_is_refused_before_any_library_is_called(
    ask: Callable[[Any, Any, Any, Any, Any], object], wrong: dict[str, Any]
) -> None:
    """DP-8: every argument of every door."""
    given: dict[str, Any] = {"z": 1.23456, "rate": 0.0123, "count": 7, "group": 1, "delta": 1.5e-5, **wrong}
    with pytest.raises(UnsafeParameters):
        ask(*given.values())


@pytest.mark.usefixtures("exploding")
@pytest.mark.parametrize("target", NONE)
def test_a_target_that_is_none_is_refused_before_any_library_is_called(target: Any) -> None:
    """DP-8: epsilon, where it is asked for."""
    with pytest.raises(UnsafeParameters):
        noise_multiplier(target, 1e-5, 0.0123, 7)


@pytest.mark.usefixtures("exploding")
@pytest.mark.parametrize("ask", ASKS)
def test_sense_does_get_there(ask: Callable[[Any, Any, Any, Any, Any], object]) -> None:
    """DP-8, the control: the doors that fail are those that are used."""
    with pytest.raises(Called):
        ask(1.23456, 0.0123, 7, 1, 1.5e-5)


def test_the_library_would_have_answered_that_nothing_is_spent() -> None:
    """DP-8, the control: what it says of a noise multiplier that is no number."""
    accountant = rdp.RdpAccountant([2, 4, 8])
    accountant.compose(dp_accounting.GaussianDpEvent(math.nan))
    assert accountant.get_epsilon(1e-5) == 0
