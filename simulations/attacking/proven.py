"""What a plan proves of every attack on it: the trade-off between hits and false alarms, and its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from federation.plan.plan import Plan
from privacy.accounting.events import Event, GaussianEvent, ReplacedEvent
from privacy.accounting.merged import merge
from privacy.accounting.remembered import auditors
from privacy.accounting.risks.charged import promised_risk
from privacy.accounting.risks.enclosed import above
from privacy.accounting.risks.figures import Curve, Pair, Risk, tpr
from privacy.accounting.units import Patient
from privacy.errors import UnsafeParameters
from simulations.attacking.people import People

_NODES: Final = 48  # of a trade-off for a verdict: any of its places will do, fewer are quicker
_PLACES: Final = 400

Lines = Sequence[tuple[float, float]]  # (epsilon, delta) that all hold


@dataclass(frozen=True)
class Proven:
    """Of a unit that is in the data or not (`risk`, `pair`), and of one that is there instead of another."""

    risk: Risk
    pair: Pair
    replaced: Pair

    def tpr(self, rate: float) -> float:
        """The most hits at a rate of false alarms."""
        return tpr(self.pair, rate)

    @property
    def auc(self) -> float:
        """The most that the chance can be to be surer of a member than of another: the area below the trade-off."""
        ends = np.concatenate([np.zeros(1), np.geomspace(1e-6, 1.0, _PLACES)])
        heights = [self.tpr(float(rate)) for rate in ends[1:]]
        return min(1.0, float(np.sum(np.diff(ends) * heights)))  # it rises, so the right end is above it

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        told = self.risk.to_json()
        curve = [[float(rate), self.tpr(float(rate))] for rate in np.geomspace(1e-4, 1.0, 60)]
        return {
            "advantage": told["advantage"],
            "tpr_at_fpr": told["tpr_at_fpr"],
            "auc": self.auc,
            "roc": curve,
        }


def proven_of(plan: Plan, people: People) -> Proven | None:
    """What the training of a plan proves for its units; None where nothing is promised to them.

    The evaluation is not looked at by these attacks, and so not counted here.
    """
    delta = plan.privacy.delta
    if delta is None:
        return None
    patient = Patient(plan.privacy.records_per_patient or 1, people.sites)
    try:
        event = plan.charges[0].to(people.unit, patient)
    except UnsafeParameters:
        return None
    risk = promised_risk([event], delta)
    if risk is None:
        return None
    return Proven(risk, _pair([event], delta), _pair([_replaced(event)], delta))


def lines(pair: Pair) -> Lines:
    """Some places of a trade-off that holds whichever way it is looked at."""
    places = pair.removed.epsilons
    worse = np.maximum(pair.removed.deltas, _at(pair.added, places))
    chosen = np.unique(np.linspace(0, len(places) - 1, _NODES).astype(int))
    return [(float(places[each]), float(worse[each])) for each in chosen]


def _at(curve: Curve, places: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Bounds at other places: a curve falls, so what holds at the last place before one holds there."""
    before = np.searchsorted(curve.epsilons, places + 1e-12, side="right") - 1
    return np.where(before >= 0, curve.deltas[np.maximum(before, 0)], 1.0)


def _replaced(event: Event) -> Event:
    """Of one unit in the place of another (`privacy.accounting.units` has the proof)."""
    if not isinstance(event, GaussianEvent):
        return event
    return ReplacedEvent(event.noise_multiplier, event.sample_rate, event.count, event.group)


def _pair(events: Sequence[Event], delta: float) -> Pair:
    return above(auditors(merge(events) or ()), delta)
