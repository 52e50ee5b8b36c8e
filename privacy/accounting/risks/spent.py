"""The risk of what is spent: figures from the distribution of losses that epsilon is taken from.

They are the accountant's own, so they belong to the mechanism of a plan, not to an (epsilon, delta) that another
mechanism might have, too. The point (epsilon, delta) is always among what they follow from, so no figure is above
what epsilon alone says. Where there is no distribution (beyond some hundreds of epsilon, or where rounding would
show), they follow from that point and from the mechanism without its sampling.

They are remembered as epsilon is (`privacy.accounting.remembered`): a risk that was told is used if the quick
curves prove that it is not below the truth, figure by figure, and it is not far above them. Two accountants look at
different places of a curve, so what is found is said a ten thousandth larger: enough to be proved.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from privacy.accounting.events import MAX_EPSILON, Event
from privacy.accounting.merged import Merged, merge
from privacy.accounting.pld import Spread, check_delta, epsilon, spread
from privacy.accounting.remembered import auditors, keep, recalled
from privacy.accounting.risks.figures import Curve, Pair, Risk, risk, risk_from
from privacy.accounting.unsampled import gaussian_delta, gaussian_epsilon

NODES = 512
_BEYOND = 1e-4  # the curve ends where it is about this share of delta
_LAST = 600.0  # and no further: exp of it is a float
_WIDER = 1e-4  # of the odds
_ACCURACIES = (1e-4, 1e-5)
_SLACK, _SLACK_OF_GROUPS, _ABSOLUTE = (
    0.05,
    0.2,
    1e-4,
)  # by how much a figure that was told may be above the proof


def risk_of(events: Sequence[Event], delta: float) -> Risk | None:
    """What all `events` together let anybody do at the most; None if one of them is not private.

    UnsafeParameters unless 1e-10 <= delta < 1; UnsupportedEvent for what is no event.
    """
    check_delta(delta)
    merged = merge(events)
    if merged is None:
        return None
    return _risk(merged, epsilon(events, delta), delta)


@lru_cache(maxsize=1024)
def _risk(merged: Merged, spent: float, delta: float) -> Risk:
    if spent > MAX_EPSILON or all(one.sample_rate == 1 for one, _ in merged):
        return risk(_unsampled(merged, spent, delta), delta)
    told = recalled("risk", merged, delta)
    if told is not None and (known := proved_risk(told, merged, delta)) is not None:
        return known
    found = spread(merged, delta)
    if found is None:
        return risk(_unsampled(merged, spent, delta), delta)
    answer = risk(_pair(found, spent, delta), delta).widened(_WIDER)
    keep(answer.to_json(), "risk", merged, delta)
    return answer


def proved_risk(told: object, merged: Merged, delta: float) -> Risk | None:
    """A risk that was told, if each figure of it is proved to be a bound, and a close one; None if not."""
    from privacy.accounting.risks.enclosed import above

    claimed = risk_from(told, delta)
    if claimed is None:
        return None
    mechanisms = auditors(merged)
    slack = _SLACK_OF_GROUPS if any(one.group > 1 for one, _ in merged) else _SLACK
    for accuracy in _ACCURACIES:
        pairs = list(_both(claimed, risk(above(mechanisms, delta, accuracy), delta)))
        if all(proved <= value for value, proved in pairs):
            close = all(value <= proved * (1 + slack) + _ABSOLUTE for value, proved in pairs)
            return claimed if close else None
    return None


def _both(one: Risk, other: Risk) -> Iterator[tuple[float, float]]:
    return zip(one.values, other.values, strict=True)


def _unsampled(merged: Merged, spent: float, delta: float) -> Pair:
    """Each mechanism without its sampling, and what is known of epsilon."""
    mu = math.sqrt(math.fsum(count * one.unsampled_square for one, count in merged))
    last = min(gaussian_epsilon(mu, _BEYOND * delta), _LAST) if mu else 0.0
    places = np.linspace(0.0, last, NODES if mu else 1)
    deltas = [gaussian_delta(mu, float(place)) if mu else 0.0 for place in places]
    curve = Curve(places, np.clip(np.array(deltas) * (1 + 1e-9), 0.0, 1.0))
    curve = curve.joined(spent, delta) if spent <= _LAST else curve
    return Pair(curve, curve)


def _pair(found: Spread, spent: float, delta: float) -> Pair:
    from privacy.accounting.distributions import laws_of

    laws = laws_of(found.total)
    curves = [_curve(law, found, spent, delta) for law in laws]
    return Pair(curves[0], curves[-1])


def _curve(law: Any, found: Spread, spent: float, delta: float) -> Curve:
    """Of one law of the library's. What it leaves out changes epsilon and delta as in `privacy.accounting.pld`."""
    last = min(max(float(law.get_epsilon_for_delta(_BEYOND * delta)), spent), _LAST)
    places = np.linspace(0.0, last if math.isfinite(last) else spent, NODES)
    deltas = np.asarray(law.get_delta_for_epsilon(list(places))) + found.left_out + found.rounding
    curve = Curve(places - math.log1p(-found.left_out), np.clip(deltas, 0.0, 1.0))
    return curve.joined(spent, delta) if spent <= _LAST else curve
