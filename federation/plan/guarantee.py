"""The guarantee of a plan for every privacy unit: epsilon per record, patient and client, side by side.

A plan is calibrated for its own unit at one site; epsilon for the other units follows from it
(`privacy.accounting.units`). The plan declares how much one patient holds; at worst a patient is at every site.

A plan that publishes an evaluation charges twice, for training and for the evaluation. Whoever asks what such a run
costs gets three numbers: of the training, of the evaluation, and of both together (`privacy.accounting.costs`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from federation.kinds.adaptive import AdaptiveUpdate
from federation.plan.plan import Plan
from privacy.accounting.costs import Cost, cost
from privacy.accounting.events import MAX_EPSILON, MAX_GROUP
from privacy.accounting.risks.charged import risk_for
from privacy.accounting.risks.charged import told as told_risk
from privacy.accounting.units import UNITS, Charge, Patient, Unit
from privacy.canonical import finite
from privacy.errors import UnsafeParameters

TWO = "each site sees the other's part of the sum, which is the sum less its own"


def of_two(plan: Plan) -> dict[str, str]:
    """What is to be said of a plan whose rounds may be of two sites; nothing of any other."""
    if not plan.is_of_two:
        return {}
    kept = "only the noise that each adds itself protects its records from the other"
    return {"two_sites": f"of two, {TWO}; {kept if plan.is_private else 'nothing is hidden from the other'}"}


_WHOLES = {"patient": "the whole patient", "client": "the whole site"}


def planned_patient(plan: Plan, sites: int) -> Patient:
    """The patient in the plan's report: as the plan declares, or else with one record at each of `sites` sites."""
    records = plan.privacy.records_per_patient or 1
    return Patient(records, plan.privacy.sites_per_patient or max(1, min(sites, MAX_GROUP // records)))


def exposure(plan: Plan, sites: int) -> list[dict[str, Any]]:
    """One row per unit in a federation of `sites` sites: unit, records, sites, epsilon (None: no promise).

    A person at very many sites may cost tens of thousands. Accountants differ on such a number, and nobody is
    promised anything by it; so a row beyond the largest epsilon that a plan may ask for says None.

    Epsilon is that of the training; if the plan publishes an evaluation, its own and both together stand beside it.
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
            **with_risk(promised(cost_for(plan, unit, of)), plan, unit, of),
        }
        for unit, of in (("record", Patient()), *patients, ("client", Patient()))
    ]


def promised(spent: Cost) -> Cost:
    """The same, infinite wherever so large a number promises nothing.

    >>> promised(Cost((2.0,), 2.0)), promised(Cost((14228.5, 3.0), 33216.2))
    (Cost(each=(2.0,), together=2.0), Cost(each=(inf, 3.0), together=inf))
    """
    *each, together = (one if one <= MAX_EPSILON else math.inf for one in (*spent.each, spent.together))
    return Cost(tuple(each), together)


def told_of_parts(rows: Iterable[tuple[str, float | None]]) -> str:
    """Why a record costs more than the patient or the site that it is a part of; "" where none does.

    The rows are units, each with its epsilon. Only what a plan protects as a whole costs less than its parts.

    >>> told_of_parts([("record", 2.04), ("patient", 1.0), ("client", None)]).partition(":")[0]
    'A record can cost more than the whole patient'
    >>> told_of_parts([("record", 1.0), ("patient", 1.0), ("patient", 2.5)])
    ''
    """
    costs = [(UNITS.index(name), math.inf if cost is None else cost) for name, cost in rows]
    pairs = [(part, of) for part, cost in costs for of, whole in costs if part < of and cost > whole]
    if not pairs:
        return ""
    least = min(of for _, of in pairs)
    parts, whole = dict.fromkeys(UNITS[part] for part, of in pairs if of == least), _WHOLES[UNITS[least]]
    return (
        f"A {' or a '.join(parts)} can cost more than {whole}: the noise hides whether all that {whole} gives, "
        "clipped together, is in the sum or not. A part that differs may turn that into its opposite, and so move "
        "the sum twice as far."
    )


def clipping_facts(plan: Plan, cohort: int, norms: Sequence[float | None] = ()) -> dict[str, Any]:
    """How the clipping norm moves, and what noise is left for the update in a cohort of this size; else nothing."""
    privacy, kind = plan.privacy, plan.kind
    if not isinstance(kind, AdaptiveUpdate) or privacy.clipping_bounds is None:
        return {}
    facts = {
        "quantile": privacy.clipping_quantile,
        "bounds": list(privacy.clipping_bounds),
        "rate": privacy.clipping_rate,
        "noise": privacy.clipping_noise,
        "update_noise_multiplier": kind.update_noise(cohort // (plan.secure_aggregation.groups or 1)),
    }
    return {"clipping": facts | ({"last": norms[-1]} if norms else {})}


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


def with_risk(spent: Cost, plan: Plan, unit: Unit, patient: Patient) -> dict[str, Any]:
    """The `epsilons` of the whole plan for one unit, and beside them what they mean (`privacy.accounting.risks`).

    The risk of the training stands beside its epsilon, that of both beside that of both; None: no promise.
    """
    delta = plan.privacy.delta
    if delta is None:
        raise UnsafeParameters("a plan without privacy bounds no risk")
    found = {**epsilons(spent), "risk": told_risk(risk_for(plan.charges[:1], unit, patient, delta))}
    if "together" in found:
        found["together"]["risk"] = told_risk(risk_for(plan.charges, unit, patient, delta))
    return found


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
