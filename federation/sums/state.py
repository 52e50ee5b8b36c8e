"""The state of a run between two rounds: frozen, and enough to resume from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from federation.errors import TrainingDiverged
from federation.kinds.allowed import Unlikely
from federation.plan.plan import Plan
from federation.round.terms import Terms
from federation.sums.judging import judge
from federation.sums.optimizers import Decay, OptState, ServerOptimizer, build
from privacy.mechanism.encoding import RingVector
from privacy.mechanism.noise import Stream


@dataclass(frozen=True)
class ServerState:
    """`round` rounds are done and `params` (flat float32) is what they made.

    Attempts at a round are numbered from `attempt` + 1. A resumed run raises it, so that no number is used twice.
    """

    run: bytes
    round: int
    params: Tensor
    optimizer: OptState
    attempt: int = 0


def begin(plan: Plan, run: bytes, params: Tensor) -> ServerState:
    """The state before the first round."""
    return ServerState(run, 0, params, optimizer(plan).init(params))


def advance(
    plan: Plan,
    state: ServerState,
    terms: Terms,
    total: RingVector,
    survivors: Sequence[str],
    stream: Stream,
    reduced: int = 0,
) -> tuple[ServerState, Unlikely | None]:
    """The state after a round, and what is odd about its sum: the mean delta, one step of the server optimizer.

    `total` is the unmasked ring sum over `survivors`, without the excess noise of `reduced` of them. With central
    noise the noise is added first, from `stream`, so all that follows is post-processing of what the secure sum
    released. SumRefused: the sum is not applied.
    """
    released = terms.kind.released(terms.parties, total, stream)
    found = judge(terms, released, survivors)
    delta = terms.kind.mean(terms.parties, released, survivors)
    noise = terms.kind.noise_variance(terms.parties, survivors, reduced)
    moments, params = optimizer(plan).step(state.optimizer, state.params, delta, noise)
    return replace(state, round=terms.round, params=params, optimizer=moments), found


def require_finite(state: ServerState) -> None:
    """TrainingDiverged if no round can start from these params: it would cost what a good one costs."""
    if not bool(state.params.isfinite().all()):
        message = f"the params are not finite after round {state.round}"
        hint = "lower server.learning_rate; what was charged stays charged, and no more is"
        raise TrainingDiverged(message, hint=hint)


def optimizer(plan: Plan) -> ServerOptimizer:
    """The plan's server optimizer."""
    rules = plan.server
    return build(rules.optimizer, rules.learning_rate, Decay(rules.beta1, rules.beta2, rules.tau))
