"""The guarantee of a plan for every privacy unit: epsilon per record, patient and client, side by side.

A plan is calibrated for its own unit at one site; epsilon for the other units follows from it
(`privacy.accounting.units`). The plan declares how much one patient holds; at worst a patient is at every site.

A plan that publishes an evaluation charges twice, for training and for the evaluation. Whoever asks what such a run
costs gets three numbers: of the training, of the evaluation, and of both together (`privacy.accounting.costs`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from federation.plan.plan import Plan
from privacy.accounting.costs import Cost, cost
from privacy.accounting.events import MAX_GROUP
from privacy.accounting.units import Charge, Patient, Unit
from privacy.canonical import finite
from privacy.errors import UnsafeParameters


def planned_patient(plan: Plan, sites: int) -> Patient:
    """The patient in the plan's report: as the plan declares, or else with one record at each of `sites` sites."""
    records = plan.privacy.records_per_patient or 1
    return Patient(records, plan.privacy.sites_per_patient or max(1, min(sites, MAX_GROUP // records)))


def exposure(plan: Plan, sites: int) -> list[dict[str, Any]]:
    """One row per unit in a federation of `sites` sites: unit, records, sites, epsilon (None: no bound).

    Epsilon is that of the training; if the plan publishes an evaluation, its own and both together stand beside it.
    UnsafeParameters for a plan without privacy.
    """
    most = planned_patient(plan, sites)
    people = dict.fromkeys([replace(most, sites=1), most])
    patients: list[tuple[Unit, Patient]] = [("patient", patient) for patient in people]
    return [
        {"unit": unit, "records": of.records, "sites": of.sites, **epsilons(cost_for(plan, unit, of))}
        for unit, of in (("record", Patient()), *patients, ("client", Patient()))
    ]


def epsilons(spent: Cost) -> dict[str, Any]:
    """The cost of a run as plain data: None where nothing is bounded.

    >>> epsilons(Cost((2.0,), 2.0))
    {'epsilon': 2.0}
    >>> epsilons(Cost((2.0, 1.0), 2.5))
    {'epsilon': 2.0, 'evaluation': {'epsilon': 1.0}, 'together': {'epsilon': 2.5}}
    """
    training, *evaluation = map(finite, spent.each)
    if not evaluation:
        return {"epsilon": training}
    parts = {"evaluation": evaluation[0], "together": finite(spent.together)}
    return {"epsilon": training, **{name: {"epsilon": value} for name, value in parts.items()}}


def cost_for(plan: Plan, unit: Unit, patient: Patient) -> Cost:
    """What the whole plan costs one unit, at the plan's delta. UnsafeParameters for a plan without privacy."""
    return _cost(plan, plan.charges, unit, patient)


def site_cost(plan: Plan, rounds: int, evaluated: bool) -> Cost:
    """What so many rounds, and the evaluation if the site was in it, cost one unit that the plan protects.

    UnsafeParameters for a plan without privacy.
    """
    training, *evaluation = plan.charges
    charges = [training.of(rounds, plan.reserved[0])]
    charges += [charge if evaluated else charge.with_count(0) for charge in evaluation]
    return _cost(plan, charges, plan.privacy.unit, Patient())


def charged_cost(plan: Plan, charges: Sequence[Charge]) -> float | None:
    """What charges of a site's ledger for this run cost one unit that the plan protects, composed, at its delta.

    None where nothing is bounded. UnsafeParameters for a plan without privacy.
    """
    return finite(_cost(plan, list(charges), plan.privacy.unit, Patient()).together)


def largest_alone(plan: Plan) -> float | None:
    """Epsilon of one unit of this run where it is in one of the two parts only; None without an evaluation.

    That holds at a site that splits by `clients.data.split.apart`, where the proof is, and for one run by itself. A
    ledger never counts by it.
    """
    if plan.figures is None or plan.evaluation.folds is not None:
        return None
    return max(cost_for(plan, plan.privacy.unit, Patient()).each)


def _cost(plan: Plan, charges: list[Charge] | tuple[Charge, ...], unit: Unit, patient: Patient) -> Cost:
    if plan.privacy.delta is None:
        raise UnsafeParameters("a plan without privacy has no delta")
    return cost(charges, unit, patient, plan.privacy.delta)
