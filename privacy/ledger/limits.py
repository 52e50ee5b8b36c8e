"""Runs and limits of a ledger: what each run is charged, and which plan a limit admits on top of that.

What is charged. A reservation charges its whole plan before its first round. When the run is closed, the rounds it
never began are returned: nothing of them was ever computed. Rounds begun stay charged, whether anything left or
not. Nothing is returned where a limit admitted the plan as a whole only ("plan"): that admission counts on the
plan being all there is, and choosing after the fact to have stopped early would be a choice made on the results.
Nor is anything returned of a run that a restore ended: rounds may have begun of which the entries are lost.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from privacy.accounting.events import Event, GaussianEvent
from privacy.accounting.filters import Filter, Foreseen, admit, room_for
from privacy.accounting.pld import epsilon
from privacy.accounting.risks.charged import promised_risk, risk_by_epsilon
from privacy.accounting.risks.figures import Risk
from privacy.accounting.units import Charge, Limit, Patient, Unit
from privacy.canonical import JSON
from privacy.errors import BudgetExceeded, LedgerRefusal
from privacy.ledger.approvals import Approval, limit_to_json

By = Literal["filter", "plan"]


class LimitExceeded(BudgetExceeded):
    """The limit of this unit does not hold what was asked."""

    def __init__(self, unit: Unit, message: str, *, hint: str = "") -> None:
        super().__init__(f"per {unit}: {message}", hint=hint)
        self.unit = unit


@dataclass(frozen=True)
class Lost:
    """What entries that a restore could not bring back may have been charged, at most: all that was left.

    `weight`: by the unit's filter, with one person counted as `patient`; infinite if nothing bounds it.
    """

    weight: float
    patient: Patient


@dataclass(frozen=True)
class Term:
    """A limit in force, the filter frozen for it, and the hash of the entry that set it (b"" if none did yet)."""

    limit: Limit
    filter: Filter
    entry: bytes
    lost: Lost | None = None

    def load(self, events: Sequence[Event]) -> float:
        """The share of the budget that these events and whatever was lost use; above 1 is too much."""
        return self.filter.load(events, self.limit.budget, self._missing)

    def epsilon(self, events: Sequence[Event]) -> float:
        """What these events and whatever was lost may have cost, at the limit's delta."""
        budget = self.limit.budget
        return epsilon(events, budget.delta) if self.lost is None else budget.epsilon

    def risk(self, events: Sequence[Event]) -> Risk | None:
        """What these events and whatever was lost let anybody do; None where nothing is promised.

        As epsilon is, it is that of plans fixed beforehand; of what was lost only its bound is known.
        """
        budget = self.limit.budget
        if self.lost is None:
            return promised_risk(events, budget.delta)
        return risk_by_epsilon(budget.epsilon, budget.delta)

    def room_for(self, training: Foreseen, events: Sequence[Event]) -> float:
        """Epsilon of the largest such training that this limit would admit on top of these events; 0 for none."""
        return room_for(training, events, self.limit.budget, self.filter, self._missing)

    @property
    def _missing(self) -> float:
        if self.lost is None:
            return 0.0
        # A person who counts for more now counted for less in what was lost, by an amount that nobody knows.
        return self.lost.weight if self.lost.patient == self.limit.patient else math.inf

    def without_its_end(self, spent: Sequence[Event], is_settled: bool) -> Term:
        """The term after a restore, on top of `spent`: all that was left may have been charged by what was lost.

        `is_settled`: something is charged that no lost entry can have returned, so the filter admitted the rest,
        and bounds it. If the pool was empty, or beyond its filter, the lost plan may have been admitted by itself,
        and no weight bounds it: nothing else is ever admitted under a finite limit.
        """
        budget, used = self.limit.budget, self.load(spent)
        weight = math.inf
        if (is_settled or self.lost is not None) and math.isfinite(budget.epsilon) and used <= 1:
            weight = self._missing + self.filter.capacity(budget) * (1 - used)
        return replace(self, lost=Lost(weight, self.limit.patient))

    def to_json(self) -> dict[str, JSON]:
        """The body of the entry that sets the first limit of a unit."""
        return self.replaced_by(self.limit, "", ())

    def admits(self, spent: Sequence[Event], charge: Charge) -> By:
        """How this limit admits a plan on top of `spent`. LimitExceeded if it does not."""
        limit = self.limit
        if self.lost is not None:
            return self._admits_after_loss(spent, charge)
        try:
            return admit(spent, charge.to(limit.unit, limit.patient), limit.budget, self.filter).by
        except BudgetExceeded as error:
            raise LimitExceeded(limit.unit, error.message, hint=error.hint) from None

    def _admits_after_loss(self, spent: Sequence[Event], charge: Charge) -> By:
        if self.load([*spent, charge.to(self.limit.unit, self.limit.patient)]) <= 1:
            return "filter"
        raise LimitExceeded(
            self.limit.unit,
            "the end of this ledger was lost, so what was left of the budget counts as spent",
            hint="two approvers may raise the budget: federation ledger propose",
        )

    def replaced_by(self, limit: Limit, reason: str, approvals: Sequence[Approval]) -> dict[str, JSON]:
        """The body of an entry that puts `limit` in the place of this one. The filter stays."""
        return {
            **limit_to_json(limit),
            "filter": self.filter.to_json(),
            "reason": reason,
            "approvals": [approval.to_json() for approval in approvals],
        }


MAX_REFUSALS = 100  # entries of a ledger
MAX_IDLE = 100
"""Runs in a row, of plans that are approved by their task alone, of which no round was begun."""
ABANDONED = "0" * 64
"""Stands for the last params of a run that was closed by its site's people."""
LEFT = "left"
"""The same for a run that they have left: nobody takes part in it again."""


@dataclass
class Run:
    """What the ledger says of one run. Values are digests, by round; of `masked`, the highest attempt.

    `unblinded` are the rounds with a hash of the payload alone, as an earlier version wrote it: a reader can try
    payloads on it. `suites` are the suites of secure aggregation that this site masked for. `over`: rounds
    that were begun before the ledger was restored; nothing more takes place in them. `is_whole`: the restore ended
    the run, and all of it stays charged.
    """

    plan: str
    charge: Charge
    rounds: int
    by: Mapping[Unit, By]
    begun: dict[int, str] = field(default_factory=dict)
    released: dict[int, str] = field(default_factory=dict)
    unblinded: set[int] = field(default_factory=set)
    masked: dict[int, int] = field(default_factory=dict)
    over: set[int] = field(default_factory=set)
    suites: set[int] = field(default_factory=set)
    revealed: dict[int, str] = field(default_factory=dict)
    closed: str | None = None
    is_whole: bool = False

    @property
    def is_left(self) -> bool:
        """Whether the site has left it on purpose, for good."""
        return self.closed == LEFT

    @property
    def is_used(self) -> bool:
        """Whether this counts as a run of its plan: not if the site's people closed it before its first round."""
        return bool(self.begun) or self.closed not in (ABANDONED, LEFT)

    @property
    def charged(self) -> Charge | None:
        """What is charged now; None if nothing of a closed run was ever begun."""
        if self.closed is None or self.is_whole or "plan" in self.by.values():
            return self.charge
        return self.of_its_rounds

    @property
    def of_its_rounds(self) -> Charge | None:
        """What the rounds that were begun cost, whatever more is charged; None if none was."""
        if not self.begun:
            return None
        return self.charge.of(len(self.begun), self.rounds)


def is_even(charge: Charge, rounds: int) -> bool:
    """Whether every round is charged the same, and something: so that those never begun can be returned."""
    count = (charge.whole or charge.event.count) if isinstance(charge.event, GaussianEvent) else rounds
    return 1 <= rounds <= count and count % rounds == 0


def require_worthwhile(runs: Mapping[str, Run], refused: Collection[tuple[str, Unit]], plan: str) -> None:
    """LedgerRefusal where nobody has read the plan, and asking this site has led to nothing many times.

    A run that is reserved and closed without a round is entries for nothing, and a plan that no limit holds is work
    for nothing. What was done and refused is counted, not timed, so it is the same on every machine.
    """
    hint = f'if it is wanted, approve the plan by its digest: policy.plans = ["{plan}"]'
    made = [known for name, known in runs.items() if name.rpartition("/")[0] not in runs]
    idle = next((place for place, known in enumerate(reversed(made)) if known.begun), len(made))
    if idle >= MAX_IDLE:
        raise LedgerRefusal(f"of the last {idle} runs no round was ever begun", hint=hint)
    plans = {known for known, _ in refused}
    if len(refused) >= MAX_REFUSALS and plan not in plans:
        raise LedgerRefusal(f"{len(plans)} plans were refused that nobody here had read", hint=hint)
