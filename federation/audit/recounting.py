"""Recounts what a plan and a ledger cost, for an audit.

This module states the rules by which a charge becomes a mechanism a second time, from their definition, and takes
epsilon from `privacy.accounting.bounds`: it calls none of the code that admits, charges or reports.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from federation.plan.plan import Plan
from federation.plan.tabular import TabularTask
from federation.round.cohort import required_survivors, shares_along_ring
from federation.round.groups import smallest_sum
from privacy.accounting.bounds import Bounds, Mechanism, recount
from privacy.accounting.events import GaussianEvent
from privacy.accounting.risks.recounted import RiskBounds, recount_risk
from privacy.accounting.units import Charge, Patient, Unit
from privacy.ledger.state import Account, Run

_PARTS = 2**28


def planned_releases(plan: Plan) -> int:
    """How many releases of one site the plan makes. With noise at the site, every local step is one.

    Example: 200 rounds of 5 local steps are 1,000 releases with noise = "site", and 200 otherwise.
    """
    return plan.federation.rounds * releases_in_a_round(plan) * planned_trainings(plan)


def releases_in_a_round(plan: Plan) -> int:
    """How many releases of one site a round makes."""
    steps = plan.training.local_steps if plan.privacy.noise == "site" else 1
    return 1 if plan.privacy.unit == "client" else steps


def planned_trainings(plan: Plan) -> int:
    """How many trainings hold one unit that the plan protects: all, or all but the one without its fold."""
    folds = plan.evaluation.folds
    return 1 if folds is None else folds + 1 - stays_in_a_fold(plan)


def planned_tests(plan: Plan) -> int:
    """How many evaluations hold one such unit."""
    return 1 if stays_in_a_fold(plan) else plan.evaluation.folds or 1


def stays_in_a_fold(plan: Plan) -> bool:
    """Whether nothing but the unit decides its fold: a table's record that is nobody's, or a person with an id."""
    if plan.evaluation.folds is None or not isinstance(plan.task, TabularTask):
        return False
    asked = "patient" if plan.task.patient is not None else "record"
    return asked == plan.privacy.unit


def planned_whole(plan: Plan) -> tuple[int, int]:
    """Releases in all trainings and in all evaluations together, where a unit is in some of them; else 0, 0."""
    folds = plan.evaluation.folds
    if folds is None or not stays_in_a_fold(plan):
        return 0, 0
    return plan.federation.rounds * releases_in_a_round(plan) * (folds + 1), folds


def planned_rate(plan: Plan) -> float:
    """The sample rate that counts: only the sampling inside a site, since the server knows who is in a round."""
    return 1.0 if plan.privacy.unit == "client" else plan.training.sample_rate


def counted_shares(plan: Plan, sites: int) -> int:
    """How many shares of distributed noise the guarantee counts on: of those that must stay, the honest ones."""
    return required_survivors(plan, sites) - plan.secure_aggregation.colluders


def excess_levels(plan: Plan, sites: int) -> tuple[int, ...]:
    """How many lost sites each level of excess noise is for; only the last where nothing is taken out.

    Evenly spaced, from none lost to as many as a round can lose, in no more steps than that or than the plan says.
    """
    most = sites - required_survivors(plan, sites)
    asked = plan.secure_aggregation.excess_levels
    steps = min(most, 3 if asked is None else asked)
    if steps == 0 or plan.privacy.noise != "distributed" or shares_along_ring(plan, sites):
        return (most,)
    if plan.secure_aggregation.groups is not None:
        return (most,)
    return tuple(math.ceil(most * step / steps) for step in range(steps + 1))


def share_left(plan: Plan, sites: int, lost: int) -> float:
    """What is left of the variance of a share in a sum that lost so many sites of `sites`.

    With it the shares that are still there, less those of the colluders, are what the guarantee counts on, if as
    many are lost as the level is for; in whole 2^-28 of a share, rounded up.
    """
    levels = excess_levels(plan, sites)
    level = next((each for each in levels if each >= lost), levels[-1])
    honest = sites - plan.secure_aggregation.colluders
    return math.ceil(Fraction(_PARTS * counted_shares(plan, sites), honest - level)) / _PARTS


def left_over_counted(plan: Plan, sites: int, lost: int = 0) -> float:
    """Standard deviation of what is left in a sum that lost so many, over that of the shares counted on."""
    left = (sites - lost) * share_left(plan, sites, lost)
    return math.sqrt(left / counted_shares(plan, sites))


def told_excess(plan: Plan, sites: int, told: Mapping[str, Any]) -> dict[str, Any]:
    """How much more noise than epsilon needs is left in a cohort of `sites`, as a report has to tell it.

    `told` is what the report says of privacy. One of an earlier version names no levels: nothing was taken out.
    """
    if not plan.is_private or plan.privacy.noise != "distributed":
        return {"noise_excess": 1.0} if plan.is_private else {}
    of = told.get("noise_excess_of")
    is_older = isinstance(of, Mapping) and "levels" not in of
    plan = _with(plan, excess_levels=0) if is_older else plan
    sites, asked = smallest_sum(plan, sites), plan.secure_aggregation
    choices = dict.fromkeys((d, c) for c in (asked.colluders, 0) for d in (asked.dropouts, 0))
    rows = [
        {
            "dropouts": dropouts,
            "colluders": colluders,
            "noise_excess": left_over_counted(_with(plan, dropouts=dropouts, colluders=colluders), sites),
        }
        for dropouts, colluders in choices
    ]
    levels = {} if is_older else {"levels": _most_left(plan, sites)}
    return {
        "noise_excess": left_over_counted(plan, sites),
        "noise_excess_of": {"sites": sites, "choices": rows, **levels},
    }


def _most_left(plan: Plan, sites: int) -> list[dict[str, Any]]:
    """For each level the most that is left: where one more is lost than the level before is for."""
    levels = excess_levels(plan, sites)
    if len(levels) == 1:
        return []
    fewest = [0, *(most + 1 for most in levels[:-1])]
    return [
        {"lost": most, "noise_excess": left_over_counted(plan, sites, least)}
        for least, most in zip(fewest, levels, strict=True)
    ]


def _with(plan: Plan, **changes: int) -> Plan:
    asked = plan.secure_aggregation.model_copy(update=changes)
    return plan.model_copy(update={"secure_aggregation": asked})


def bounds(charges: Iterable[Charge], unit: Unit, patient: Patient, delta: float) -> Bounds:
    """Bounds on the epsilon of one `unit` for all of these charges together; infinite if one has no bound."""
    known = _mechanisms(charges, unit, patient)
    return Bounds(math.inf, math.inf) if known is None else recount(known, delta)


def risk_bounds(charges: Iterable[Charge], unit: Unit, patient: Patient, delta: float) -> RiskBounds | None:
    """Bounds on what these charges together let anybody do; None if one has no bound."""
    known = _mechanisms(charges, unit, patient)
    return None if known is None else recount_risk(known, delta)


def charges(account: Account) -> tuple[Charge, ...]:
    """What each run of a ledger costs: its reservation; once it is closed, only the rounds that were begun."""
    return tuple(charge for run in account.runs.values() if (charge := _held(run)) is not None)


def _held(run: Run) -> Charge | None:
    event = run.charge.event
    if run.closed is None or "plan" in run.by.values():
        return run.charge
    if not isinstance(event, GaussianEvent):
        return run.charge if run.begun else None
    return of_begun(run.charge, event, len(run.begun), run.rounds)


def of_begun(charge: Charge, event: GaussianEvent, begun: int, rounds: int) -> Charge:
    """What `begun` of so many rounds cost: of the releases of all of them no unit is charged more than planned."""
    whole = (charge.whole if charge.whole else event.count) * begun // rounds
    spent = replace(event, count=min(whole, event.count))
    return replace(charge, event=spent, whole=whole if charge.whole else 0)


def _mechanisms(charges: Iterable[Charge], unit: Unit, patient: Patient) -> list[Mechanism] | None:
    """None where one of them has no bound."""
    mechanisms = [_mechanism(charge, unit, patient) for charge in charges]
    known = [mechanism for mechanism in mechanisms if mechanism is not None]
    return known if len(known) == len(mechanisms) else None


def _mechanism(charge: Charge, unit: Unit, patient: Patient) -> Mechanism | None:
    """None where nothing bounds what the unit loses."""
    event = charge.event
    if not isinstance(event, GaussianEvent) or (unit == "client" and charge.protects != "client"):
        return None
    group, count = event.group, event.count
    if charge.whole and (unit == "client" or unit != charge.protects):
        count = charge.whole  # in whichever fold it is: nothing says that it is in one
    if charge.whole and unit == "patient" and patient.sites > 1 and charge.summed and event.sample_rate != 1:
        count = charge.whole  # a person may go by another id at each site, and so be in several folds
    # A part of what is clipped as a whole does not take it away: it puts another whole in its place.
    replaced = charge.protects not in ("record", unit)
    if unit == "patient":
        # Each of the patient's records is sampled and clipped by itself, unless patients or sites are as a whole.
        group *= patient.records if charge.protects == "record" else 1
        # At several sites: in one sum with one noise on it, or in as many sums with a noise of their own.
        group *= patient.sites if charge.summed else 1
        count *= 1 if charge.summed else patient.sites
    return Mechanism(event.noise_multiplier, event.sample_rate, count, group, replaced)
