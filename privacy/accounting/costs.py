"""What a run costs one unit: each of its charges by itself, and all of them together.

Plans, reports, pages, budgets and the statement of a ledger all take their epsilon from here, so that no two of
them can say two things of one run. An audit has an accountant of its own (`privacy.accounting.bounds`).

Together is the composition of all charges, never the larger of them: a ledger counts for years, and a record that
is held out in one run trains in the next. It is at most the sum of the charges, and mostly less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from privacy.accounting.events import Event
from privacy.accounting.pld import epsilon
from privacy.accounting.units import Charge, Patient, Unit
from privacy.errors import UnsafeParameters


@dataclass(frozen=True)
class Cost:
    """Epsilon of one unit at one delta: of each charge by itself, in their order, and of all together."""

    each: tuple[float, ...]
    together: float


def cost(charges: Sequence[Charge], unit: Unit, patient: Patient, delta: float) -> Cost:
    """What these charges cost one `unit`; infinity where they bound nothing for it."""
    return Cost(
        each=tuple(_composed([charge], unit, patient, delta) for charge in charges),
        together=_composed(charges, unit, patient, delta),
    )


def events_of(charges: Sequence[Charge], unit: Unit, patient: Patient) -> list[Event] | None:
    """What one `unit` is charged; None where they are so many, or noise so little, that no number means much."""
    try:
        return [charge.to(unit, patient) for charge in charges]
    except UnsafeParameters:
        return None


def _composed(charges: Sequence[Charge], unit: Unit, patient: Patient, delta: float) -> float:
    events = events_of(charges, unit, patient)
    return math.inf if events is None else epsilon(events, delta)
