"""Server optimizers as (init, step) pairs of pure functions.

The server treats the cohort's mean delta as a descent step: its pseudo-gradient is `-delta`. Everything here
is post-processing of what the secure sum released, so it costs no privacy whatever it does.

    average    x += lr * delta                                       FedAvg (McMahan et al. 2017) with lr = 1
    momentum   m = b1 m + delta;  x += lr * m                        FedAvgM (Hsu, Qi, Brown 2019)
    adaptive   m = b1 m + (1 - b1) delta;  v as below;  x += lr * m / (sqrt(v) + tau)
      adagrad  v = v + delta^2                      (b1 = 0)         Reddi et al. 2021, "Adaptive Federated
      adam     v = b2 v + (1 - b2) delta^2          (b1 = 0.9)       Optimization", Algorithm 2, with v = tau^2
      yogi     v = v - (1 - b2) delta^2 sign(v - delta^2)            before the first step

As in the paper there is no bias correction: a first step of adam or yogi is (1 - b1) / sqrt(1 - b2) times lr,
which is lr with the defaults. tau is far below any delta that means something, so that a step does not depend on
the size of the model: with more parameters each has a smaller delta, and a floor above it turns Adam into slow SGD.

    adam-bc    m, v as in adam, from 0;  n = b2 n + (1 - b2) noise;  x += lr * m^ / sqrt(max(v^ - n^, floor))

DP-AdamBC (Tang, Shpilevskiy, Lecuyer 2024) takes out of v what the noise put into it: `noise` is the variance of
the noise on each coordinate of the delta, which is public, and ^ is Adam's own correction, x / (1 - b^steps).
Otherwise private Adam divides by the size of its noise, and is a slow SGD. Where little is left, the floor sets the
step: tau^2 if the plan gives tau, or else n^ itself. Then such a coordinate takes the step that plain Adam takes.

Moments and arithmetic are float64; only the params that come out are rounded to the params' own type. A state
written to a file and read back therefore goes on to the same bits. So does an auditor's machine: a step adds,
multiplies, divides and takes roots, coordinate by coordinate, which IEEE 754 rounds in one way only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from federation.errors import CheckpointError, PlanError

_STEPS = "steps"


@dataclass(frozen=True, eq=False)
class OptState:
    """How many steps were taken, and the moments (name -> flat float64) that they left."""

    steps: int
    moments: Mapping[str, Tensor]

    def to_tensors(self) -> dict[str, Tensor]:
        """Everything as named tensors, ready for safetensors."""
        return {_STEPS: torch.tensor(self.steps, dtype=torch.int64), **self.moments}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> OptState:
        """The inverse of `to_tensors`. CheckpointError if the step count is missing."""
        if _STEPS not in tensors:
            raise CheckpointError("the optimizer's state has no step count", hint="start a new run folder")
        moments = {name: tensor for name, tensor in tensors.items() if name != _STEPS}
        return cls(int(tensors[_STEPS]), MappingProxyType(moments))


@dataclass(frozen=True)
class ServerOptimizer:
    """Two pure functions: they change none of their arguments, and equal arguments give equal results.

    `init(params) -> state`; `step(state, params, delta, noise) -> (state, params)`, params and delta flat and of
    one length, `noise` the variance of what privacy added to each coordinate of delta. The new params have the old
    ones' dtype.
    """

    init: Callable[[Tensor], OptState]
    step: Callable[[OptState, Tensor, Tensor, float], tuple[OptState, Tensor]]


@dataclass(frozen=True)
class Decay:
    """b1 and b2, the shares of the moments that a step keeps, and tau, the floor of a step's denominator.

    None: TAU, and in adam-bc the noise's own standard deviation where that is larger.
    """

    beta1: float = 0.9
    beta2: float = 0.99
    tau: float | None = None

    @property
    def floor(self) -> float:
        """The floor of every rule that does not know the noise."""
        return TAU if self.tau is None else self.tau


TAU = 1e-8
DEFAULT = Decay()

_Moments = Mapping[str, Tensor]


@dataclass(frozen=True)
class _Step:
    """What a rule sees: the number of this step, from 1, the float64 delta, and the variance of the noise on it."""

    number: int
    delta: Tensor
    noise: float


# From the moments and a step to the new moments and the direction to go.
_Rule = Callable[[_Moments, _Step, Decay], tuple[dict[str, Tensor], Tensor]]


def build(name: str, learning_rate: float, decay: Decay = DEFAULT) -> ServerOptimizer:
    """The optimizer a plan names under `[server]`. PlanError for a name that is not in `RULES`."""
    if name not in RULES:
        raise PlanError("no such server optimizer", hint=f"one of {', '.join(RULES)}", key="server.optimizer")
    names, rule = RULES[name]
    start = {"v": decay.floor * decay.floor} if name != "adam-bc" else {}

    def init(params: Tensor) -> OptState:
        zeros = torch.zeros_like(params, dtype=torch.float64)
        return OptState(0, MappingProxyType({moment: zeros + start.get(moment, 0.0) for moment in names}))

    def step(state: OptState, params: Tensor, delta: Tensor, noise: float = 0.0) -> tuple[OptState, Tensor]:
        taken = _Step(state.steps + 1, delta.to(torch.float64), noise)
        moments, direction = rule(state.moments, taken, decay)
        moved = params.to(torch.float64) + learning_rate * direction
        return OptState(state.steps + 1, MappingProxyType(moments)), moved.to(params.dtype)

    return ServerOptimizer(init, step)


def _average(_: _Moments, step: _Step, __: Decay) -> tuple[dict[str, Tensor], Tensor]:
    return {}, step.delta


def _momentum(moments: _Moments, step: _Step, decay: Decay) -> tuple[dict[str, Tensor], Tensor]:
    m = decay.beta1 * moments["m"] + step.delta
    return {"m": m}, m


def _adagrad(moments: _Moments, step: _Step, decay: Decay) -> tuple[dict[str, Tensor], Tensor]:
    v = moments["v"] + step.delta.square()
    return {"v": v}, step.delta / (v.sqrt() + decay.floor)


def _adam(moments: _Moments, step: _Step, decay: Decay) -> tuple[dict[str, Tensor], Tensor]:
    m, v = _means(moments, step.delta, decay)
    return {"m": m, "v": v}, m / (v.sqrt() + decay.floor)


def _adam_bc(moments: _Moments, step: _Step, decay: Decay) -> tuple[dict[str, Tensor], Tensor]:
    m, v = _means(moments, step.delta, decay)
    n = decay.beta2 * moments["n"] + (1 - decay.beta2) * step.noise
    early, late = 1 - power(decay.beta1, step.number), 1 - power(decay.beta2, step.number)
    square = decay.floor * decay.floor
    least = square if decay.tau is not None else torch.clamp(n / late, min=square)
    signal = torch.maximum((v - n) / late, torch.as_tensor(least))
    return {"m": m, "v": v, "n": n}, m / early / signal.sqrt()


def _yogi(moments: _Moments, step: _Step, decay: Decay) -> tuple[dict[str, Tensor], Tensor]:
    square = step.delta.square()
    v = moments["v"] - (1 - decay.beta2) * square * torch.sign(moments["v"] - square)
    m = decay.beta1 * moments["m"] + (1 - decay.beta1) * step.delta
    return {"m": m, "v": v}, m / (v.sqrt() + decay.floor)


def _means(moments: _Moments, delta: Tensor, decay: Decay) -> tuple[Tensor, Tensor]:
    """Moving averages of the delta and of its square."""
    m = decay.beta1 * moments["m"] + (1 - decay.beta1) * delta
    return m, decay.beta2 * moments["v"] + (1 - decay.beta2) * delta.square()


def power(base: float, exponent: int) -> float:
    """`base`**`exponent` by multiplications alone: the C library's pow is rounded otherwise on other machines."""
    result = 1.0
    for digit in bin(exponent)[2:]:
        result *= result
        if digit == "1":
            result *= base
    return result


# The moments a rule keeps (v starts from tau^2, in adam-bc and all others from 0), and the rule.
RULES: Mapping[str, tuple[tuple[str, ...], _Rule]] = {
    "average": ((), _average),
    "momentum": (("m",), _momentum),
    "adagrad": (("v",), _adagrad),
    "adam": (("m", "v"), _adam),
    "adam-bc": (("m", "v", "n"), _adam_bc),
    "yogi": (("m", "v"), _yogi),
}
