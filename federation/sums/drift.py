"""How far the noise of privacy by itself would have carried a param: its standard deviation at the end of a run.

Public: it follows from the plan and from who took part. The noise of each round goes through the server's own
optimizer, and through its average of the iterates, with nothing else in the sums: no record pulls back.

What that is of the truth. Where the gradient pulls back, a param ends nearer to where it had ended without noise.
So this is an upper bound, and met where no record says anything (a value that nobody has). For one step of clipped
SGD on a model that is linear in its params, the mean clipped gradient is that of a convex loss (clipping a
gradient (p - y) x makes a Huber loss of it). With "average", "momentum" and any average of the iterates, a loss of
curvature h answers a push of round s at round t by r(t - s), and |r| is largest for h = 0 while the steps are
stable: r is a polynomial in its two roots, whose product is b1 and whose sum falls with h. So the bound holds in
every direction near the optimum. Adaptive rules divide by what they saw, noise and gradients: with gradients in it
they divide by more.

With linear rules the deviation is exact: it is made of the responses to one push a round. Others are played with
made-up noise on a few thousand params, from a stream with a public seed: no privacy rests on it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from federation.plan.plan import Plan
from federation.round.cohort import parties_of
from federation.sums.averaging import averaged
from federation.sums.state import optimizer
from privacy.mechanism.noise import Stream

_LABEL = "federation/drift/1"
_LINEAR = ("average", "momentum")
_PARAMS = 4096  # played: their deviation is within a few percent


@dataclass(frozen=True)
class Taken:
    """A round with a sum: the declared sizes of its cohort, its survivors, and whose excess noise stayed in."""

    sizes: Mapping[str, int]
    survivors: Sequence[str]
    excess_left: Sequence[str] = ()


def deviation(plan: Plan, rounds: Iterable[Taken], dimension: int) -> float | None:
    """The standard deviation of the noise in each param of the model that a run of these rounds ended with.

    0 without privacy, None where the plan's noise is unknown: behind a site's own Adam, or in a median of groups.
    """
    if not plan.is_private:
        return 0.0
    if not plan.kind.knows_its_noise or plan.secure_aggregation.groups is not None:
        return None
    return drift(plan, [_variance(plan, one, dimension) for one in rounds])


def drift(plan: Plan, variances: Sequence[float]) -> float:
    """The same from the variance of the noise on the mean of each round."""
    if not variances:
        return 0.0
    roots = np.sqrt(np.asarray(variances, np.float64))
    if plan.server.optimizer in _LINEAR:
        ended = _played(plan, torch.from_numpy(np.diag(roots)), variances)
        return float(ended.square().sum().sqrt())
    ended = _played(plan, torch.from_numpy(roots[:, None] * _normal(len(roots), _PARAMS)), variances)
    return float(ended.square().mean().sqrt())


def _variance(plan: Plan, taken: Taken, dimension: int) -> float:
    parties = parties_of(plan, taken.sizes, dimension)
    reduced = len(set(taken.survivors) - set(taken.excess_left)) if parties.lost else 0
    return plan.kind.noise_variance(parties, tuple(taken.survivors), reduced)


def _played(plan: Plan, deltas: Tensor, variances: Sequence[float]) -> Tensor:
    """Where params from 0 end with these deltas (rounds, params) alone."""
    rule, params = optimizer(plan), torch.zeros(deltas.shape[1], dtype=torch.float64)
    state, average = rule.init(params), params
    for delta, variance in zip(deltas, variances, strict=True):
        state, params = rule.step(state, params, delta, variance)
        if plan.server.iterate_average is not None:
            average = averaged(average, params, plan.server.iterate_average, state.steps)
    return params if plan.server.iterate_average is None else average


def _normal(rounds: int, many: int) -> NDArray[np.float64]:
    """Made-up standard normal numbers, the same everywhere. They hide nothing, and may hide nothing."""
    words = Stream(hashlib.sha256(_LABEL.encode()).digest()).words(2 * rounds * many)
    first, second = ((words >> np.uint64(11)).astype(np.float64) + 0.5).reshape(2, rounds, many) / 2.0**53
    found: NDArray[np.float64] = np.sqrt(-2 * np.log(first)) * np.cos(2 * math.pi * second)
    return found
