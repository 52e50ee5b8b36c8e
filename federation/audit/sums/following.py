"""What follows from proven sums: the params of every round, bit for bit, and the figures of the evaluation."""

from __future__ import annotations

from collections.abc import Mapping

from federation.audit.findings import Findings
from federation.audit.receipts import Evaluation, Receipts
from federation.model.params import params_bytes, params_digest
from federation.plan.plan import Plan
from federation.sums.replay import figures, follow, started
from federation.sums.state import ServerState
from federation.sums.verify import Verified
from privacy.errors import PrivacyError

_DAMAGE = (PrivacyError, ArithmeticError, LookupError, ValueError, RuntimeError)


def followed(
    plan: Plan, receipts: Receipts, sums: Mapping[int, Verified], found: Findings
) -> ServerState | None:
    """Take every step again, from the params that round 1 began with; the state that is reached, None if none is.

    It ends at the first round whose sum is not proven, or whose receipt names other params than follow from it.
    """
    state = _start(sums.get(1), found)
    for number, line in receipts.rounds.items():
        one = sums.get(number)
        if state is None or one is None or state.round != number - 1:
            break
        try:
            after = follow(plan, state, one.terms, one.total, one.survivors, one.excess)
        except _DAMAGE:
            found.add("params-not-followed", f"round {number}: nothing follows from its sum")
            break
        if params_digest(params_bytes(after.params)).hex() != line.params_after:
            detail = (
                f"round {number}: the params that follow from its sum are not those that its receipt names"
            )
            found.add("params-not-followed", detail)
            break
        state = after
    return state


def _start(first: Verified | None, found: Findings) -> ServerState | None:
    if first is None:
        return None
    try:
        return started(first.terms, first.start)
    except _DAMAGE:
        found.add(
            "params-not-followed", "round 1: its transcript holds no params of this model to begin with"
        )
        return None


def check_figures(line: Evaluation, one: Verified, found: Findings) -> None:
    """The published figures are those that follow from the sum of the evaluation."""
    try:
        told = figures(one.terms, one.total, one.survivors, one.excess)
    except _DAMAGE:
        told = {}
    if told != dict(line.figures):
        detail = "the figures of the evaluation are not those that follow from its sum"
        found.add("evaluation-figures", detail)
