"""Limits in force: the stricter of the ledger's and the site's policy, and what they admit.

A limit is looser than another if it has a larger epsilon, a larger delta, or assumes less data of one patient. One
of these is enough: epsilon 2 at delta 1e-6 is looser than epsilon 3 at delta 1e-7, since which of the two budgets
holds more depends on the plan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce

from privacy.accounting.events import Event
from privacy.accounting.filters import Budget, Filter, admit
from privacy.accounting.pld import epsilon
from privacy.accounting.units import UNITS, Charge, Limit, Patient, Unit
from privacy.errors import BudgetExceeded, PolicyViolation
from privacy.ledger.state import Account, By, Term


class LimitExceeded(BudgetExceeded):
    """The limit of this unit does not hold what was asked."""

    def __init__(self, unit: Unit, message: str, *, hint: str = "") -> None:
        super().__init__(f"per {unit}: {message}", hint=hint)
        self.unit = unit


def in_force(account: Account, policy: Sequence[Limit], asked: Charge) -> dict[Unit, Term]:
    """The limit of each unit that the ledger or the policy limits.

    A unit new to the ledger gets the policy's limit, and a filter that follows from the pool's first charge, or
    from `asked` if nothing was charged yet. PolicyViolation for a policy that is looser than the ledger.
    """
    terms: dict[Unit, Term] = {}
    for unit in UNITS:
        known, wanted = account.terms.get(unit), [limit for limit in policy if limit.unit == unit]
        if known is not None:
            if any(is_looser(limit, known.limit) for limit in wanted):
                raise PolicyViolation(
                    f"the site's policy allows more per {unit} than its ledger does",
                    hint="a budget is raised by two approvals: federation ledger propose",
                )
            terms[unit] = Term(reduce(stricter, wanted, known.limit), known.filter, known.entry)
        elif wanted:
            limit = reduce(stricter, wanted)
            first = next(iter(account.charged(unit, limit.patient)), asked.to(unit, limit.patient))
            terms[unit] = Term(limit, Filter.frozen(limit.budget, first), b"")
    return terms


def admission(account: Account, charge: Charge, terms: Mapping[Unit, Term]) -> dict[Unit, By]:
    """How each limit admits a plan on top of all that is charged. LimitExceeded for the first that does not."""
    by: dict[Unit, By] = {}
    for unit, term in terms.items():
        by[unit] = _admitted(unit, term, account.charged(unit, term.limit.patient), charge)
    return by


def require_room(account: Account, policy: Sequence[Limit], charges: Sequence[Charge]) -> None:
    """LimitExceeded unless all of these, one after the other, would be admitted. Nothing is charged by asking."""
    for unit, term in in_force(account, policy, charges[0]).items():
        spent = account.charged(unit, term.limit.patient)
        for charge in charges:
            _admitted(unit, term, spent, charge)
            spent = (*spent, charge.to(unit, term.limit.patient))


def recheck(account: Account, policy: Sequence[Limit], asked: Charge) -> None:
    """PolicyViolation unless all that is charged still fits the limits in force under this policy."""
    for unit, term in in_force(account, policy, asked).items():
        if not _fits(account, unit, term):
            raise PolicyViolation(
                f"what is charged already is more than the site's policy now allows per {unit}",
                hint="this site takes no further part in the run, unless its people restore the limit in site.toml",
            )


def stricter(one: Limit, other: Limit) -> Limit:
    """What satisfies both limits of one unit. ValueError for limits of different units."""
    if one.unit != other.unit:
        raise ValueError("limits of different units do not compare")
    budgets, patients = (one.budget, other.budget), (one.patient, other.patient)
    budget = Budget(min(each.epsilon for each in budgets), min(each.delta for each in budgets))
    patient = Patient(max(each.records for each in patients), max(each.sites for each in patients))
    return Limit(one.unit, budget, patient)


def is_looser(limit: Limit, than: Limit) -> bool:
    """Whether `limit` allows anything that `than` does not."""
    return stricter(limit, than) != limit


def _admitted(unit: Unit, term: Term, spent: Sequence[Event], charge: Charge) -> By:
    try:
        return admit(spent, charge.to(unit, term.limit.patient), term.limit.budget, term.filter).by
    except BudgetExceeded as error:
        raise LimitExceeded(unit, error.message, hint=error.hint) from None


def _fits(account: Account, unit: Unit, term: Term) -> bool:
    events, budget = account.charged(unit, term.limit.patient), term.limit.budget
    if math.isinf(budget.epsilon) or term.filter.load(events, budget) <= 1:
        return True
    # A plan that was admitted by itself still is, as long as it is all that is charged.
    runs = [run for run in account.runs.values() if run.charged is not None]
    alone = len(runs) == 1 and runs[0].by.get(unit) == "plan"
    return alone and epsilon(events, budget.delta) <= budget.epsilon
