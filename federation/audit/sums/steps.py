"""What follows from proven sums: the params of every round, bit for bit, and the figures of the evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from federation.audit.findings import Findings
from federation.audit.receipts import Evaluation, Receipt, Receipts, Refused
from federation.errors import SumRefused
from federation.kinds.allowed import Unlikely
from federation.model.params import params_bytes, params_digest
from federation.plan.plan import Plan
from federation.sums.state import ServerState
from federation.sums.transcript.replay import figures, follow, oddity, started
from federation.sums.transcript.verify import Verified
from privacy.errors import PrivacyError

_DAMAGE = (PrivacyError, ArithmeticError, LookupError, ValueError, RuntimeError)
_LAST_DIGITS = 1e-9


def followed(
    plan: Plan, receipts: Receipts, sums: Mapping[int, Verified], found: Findings
) -> ServerState | None:
    """Take every step again, from the params that the run began with; the state that is reached, None if none is.

    A round without a sum moves nothing. It ends at the first round whose sum is not proven, or whose receipt names
    other params than follow from it.
    """
    state: ServerState | None = None
    for number, line in receipts.rounds.items():
        one = sums.get(number)
        if line.is_lost and one is None:
            state = state and replace(state, round=number)
            continue
        state = state or _start(one, found)
        if state is None or one is None or state.round != number - 1:
            break
        try:
            after, odd = follow(plan, state, one.terms, one.total, one.survivors, one.excess)
        except SumRefused:
            found.add("sum-accepted", f"the sum of round {number} was used, and the plan refuses such a sum")
            break
        except _DAMAGE:
            found.add("params-not-followed", f"round {number}: nothing follows from its sum")
            break
        if line.clipping_norm != state.clipping_norm:
            detail = f"round {number}: the norm that follows from the sums is not the one in its receipt"
            found.add("clipping-not-followed", detail)
        if params_digest(params_bytes(after.sent)).hex() != line.params_after:
            if _norm_alone(after, line):
                detail = (
                    f"round {number}: the params follow from its sum, and the next norm to clip to does not"
                )
                found.add("clipping-not-followed", detail)
                break
            detail = (
                f"round {number}: the params that follow from its sum are not those that its receipt names"
            )
            found.add("params-not-followed", detail)
            break
        if not _is_told(odd, line.unlikely):
            detail = f"round {number}: what is odd about its sum is not what its receipt says"
            found.add("receipt-contradiction", detail)
        if after.average is not None and params_digest(params_bytes(after.model)).hex() != line.average:
            detail = f"round {number}: the average that follows from its sum is not the one in its receipt"
            found.add("average-not-followed", detail)
        state = after
    return state


def _norm_alone(after: ServerState, line: Receipt) -> bool:
    """Whether the receipt names the right params, and what was sent differs by the norm behind them."""
    return after.clipping_norm is not None and params_digest(params_bytes(after.params)).hex() == line.model


def _start(first: Verified | None, found: Findings) -> ServerState | None:
    """The state before the first round that has a sum."""
    if first is None:
        return None
    try:
        return started(first.terms, first.start)
    except _DAMAGE:
        detail = f"round {first.terms.round}: its transcript lacks the params that the run began with"
        found.add("params-not-followed", detail)
        return None


def check_figures(line: Evaluation, one: Verified, found: Findings) -> None:
    """The published figures are those that follow from the sum of the evaluation."""
    try:
        told, odd = figures(one.terms, one.total, one.survivors, one.excess)
        follows = alike(told, line.figures) and _is_told(odd, line.unlikely)
    except (SumRefused, *_DAMAGE):
        follows = False
    if not follows:
        detail = "the figures of the evaluation are not those that follow from its sum"
        found.add("evaluation-figures", detail)


def alike(told: Any, line: Any) -> bool:
    """Whether both are one value. A logarithm may end in another digit on another machine."""
    if isinstance(told, Mapping) and isinstance(line, Mapping):
        return told.keys() == line.keys() and all(alike(told[name], line[name]) for name in told)
    if isinstance(told, list | tuple) and isinstance(line, list | tuple):
        return len(told) == len(line) and all(map(alike, told, line))
    if type(told) is float and type(line) in (int, float):
        return math.isclose(told, line, rel_tol=_LAST_DIGITS, abs_tol=_LAST_DIGITS)
    return type(told) is type(line) and bool(told == line)


def check_refused(line: Refused, one: Verified, found: Findings) -> None:
    """A sum that the server refused is one that the plan refuses."""
    try:
        oddity(one.terms, one.total, one.survivors, one.excess)
        is_right = False
    except SumRefused as error:
        is_right = line.unlikely["check"] == error.check and _is_near(line.unlikely["ratio"], error.ratio)
    except _DAMAGE:
        is_right = False
    if not is_right:
        detail = f"the sum of round {line.round} was refused, and it is none that the plan refuses"
        found.add("receipt-contradiction", detail)


def _is_told(odd: Unlikely | None, told: Mapping[str, Any] | None) -> bool:
    """Whether the server told what is odd about a sum."""
    if odd is None or told is None:
        return odd is None and told is None
    return told["check"] == odd.check and _is_near(told["ratio"], odd.ratio)


def _is_near(told: float, ratio: float) -> bool:
    """A norm is a long sum, which another machine may add up in another order."""
    return math.isclose(told, ratio, rel_tol=1e-6)
