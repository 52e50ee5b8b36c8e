"""The guarantee of a plan for every privacy unit: epsilon per record, patient and client, side by side.

A plan is calibrated for its own unit at one site; epsilon for the other units follows from it
(`privacy.accounting.units`). The plan declares how much one patient holds; at worst a patient is at every site.
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


def planned_patient(plan: Plan, sites: int) -> Patient:
    """The patient in the plan's report: as the plan declares, or else with one record at each of `sites` sites."""
    records = plan.privacy.records_per_patient or 1
    return Patient(records, plan.privacy.sites_per_patient or max(1, min(sites, MAX_GROUP // records)))


def exposure(plan: Plan, sites: int) -> list[dict[str, Any]]:
    """One row per unit in a federation of `sites` sites: unit, records, sites, epsilon (None: no bound).

    UnsafeParameters for a plan without privacy.
    """
    most = planned_patient(plan, sites)
    people = dict.fromkeys([replace(most, sites=1), most])
    patients: list[tuple[Unit, Patient]] = [("patient", patient) for patient in people]
    return [
        {
            "unit": unit,
            "records": of.records,
            "sites": of.sites,
            "epsilon": finite(epsilon_for(plan, unit, of)),
        }
        for unit, of in (("record", Patient()), *patients, ("client", Patient()))
    ]


def epsilon_for(plan: Plan, unit: Unit, patient: Patient) -> float:
    """Epsilon of the whole plan for one unit, at the plan's delta; infinity where the plan bounds nothing.

    UnsafeParameters for a plan without privacy.
    """
    if plan.privacy.delta is None:
        raise UnsafeParameters("a plan without privacy has no delta")
    try:
        event = plan.kind.charge.to(unit, patient)
    except UnsafeParameters:
        return math.inf  # so many contributions, or so little noise, that no number would mean anything
    return epsilon([event], plan.privacy.delta)
