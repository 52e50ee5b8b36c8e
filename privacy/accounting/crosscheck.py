"""Cross-check: what other accountants say of the same events, shown beside the reported epsilon, never instead.

`rdp` is Renyi differential privacy by dp-accounting, somewhat larger than the truth. `prv` is Opacus's accountant
of privacy random variables (Gopi, Lee, Wutschitz 2021), an upper bound, too, with an error of about 0.01. Opacus's
third accountant, "gdp", is never used: a central limit theorem, it answers 1.17 where the truth is 2.75.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from privacy.accounting.events import Event, GaussianEvent
from privacy.accounting.pld import check_delta, epsilon, rdp_epsilon
from privacy.accounting.remembered import keep, proved_cross_check, recalled

_PRV_ERROR = 0.01
_LARGEST, _MOST = 60.0, 2**17  # epsilon and releases: beyond, its table of losses takes gigabytes


def cross_check(events: Sequence[Event], delta: float) -> dict[str, float | None]:
    """Epsilon by accountant. None where one has no answer: PRV knows no groups, and only moderate numbers."""
    check_delta(delta)
    return {"rdp": rdp_epsilon(events, delta), "prv": _prv_epsilon(tuple(events), delta)}


@lru_cache(maxsize=64)
def _prv_epsilon(events: tuple[Event, ...], delta: float) -> float | None:
    history = []
    for event in events:
        if not isinstance(event, GaussianEvent) or event.group > 1:
            return None
        if event.count:
            history.append((event.noise_multiplier, event.sample_rate, event.count))
    if sum(count for _, _, count in history) > _MOST:
        return None
    if not history or not math.isfinite(epsilon(events, delta)) or epsilon(events, delta) > _LARGEST:
        return None if history else 0.0
    question = ("prv", tuple(history), delta)
    told = proved_cross_check(recalled(*question), epsilon(events, delta), 2 * _PRV_ERROR)
    if told is not None:
        return told
    found = _by_opacus(history, delta)
    keep(found, *question)
    return found


def _by_opacus(history: list[tuple[float, float, int]], delta: float) -> float:
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = history
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        # It takes logarithms that it then does not use, and the size of its table from a loose bound.
        warnings.filterwarnings("ignore", "Optimal order is the (largest|smallest) alpha")
        return float(accountant.get_epsilon(delta, eps_error=_PRV_ERROR))
