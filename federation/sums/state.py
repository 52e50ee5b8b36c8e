"""The state of a run between two rounds: frozen, and enough to resume from.

Sites train on `params`. What the run ends with, should this be its last round, is `concluded`: whoever evaluates,
closes, stores or shows a model takes it from there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor

from federation.errors import TrainingDiverged
from federation.kinds.allowed import Unlikely
from federation.plan.plan import Plan
from federation.round.parts import Sum
from federation.round.sent import first_norm, joined, next_norm
from federation.sums.averaging import averaged
from federation.sums.combining import combined
from federation.sums.judging import judge
from federation.sums.optimizers import Decay, OptState, ServerOptimizer, build
from privacy.mechanism.noise import Stream

_BLOCK = 2**20  # numbers at a time


@dataclass(frozen=True)
class ServerState:
    """`round` rounds are done and `params` (flat float32) is what they made.

    `average` (flat float64) is the average of all params so far, where the plan has the run end with it.
    `clipping_norm` is that of the next round, where the plan has it move.
    Attempts at a round are numbered from `attempt` + 1. A resumed run raises it, so that no number is used twice.
    """

    run: bytes
    round: int
    params: Tensor
    optimizer: OptState
    attempt: int = 0
    average: Tensor | None = None
    clipping_norm: float | None = None

    @property
    def sent(self) -> Tensor:
        """What the sites of the next round are sent: the params, with the norm behind them where it moves."""
        return joined(self.params, self.clipping_norm)

    @property
    def model(self) -> Tensor:
        """The params (flat float32) that the run ends with, should this be its last round."""
        return self.params if self.average is None else self.average.to(self.params.dtype)

    def concluded(self) -> ServerState:
        """The state of a run that is over: its params are the model, for an evaluation to be played with them."""
        return replace(self, params=self.model, average=None, clipping_norm=None)


def begin(plan: Plan, run: bytes, params: Tensor) -> ServerState:
    """The state before the first round."""
    average = None if plan.server.iterate_average is None else params.to(torch.float64)
    norm = first_norm(plan.privacy)
    return ServerState(run, 0, params, optimizer(plan).init(params), average=average, clipping_norm=norm)


def advance(
    plan: Plan, state: ServerState, sums: Sequence[Sum], stream: Stream
) -> tuple[ServerState, Unlikely | None]:
    """The state after a round, and what is odd about its sums: means, one delta, one step of the optimizer.

    With central noise the noise is added to each sum first, from `stream`, so all that follows is post-processing
    of what the secure sums released. SumRefused: nothing is applied.
    """
    sums, variances, odd = [_noised(one, stream) for one in sums], [], []
    for one in sums:
        odd.append(judge(one.terms, _parts(one), one.survivors))
        variances.append(one.terms.kind.noise_variance(one.terms.parties, one.survivors, len(one.reduced)))
    noise, norm = math.fsum(variances) / len(sums) ** 2, state.clipping_norm
    if norm is None:
        moments, params = _stepped(plan, state, sums, noise)
    else:  # the mean is in units of the norm, and its last number is the share within it
        delta = combined([torch.cat([*_means(one)]) for one in sums], plan.server.combine)
        share, delta, noise = float(delta[-1]), norm * delta[:-1], noise * (norm * norm)
        norm = next_norm(plan.privacy, norm, share)
        moments, params = optimizer(plan).step(state.optimizer, state.params, delta, noise)
    worst = max((one for one in odd if one is not None), key=lambda one: one.ratio, default=None)
    average = _averaged(plan, state.average, params, moments.steps)
    after = replace(state, round=sums[0].terms.round, params=params, optimizer=moments, average=average)
    return replace(after, clipping_norm=norm), worst


def _noised(one: Sum, stream: Stream) -> Sum:
    return replace(one, total=one.terms.kind.with_noise(one.terms.parties, one.total, stream))


def _parts(one: Sum) -> Iterator[Tensor]:
    """What a sum released, in blocks: of a large model there is no second vector in float64."""
    for start in range(0, len(one.total), _BLOCK):
        yield one.terms.kind.decoded(one.terms.parties, one.total[start : start + _BLOCK])


def _means(one: Sum) -> Iterator[Tensor]:
    return (one.terms.kind.mean(one.terms.parties, part, one.survivors) for part in _parts(one))


def _stepped(plan: Plan, state: ServerState, sums: Sequence[Sum], noise: float) -> tuple[OptState, Tensor]:
    """One step of the optimizer, block by block: each coordinate is stepped by itself."""
    before, rule = state.optimizer, optimizer(plan)
    params = torch.empty_like(state.params)
    moments = {name: torch.empty_like(moment) for name, moment in before.moments.items()}
    for place, means in enumerate(zip(*map(_means, sums), strict=True)):
        block = slice(place * _BLOCK, (place + 1) * _BLOCK)
        part = OptState(before.steps, {name: moment[block] for name, moment in before.moments.items()})
        after, params[block] = rule.step(
            part, state.params[block], combined(means, plan.server.combine), noise
        )
        for name, moment in after.moments.items():
            moments[name][block] = moment
    return OptState(before.steps + 1, MappingProxyType(moments)), params


def _averaged(plan: Plan, average: Tensor | None, params: Tensor, steps: int) -> Tensor | None:
    decay = plan.server.iterate_average
    return None if average is None or decay is None else averaged(average, params, decay, steps)


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
