"""What is claimed to the world, and the least that it costs: by the auditor's own accountant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from federation.audit.findings import Findings
from federation.audit.outcome import Claim, Cost
from federation.audit.recounting import bounds, planned_rate, planned_releases
from federation.errors import FederationError
from federation.plan.guarantee import planned_patient
from federation.plan.plan import Plan
from privacy.accounting.bounds import Bounds
from privacy.accounting.events import GaussianEvent
from privacy.accounting.units import UNITS, Charge, Patient
from privacy.errors import PrivacyError


def planned_charges(plan: Plan, found: Findings) -> tuple[Charge, Charge | None] | None:
    """What the plan asks of every site, for training and for evaluation, read a second time; None if that fails."""
    try:
        training = plan.kind.charge
        evaluation = plan.figures.charge if plan.figures is not None else None
    except (FederationError, PrivacyError, ValueError, OverflowError) as error:
        reason = getattr(error, "message", type(error).__name__)
        found.add("plan-unreadable", f"plan.toml cannot be charged for: {reason}")
        return None
    for charge, what, rate, count in (
        (training, "run", planned_rate(plan), planned_releases(plan)),
        (evaluation, "evaluation", 1.0, 1),
    ):
        if charge is None or not isinstance(charge.event, GaussianEvent):
            continue
        event, place = charge.event, (charge.protects, charge.summed)
        asked = (rate, count, 1)
        if (event.sample_rate, event.count, event.group) != asked or place != (
            plan.privacy.unit,
            plan.privacy.noise != "site",
        ):
            found.add("charge-mismatch", f"the {what} is charged for other releases than the plan makes")
    return training, evaluation


def claimed_epsilon(report: Mapping[str, Any] | None, plan: Plan) -> float | None:
    """What is claimed to the world: the report's epsilon, or before there is one the plan's."""
    privacy = report.get("privacy") if report is not None else None
    claimed = privacy.get("epsilon") if isinstance(privacy, Mapping) else plan.privacy.epsilon
    return float(claimed) if isinstance(claimed, int | float) and not isinstance(claimed, bool) else None


def claims_of_sites(report: Mapping[str, Any] | None) -> dict[str, float]:
    """The epsilon that the report gives each site."""
    rows = report.get("sites") if report is not None else None
    return {
        row["id"]: float(row["epsilon"])
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, Mapping)
        and isinstance(row.get("id"), str)
        and isinstance(row.get("epsilon"), int | float)
    }


def recounted_charge(charge: Charge, plan: Plan) -> Bounds | None:
    """Epsilon of a whole charge, for the unit that it protects; None for one that protects nothing."""
    if plan.privacy.delta is None:
        return None
    try:
        return bounds([charge], charge.protects, Patient(), plan.privacy.delta)
    except PrivacyError:
        return None


def check_claim(claimed: float | None, charges: Iterable[Charge], plan: Plan, found: Findings) -> Claim:
    """The training: the claim, and the most that any of these charges costs, by plan or by ledger."""
    worst = _worst(charges, plan)
    if worst is None and not plan.is_private:
        found.add("not-private", 'the plan says noise = "none": nothing is claimed, and nothing is protected')
    elif worst is not None:
        _check_noise(plan.privacy.epsilon, worst, "the plan", found)
        check_epsilon(claimed, worst, "report.json", found)
    return Claim(claimed, worst)


def check_evaluation_claim(charges: Iterable[Charge], plan: Plan, found: Findings) -> Claim | None:
    """The evaluation: what the plan claims of it, and the most that any of these charges costs."""
    if plan.evaluation.epsilon is None:
        return None
    worst = _worst(charges, plan)
    if worst is not None:
        _check_noise(plan.evaluation.epsilon, worst, "the plan's evaluation", found)
    return Claim(plan.evaluation.epsilon, worst)


def check_epsilon(claimed: float | None, found_bounds: Bounds, what: str, found: Findings) -> None:
    """A claim below what is proven to be spent is false."""
    if claimed is not None and claimed < found_bounds.lower * (1 - 1e-9):
        detail = f"{what}: epsilon {claimed:.4g} is claimed, at least {found_bounds.lower:.4g} was spent"
        found.add("epsilon-understated", detail)


def told_units(plan: Plan, sites: int) -> list[tuple[str, int, int]]:
    """Whom a report has to speak of: units with records and sites; a patient at one site, and at the most."""
    most = planned_patient(plan, sites)
    patients = dict.fromkeys([("patient", most.records, 1), ("patient", most.records, most.sites)])
    return [("record", 1, 1), *patients, ("client", 1, 1)]


def costs(plan: Plan, training: Charge, evaluation: Charge | None, sites: int) -> dict[str, Cost]:
    """What the run costs a record, a patient and a whole site; a patient as the plan declares, or at every site."""
    delta = plan.privacy.delta
    if delta is None:
        return {}
    told = {unit: Patient(records, places) for unit, records, places in told_units(plan, sites)}
    both = [training, *([] if evaluation is None else [evaluation])]
    try:
        return {
            unit: Cost(
                training=bounds([training], unit, told[unit], delta),
                evaluation=None if evaluation is None else bounds([evaluation], unit, told[unit], delta),
                total=bounds(both, unit, told[unit], delta),
            )
            for unit in UNITS
        }
    except PrivacyError:
        return {}


def _check_noise(epsilon: float | None, worst: Bounds, what: str, found: Findings) -> None:
    if epsilon is not None and worst.lower > epsilon * (1 + 1e-9):
        found.add(
            "noise-too-small", f"{what} claims epsilon {epsilon:.4g}, its noise gives {worst.lower:.4g}"
        )


def _worst(charges: Iterable[Charge], plan: Plan) -> Bounds | None:
    counted = [each for charge in set(charges) if (each := recounted_charge(charge, plan)) is not None]
    return max(counted, key=lambda each: each.upper, default=None)
