"""The risk of charges: what they let anybody do to one unit. `privacy.accounting.costs` says what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from privacy.accounting.costs import events_of
from privacy.accounting.events import MAX_EPSILON, Event
from privacy.accounting.pld import epsilon
from privacy.accounting.risks.figures import Curve, Pair, Risk, risk
from privacy.accounting.risks.spent import risk_of
from privacy.accounting.units import Charge, Patient, Unit


def risk_for(charges: Sequence[Charge], unit: Unit, patient: Patient, delta: float) -> Risk | None:
    """What all charges together mean to one `unit`; None where nothing is promised to it."""
    events = events_of(charges, unit, patient)
    return None if events is None else promised_risk(events, delta)


def promised_risk(events: Sequence[Event], delta: float) -> Risk | None:
    """The same of events; None beyond the largest epsilon that a plan may ask for."""
    return risk_of(events, delta) if epsilon(events, delta) <= MAX_EPSILON else None


def risk_by_epsilon(epsilon: float, delta: float) -> Risk | None:
    """What any mechanism of this epsilon and delta lets anybody do, where no more is known of it."""
    if epsilon > MAX_EPSILON:
        return None
    nothing = Curve.of((epsilon, delta))
    return risk(Pair(nothing, nothing), delta)


def told(found: Risk | None) -> dict[str, Any] | None:
    """Plain data; None where nothing is promised."""
    return None if found is None else found.to_json()
