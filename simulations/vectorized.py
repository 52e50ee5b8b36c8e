"""The rounds of a run without messages and masks: every site's ring integers, added up.

Without noise the sum equals the one that the protocol's machines would open, integer for integer, since masks
cancel exactly; with noise it has the same distribution.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

from torch import Tensor

from federation.plan.plan import Plan
from federation.report.receipt import Receipt
from federation.round.cohort import sample
from federation.round.parts import Sum
from federation.round.terms import Terms
from federation.sums.state import ServerState, advance, require_finite
from server.evaluation import Evaluated, evaluated
from server.playing import FIRST, Members, terms_of
from server.run import ServerNoise, judged, receipt_of


class Sampled(Protocol):
    """Members of whom only those in a cohort are looked at."""

    def cohort(self, plan: Plan, number: int) -> Members:
        """The cohort of a round."""


Summed = Callable[[Terms, Tensor], Sum]  # the terms of a sum, params -> the sum over all of its members


class Cohorts:
    """The terms of each round. What follows from plan and cohort is worked out again for another cohort only."""

    def __init__(self, plan: Plan, members: Members | Sampled) -> None:
        self._plan, self._members = plan, members
        self._last: Terms | None = None
        rules = plan.cohort  # every site in every round: nothing is drawn
        self._is_whole = (
            isinstance(members, tuple) and rules.sample_rate is None and rules.size in ("all", None)
        )

    def terms(self, state: ServerState) -> Terms:
        """The terms of the round after `state`."""
        if self._last is not None and self._is_whole and self._last.run == state.run:
            self._last = self._last.again(state.round + 1, state.attempt + FIRST)
            return self._last
        cohort = cohort_of(self._plan, self._members, state.round + 1)
        if self._last is None or self._last.members != cohort or self._last.run != state.run:
            self._last = terms_of(self._plan, state, cohort)
        else:
            self._last = self._last.again(state.round + 1, state.attempt + FIRST)
        return self._last


def cohort_of(plan: Plan, members: Members | Sampled, number: int) -> Members:
    """The cohort of a round."""
    return sample(plan, members, number) if isinstance(members, tuple) else members.cohort(plan, number)


def run_vectorized(
    plan: Plan,
    state: ServerState,
    members: Members | Sampled,
    summed: Summed,
    stream: ServerNoise,
    cohorts: Cohorts | None = None,
) -> Iterator[tuple[ServerState, Receipt]]:
    """Like `server.run.run`, where a sum is the result of a call. What it raises is raised as it is.

    `cohorts`, of this plan and these members, may know the next round's terms already.
    """
    cohorts = Cohorts(plan, members) if cohorts is None else cohorts
    while state.round < plan.federation.rounds:
        require_finite(state)
        started = time.monotonic()
        terms = cohorts.terms(state)
        sums = [summed(group, state.sent) for group in terms.groups]
        after, found = advance(plan, state, sums, stream(terms.round))
        nothing: dict[str, int] = {}  # no message is sent: there are no bytes to count, not even zero
        receipt = receipt_of(terms, terms.names, state, after, started, (nothing, nothing), {})
        yield after, judged(receipt, terms, found)
        state = after


def evaluate_vectorized(
    plan: Plan, state: ServerState, members: Members | Sampled, summed: Summed, stream: ServerNoise
) -> Evaluated:
    """Like `server.run.evaluate`."""
    state = state.concluded()
    terms = terms_of(plan, state, cohort_of(plan, members, state.round + 1))
    return evaluated(summed(terms, state.params), stream(terms.round))
