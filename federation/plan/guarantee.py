"""What a plan costs everyone it touches: an epsilon per record, patient and client, side by side.

A plan is calibrated for its own unit at one site; the others follow from it (`privacy.accounting.units`). How much
one patient holds is what the plan declares, and at worst a patient is at every site of the cohort.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from federation.plan.plan import Plan
from privacy.accounting.events import MAX_GROUP
from privacy.accounting.pld import epsilon
from privacy.accounting.units import Patient, Unit
from privacy.canonical import finite
from privacy.errors import UnsafeParameters


def noise_text(plan: Plan) -> str:
    """The noise multiplier as every party must have worked it out, digit for digit; "" where there is none."""
    return repr(plan.kind.noise_multiplier) if plan.is_private else ""


def planned_patient(plan: Plan, sites: int) -> Patient:
    """The patient that the plan's report speaks of: where it says nothing, one at every one of `sites` sites."""
    records = plan.privacy.records_per_patient or 1
    return Patient(records, plan.privacy.sites_per_patient or max(1, min(sites, MAX_GROUP // records)))


def exposure(plan: Plan, sites: int) -> list[dict[str, Any]]:
    """One line per unit in a federation of `sites` sites: `epsilon` is None where the plan bounds nothing."""
    most = planned_patient(plan, sites)
    people = dict.fromkeys([replace(most, sites=1), most])
    return [
        _line(plan, "record", Patient()),
        *(_line(plan, "patient", patient) for patient in people),
        _line(plan, "client", Patient()),
    ]


def epsilon_for(plan: Plan, unit: Unit, patient: Patient) -> float:
    """Epsilon of the whole plan for one unit, at the plan's delta; infinity where nothing is bounded."""
    if plan.privacy.delta is None:
        raise UnsafeParameters("a plan without privacy has no delta")
    try:
        event = plan.kind.charge.to(unit, patient)
    except UnsafeParameters:
        return math.inf  # so many contributions, or so little noise, that no number would mean anything
    return epsilon([event], plan.privacy.delta)


def _line(plan: Plan, unit: Unit, patient: Patient) -> dict[str, Any]:
    return {
        "unit": unit,
        "records": patient.records,
        "sites": patient.sites,
        "epsilon": finite(epsilon_for(plan, unit, patient)),
    }
