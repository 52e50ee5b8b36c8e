"""Checks what the plan and the report claim, by the auditor's own accountant."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from federation.audit.findings import Findings
from federation.audit.outcome import Claim, Cost
from federation.audit.recounting import bounds, planned_rate, planned_releases, planned_tests, planned_whole
from federation.errors import FederationError
from federation.plan.guarantee import planned_patient
from federation.plan.plan import Plan
from privacy.accounting.bounds import Bounds
from privacy.accounting.events import MAX_EPSILON, GaussianEvent
from privacy.accounting.units import UNITS, Charge, Patient, Unit
from privacy.errors import PrivacyError


def planned_charges(plan: Plan, found: Findings) -> tuple[Charge, Charge | None] | None:
    """The plan's charge for training, and for evaluation if it publishes one; None, with a finding, if that fails.

    The count, the rate and the unit of each charge are derived here a second time.
    """
    try:
        training = plan.kind.charge
        evaluation = plan.figures.charge if plan.figures is not None else None
    except (FederationError, PrivacyError, ValueError, OverflowError) as error:
        reason = getattr(error, "message", type(error).__name__)
        found.add("plan-unreadable", f"plan.toml cannot be charged for: {reason}")
        return None
    all_trainings, all_tests = planned_whole(plan)
    for charge, what, rate, count, whole in (
        (training, "run", planned_rate(plan), planned_releases(plan), all_trainings),
        (evaluation, "evaluation", 1.0, planned_tests(plan), all_tests),
    ):
        if charge is None or not isinstance(charge.event, GaussianEvent):
            continue
        event, asked = charge.event, (rate, count, 1, plan.privacy.unit, plan.privacy.noise != "site", whole)
        said = event.sample_rate, event.count, event.group, charge.protects, charge.summed, charge.whole
        if said != asked:
            found.add("charge-mismatch", f"the {what} is charged for other releases than the plan makes")
    return training, evaluation


def claimed_epsilon(report: Mapping[str, Any] | None, plan: Plan) -> float | None:
    """The epsilon of the report, or the plan's if there is no report; None if it is no number."""
    privacy = report.get("privacy") if report is not None else None
    return _number(privacy.get("epsilon") if isinstance(privacy, Mapping) else plan.privacy.epsilon)


def claimed_together(report: Mapping[str, Any] | None) -> float | None:
    """What the report says that training and evaluation cost together; None if it is no number."""
    return _together(report.get("privacy")) if report is not None else None


def claims_of_sites(report: Mapping[str, Any] | None) -> dict[str, tuple[float | None, float | None]]:
    """The epsilon of the training that the report gives each site, and that of both together, by id."""
    rows = report.get("sites") if report is not None else None
    return {
        row["id"]: (_number(row.get("epsilon")), _together(row))
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, Mapping) and isinstance(row.get("id"), str)
    }


def _together(part: object) -> float | None:
    both = part.get("together") if isinstance(part, Mapping) else None
    return _number(both.get("epsilon")) if isinstance(both, Mapping) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def recounted_charge(charge: Charge, plan: Plan) -> Bounds | None:
    """Epsilon of a whole charge, at the plan's delta, for the unit that it protects; None without privacy."""
    return recounted([charge], plan)


def recounted(charges: Sequence[Charge], plan: Plan) -> Bounds | None:
    """Epsilon of charges of one run together, for the unit that they protect; None without privacy."""
    if plan.privacy.delta is None:
        return None
    try:
        return bounds(charges, charges[0].protects, Patient(), plan.privacy.delta)
    except PrivacyError:
        return None


def check_claim(claimed: float | None, charges: Iterable[Charge], plan: Plan, found: Findings) -> Claim:
    """The claim for training beside the most that any of these charges costs, by plan or by ledger."""
    worst = _worst(charges, plan)
    if worst is None and not plan.is_private:
        found.add("not-private", 'the plan says noise = "none": nothing is claimed, and nothing is protected')
    elif worst is not None:
        _check_noise(plan.privacy.epsilon, worst, "the plan", found)
        check_epsilon(claimed, worst, "report.json", found)
    return Claim(claimed, worst)


def check_evaluation_claim(charges: Iterable[Charge], plan: Plan, found: Findings) -> Claim | None:
    """The plan's claim for its evaluation beside the most that any of these charges costs; None without one."""
    if plan.evaluation.epsilon is None:
        return None
    worst = _worst(charges, plan)
    if worst is not None:
        _check_noise(plan.evaluation.epsilon, worst, "the plan's evaluation", found)
    return Claim(plan.evaluation.epsilon, worst)


def check_together(
    claimed: float | None, pairs: Iterable[tuple[Charge, Charge]], plan: Plan, found: Findings
) -> Claim | None:
    """The report's claim for training and evaluation beside the most that any such pair costs, composed.

    None where the plan publishes no evaluation.
    """
    if plan.evaluation.epsilon is None:
        return None
    counted = [each for pair in set(pairs) if (each := recounted(pair, plan)) is not None]
    worst = max(counted, key=lambda each: each.upper, default=None)
    if worst is not None:
        check_epsilon(claimed, worst, "report.json, training and evaluation together", found)
    return Claim(claimed, worst)


def check_epsilon(claimed: float | None, found_bounds: Bounds, what: str, found: Findings) -> None:
    """Add a finding if the claim is below what is proven to be spent. `what` names the claimant."""
    if claimed is not None and claimed < found_bounds.lower * (1 - 1e-9):
        detail = f"{what}: epsilon {claimed:.4g} is claimed, at least {found_bounds.lower:.4g} was spent"
        found.add("epsilon-understated", detail)


def told_units(plan: Plan, sites: int) -> list[tuple[str, int, int]]:
    """The rows (unit, records, sites) that a report has to have; a patient at one site, and at the most.

    Example: with 2 records per patient and 10 sites: ("patient", 2, 1) and ("patient", 2, 10).
    """
    most = planned_patient(plan, sites)
    patients = dict.fromkeys([("patient", most.records, 1), ("patient", most.records, most.sites)])
    return [("record", 1, 1), *patients, ("client", 1, 1)]


def costs(plan: Plan, training: Charge, evaluation: Charge | None, sites: int) -> dict[str, Cost]:
    """Epsilon of the run by unit; empty for a plan without privacy.

    A patient is counted as the plan declares, or at every site where it declares nothing. What is beyond the
    largest epsilon that a plan may ask for has no bounds: it promises nothing, and accountants differ on it.
    """
    delta = plan.privacy.delta
    if delta is None:
        return {}
    told = {unit: Patient(records, places) for unit, records, places in told_units(plan, sites)}
    both = [training, *([] if evaluation is None else [evaluation])]

    def promised(charges: Sequence[Charge], unit: Unit) -> Bounds:
        found = bounds(charges, unit, told[unit], delta)
        return found if found.upper <= MAX_EPSILON else Bounds(math.inf, math.inf)

    try:
        return {
            unit: Cost(
                training=promised([training], unit),
                evaluation=None if evaluation is None else promised([evaluation], unit),
                total=promised(both, unit),
            )
            for unit in UNITS
        }
    except PrivacyError:
        return {}


def _check_noise(epsilon: float | None, worst: Bounds, what: str, found: Findings) -> None:
    if epsilon is not None and worst.lower > epsilon * (1 + 1e-9):
        detail = f"{what} claims epsilon {epsilon:.4g}, its noise gives {worst.lower:.4g}"
        found.add("noise-too-small", detail)


def _worst(charges: Iterable[Charge], plan: Plan) -> Bounds | None:
    counted = [each for charge in set(charges) if (each := recounted_charge(charge, plan)) is not None]
    return max(counted, key=lambda each: each.upper, default=None)
