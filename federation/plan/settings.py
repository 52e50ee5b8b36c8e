"""Settings that fit before anybody has tried: clip, sample rate and learning rate by a rule, from public figures.

    g   the length of a typical record's first gradient, sqrt(1 - 1/K) * L: the error of K classes before anything
        is learned, times the length L of the input with its 1 for the bias. L follows from the plan: one-hot adds
        1 to its square, a range 1/2, a range with knots 2/3.
    r   the length of the noise on a sum over that of its largest mean: z * sqrt(params) / (q * records), for noise
        multiplier z and sample rate q.

The clip is g times .15 / r, and at least half and at most one and a half of it. Where there are many records the
noise is small beside what clipping would take, and a clip below g makes probabilities wrong, not ranks. Where there
are few, half of g loses nothing that noise would not take. A round draws about 2,000 records of all sites, at most
four in ten and at least one, below which the noise of an epsilon grows. A hundred rounds of Adam with steps of
min(.2, 3.2 / L^2) / sqrt(rounds): noise moves each parameter by about .2, whatever the rounds, and by less where an
input is long, as what it does to a score adds up over the L^2 that a record's inputs have together. Where
the noise r of a model with curves is so large that its clip is at its least, straight lines are as good, and fewer.
docs/utility.md has what that reaches on public data beside the best of a grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from federation.plan.columns.features import Feature, Numeric, Wide
from federation.plan.outcomes import error_at_first
from federation.plan.plan import Plan
from federation.plan.series.tasks import NETWORKS, Series, SeriesRegression
from federation.plan.tabular import MODELS, TabularTask
from privacy.accounting.calibration import noise_multiplier

ROUNDS = 100
_LEAST, _MOST, _NOISY = 0.5, 1.5, 0.15  # of the clip, in first gradients, and the noise from which it falls
_DRAWN, _LEAST_RATE, _MOST_RATE = 2000, 0.1, 0.4
_WALK = 0.2  # how far noise moves a parameter in a run of Adam
_WIDE = 3.2  # the same times the square of a record's length, at most
_GUESSED = 0.5  # the error at first of what is no class: about half of its public range or less
_RANGE = 0.5  # the square of a number in -1 .. 1, usually
_BENT = 2 / 3  # the sum of the squares of the hats on both sides of it, on average
_FAR = 3  # times the clip, or below it, from which a plan is told so
_FIRST = 0.003  # of Adam's rate: a transformer's output then moves by a tenth of its range at first
_OFF = 20  # the same of a learning rate
_DESCENT = 2.0  # a step of plain descent along a mean gradient, over the square of the input's length
_STALLS = 0.1  # of the largest mean gradient's coordinates, from which on tau decides the step
_ADAM = ("adam", "adam-bc", "yogi")


@dataclass(frozen=True)
class Settings:
    """What a plan would say, and what it follows from: records, the length of a first gradient, and the noise r."""

    records: int
    rounds: int
    sample_rate: float
    clipping_norm: float
    learning_rate: float
    gradient: float
    noise: float

    @property
    def has_room(self) -> bool:
        """Whether so little noise is left that a curve for each number says more than a straight line."""
        return self.noise < _NOISY / _LEAST


def typical_length(task: TabularTask) -> float:
    """About the length of a record as the model's input, with the 1 for the bias: from the plan alone."""
    squares = {feature.name: _square(feature) for feature in task.features}
    crossed = math.fsum(squares[first] * squares[second] for first, second in task.cross or ())
    row = 1 if task.rows == "unit" else math.fsum(squares.values()) + crossed
    return math.sqrt(1 + task.steps * row)


def first_gradient(length: float, error: float) -> float:
    """How long the gradient of a linear model is at a record, before anything is learned: its `error` is known."""
    return error * length


def settings_for(
    task: TabularTask, params: int, records: int, epsilon: float, delta: float, rounds: int = ROUNDS
) -> Settings:
    """What suits so many records of all sites together."""
    length = typical_length(task)
    gradient = first_gradient(length, error_at_first(task.outcome) or _GUESSED)
    rate = float(f"{min(max(_DRAWN / records, _LEAST_RATE), _MOST_RATE):.2g}")
    noise = noise_multiplier(epsilon, delta, rate, rounds) * math.sqrt(params) / (rate * records)
    clip = gradient * min(max(_NOISY / noise, _LEAST), _MOST)
    step = float(f"{_step(rounds, length):.2g}")
    return Settings(records, rounds, rate, float(f"{clip:.2g}"), step, gradient, noise)


def hints(plan: Plan, params: int) -> Iterator[str]:
    """Where a plan is far from the rule, by the plan alone: a norm, a learning rate, a floor of the optimizer."""
    if plan.privacy.unit == "client":
        return
    if not is_network_of_series(plan.task):
        yield from _of_clip(plan)
        yield from _of_rate(plan)
    else:
        yield from _of_first_step(plan)
    yield from _of_tau(plan, params)


def is_network_of_series(task: object) -> bool:
    """Whether the rule says nothing: how long a gradient through time is does not follow from the plan's ranges."""
    return isinstance(task, Series) and task.model in NETWORKS


def _square(feature: Feature) -> float:
    """What a feature adds to the square of a record's length."""
    if isinstance(feature, Wide):
        return feature.square
    if not isinstance(feature, Numeric):
        return 1.0
    return _RANGE if feature.knots is None else _BENT


def _step(rounds: int, length: float) -> float:
    return min(_WALK, _WIDE / length**2) / math.sqrt(rounds)


def _of_clip(plan: Plan) -> Iterator[str]:
    task, norm = plan.task, plan.privacy.clipping_norm
    if norm is None or not isinstance(task, TabularTask) or task.model not in MODELS:
        return
    error = error_at_first(task.outcome)
    if error is None:
        return
    gradient = first_gradient(typical_length(task), error)
    span = f"{_LEAST * gradient:.2g} (few records) to {_MOST * gradient:.2g} (many)"
    inputs = f"with {task.inputs} inputs a record's first gradients are about {gradient:.1f} long"
    if gradient > _FAR * norm:
        yield (
            f"{inputs}, and privacy.clipping_norm is {norm:g}: most of each is cut off, and probabilities come "
            f"out wrong. {span} suits them"
        )
    elif norm > _FAR * gradient:
        yield (
            f"{inputs}, and privacy.clipping_norm is {norm:g}: noise grows with the norm, and nothing is clipped "
            f"by it. {span} suits them"
        )


def _of_rate(plan: Plan) -> Iterator[str]:
    """Adam's steps do not depend on what a site multiplies by; those of plain descent do."""
    server, rounds = plan.server, plan.federation.rounds
    if server.optimizer in _ADAM:
        length = typical_length(plan.task) if isinstance(plan.task, TabularTask) else 1.0
        rate, usual, told = server.learning_rate, _step(rounds, length), "server.learning_rate"
    elif server.optimizer in ("average", "momentum") and isinstance(plan.task, TabularTask):
        if plan.training.optimizer != "sgd":
            return
        slow = server.beta1 if server.optimizer == "momentum" else 0.0
        rate = server.learning_rate * plan.training.learning_rate * plan.training.local_steps / (1 - slow)
        length, norm, error = (
            typical_length(plan.task),
            plan.privacy.clipping_norm,
            error_at_first(plan.task.outcome),
        )
        if error is None:
            return
        cut = 1.0 if norm is None else max(1.0, first_gradient(length, error) / norm)
        usual = _DESCENT * cut / length**2
        told = "server.learning_rate times training.learning_rate"
    else:
        return
    if not usual / _OFF <= rate <= usual * _OFF:
        much = f"{rate / usual:.0f} times" if rate > usual else f"a {usual / rate:.0f}th of"
        effect = "params are thrown to and fro" if rate > usual else "the run ends before it has learned"
        yield f"{told} is {rate:g}, {much} what suits {rounds} rounds ({usual:.2g}): {effect}"


def _of_first_step(plan: Plan) -> Iterator[str]:
    """Without noise all gradients agree at first, so each param goes Adam's whole rate one way, by which a
    transformer's output moves far; and the slope of a squared error grows with that.
    """
    rate, task = plan.server.learning_rate, plan.task
    is_bare = isinstance(task, SeriesRegression) and task.model == "transformer" and not plan.is_private
    if is_bare and plan.server.optimizer in _ADAM and rate > _FIRST:
        yield (
            f"server.learning_rate is {rate:g}: without noise a transformer's params all go one way at first, so "
            f"far that the next update may be too long to be sent. {_FIRST:g} or less suits it"
        )


def _of_tau(plan: Plan, params: int) -> Iterator[str]:
    """Where the floor is above what a mean gradient has left for each of so many params, it decides the step."""
    tau, norm = plan.server.tau, plan.privacy.clipping_norm
    if tau is None or norm is None or plan.server.optimizer in ("average", "momentum"):
        return
    if plan.training.local_steps > 1 or plan.training.optimizer != "sgd":
        return
    most = plan.training.learning_rate * norm / math.sqrt(params)
    if tau > _STALLS * most:
        yield (
            f"server.tau is {tau:g}, and with {params} parameters no mean gradient has more than {most:.2g} for "
            "each: steps stall. Remove the line: 1e-8 is what it is without"
        )
