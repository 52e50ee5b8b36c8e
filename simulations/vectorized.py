"""The rounds of a run without messages and masks: every site's ring integers, added up.

The sum equals the one that the protocol's machines would open, integer for integer, since masks cancel exactly. The
excess noise is taken out of it as the server would: nobody is lost here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from torch import Tensor

from federation.plan.plan import Plan
from federation.report.receipt import Receipt
from federation.round.cohort import sample
from federation.round.parts import Sum, without_excess
from federation.round.terms import Terms
from federation.sums.state import ServerState, advance, require_finite
from privacy.mechanism.encoding import RingVector
from server.evaluation import Evaluated, evaluated
from server.playing import Members, terms_of
from server.run import ServerNoise, judged, receipt_of


class Contributed(NamedTuple):
    """A site's vector, and the secret of what may be taken out of its noise, if any may."""

    vector: RingVector
    excess: bytes = b""


Contribute = Callable[[Terms, str, Tensor], Contributed]


def run_vectorized(
    plan: Plan, state: ServerState, members: Members, contribute: Contribute, stream: ServerNoise
) -> Iterator[tuple[ServerState, Receipt]]:
    """Like `server.run.run`, where a site's vector is the result of a call. Its refusal is raised as it is."""
    while state.round < plan.federation.rounds:
        require_finite(state)
        started = time.monotonic()
        terms = terms_of(plan, state, sample(plan, members, state.round + 1))
        names, sums = terms.names, [_opened(group, state, contribute) for group in terms.groups]
        after, found = advance(plan, state, sums, stream(terms.round))
        nothing: dict[str, int] = {}  # no message is sent: there are no bytes to count, not even zero
        receipt = receipt_of(terms, names, state, after, started, (nothing, nothing), {})
        yield after, judged(receipt, terms, found)
        state = after


def evaluate_vectorized(
    plan: Plan, state: ServerState, members: Members, contribute: Contribute, stream: ServerNoise
) -> Evaluated:
    """Like `server.run.evaluate`."""
    state = state.concluded()
    terms = terms_of(plan, state, sample(plan, members, state.round + 1))
    return evaluated(_opened(terms, state, contribute), stream(terms.round))


def _opened(terms: Terms, state: ServerState, contribute: Contribute) -> Sum:
    total, excess = np.zeros(terms.length, np.uint64), {}
    for name in terms.parameters.members:
        given = contribute(terms, name, state.params)
        total += given.vector  # wraps at 2^64, a multiple of 2^ring_bits
        if given.excess:
            excess[name] = given.excess
    return without_excess(terms, total, terms.parameters.members, excess)
