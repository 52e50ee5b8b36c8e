"""The auditor's accountant: bounds epsilon from both sides, and shares no code with the accountant that spends.

It answers with two numbers between which the true epsilon of a list of Gaussian mechanisms lies, so a claim below
the lower one is false beyond doubt, and one above the upper one is safe beyond doubt.

* Without sampling, T releases with sensitivities g_t and noise multipliers z_t are one Gaussian mechanism with
  mu^2 = sum g_t^2 / z_t^2, whose delta is known in closed form (Balle and Wang 2018).
* With sampling, the losses of the releases are independent and add up. `privacy.accounting.loss_distributions`
  encloses the law of each between two laws on a grid, and the law of a sum is a product of Fourier transforms
  (Koskela, Jalko, Honkela 2020; Gopi, Lee, Wutschitz 2021). delta(epsilon) = E max(0, 1 - exp(epsilon - loss)),
  for a unit removed and a unit added, whichever is larger.
* A unit that takes another's place does not more than two releases of half the noise's variance each, from one of
  which it is removed and to the other of which it is added. The losses of both add up, in either direction.

Delta is an event far out in a tail, where a transform in float64 has no correct digit left. So each law is tilted
first, by exp(tilt * loss), with the tilt that makes the losses near epsilon the usual ones (Cramer 1938; Esscher
1932), and what comes out is tilted back. That also keeps the window short. A sum outside the window comes out at a
wrong place inside it; Chernoff's bound says how much there can be, and that, like the rounding error of the
transform, is added above and subtracted below.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy.special import erfcx, ndtr

from privacy.accounting.loss_distributions import Floats, Law, Neighbor, Release, Sketch, log_sum
from privacy.errors import UnsafeParameters

NEIGHBORS: tuple[Neighbor, ...] = ("removed", "added")
_MAX_POINTS = 2**20
_MAX_LOSSES = 2**18
ACCURACY = 4e-4  # how far apart the bounds may about be, relative to epsilon below 1
_OUTSIDE = 1e-9  # tilted mass that the window may miss
_SHARES = (0.99, 0.9, 0.7, 0.5, 0.2, 0.0)
_UNIT = 4 * 2.0**-52  # rounding error of a transform, relative to its norm, for each release and a few more


class Bounds(NamedTuple):
    """Epsilon lies between `lower` and `upper`."""

    lower: float
    upper: float


@dataclass(frozen=True)
class Mechanism:
    """`count` releases with noise z times the sensitivity to one contribution; a unit has at most `group` of them,
    each in a release with probability `sample_rate`, by itself. `replaced`: neighbors differ in what these are.
    """

    noise_multiplier: float
    sample_rate: float
    count: int
    group: int = 1
    replaced: bool = False

    def __post_init__(self) -> None:
        z, rate = self.noise_multiplier, self.sample_rate
        sound = math.isfinite(z) and z > 0 and 0 < rate <= 1
        if not sound or self.count < 0 or self.group < 1:
            raise UnsafeParameters("a mechanism that no accountant can count")


def recount(mechanisms: Sequence[Mechanism], delta: float) -> Bounds:
    """Bounds on epsilon at `delta` of everything together; neighbors differ by one unit, as each mechanism says.

    UnsafeParameters unless 1e-15 <= delta < 1.
    """
    if not 1e-15 <= delta < 1:
        raise UnsafeParameters("delta must be at least 1e-15 and below 1")
    return _recount(*counted(mechanisms), delta)


_Key: TypeAlias = tuple[float, float, int, bool]
Counted: TypeAlias = tuple[tuple[_Key, int], ...]


def counted(mechanisms: Sequence[Mechanism]) -> tuple[float, Counted]:
    """The mu of what is not sampled, and equal mechanisms of the rest counted together."""
    counts: Counter[_Key] = Counter()
    squares = 0.0
    for each in mechanisms:
        if each.sample_rate == 1:
            squares += each.count * ((1 + each.replaced) * each.group / each.noise_multiplier) ** 2
        elif each.count:
            counts[each.noise_multiplier, each.sample_rate, each.group, each.replaced] += each.count
    return math.sqrt(squares), tuple(sorted(counts.items()))


@lru_cache(maxsize=4096)
def _recount(mu: float, sampled: Counted, delta: float) -> Bounds:
    if not sampled:
        exact = unsampled(mu, delta)
        return Bounds(exact * (1 - 1e-9), exact * (1 + 1e-9))
    each = [_compose(parts_of(mu, sampled, neighbor, delta), delta) for neighbor in NEIGHBORS]
    return Bounds(max(bounds.lower for bounds in each), max(bounds.upper for bounds in each))


def parts_of(mu: float, sampled: Counted, neighbor: Neighbor, delta: float) -> Parts:
    """The releases that compose for this neighbor, each with its count; next to nothing of `delta` beyond them."""
    tail = 1e-6 * delta / (1 + sum((1 + replaced) * count for (_, _, _, replaced), count in sampled))
    parts: list[tuple[Release, Neighbor, int]] = []
    for (z, rate, group, replaced), count in sampled:
        if replaced:
            half = Release(z / math.sqrt(2), rate, group, tail)
            parts += [(half, "removed", count), (half, "added", count)]
        else:
            parts.append((Release(z, rate, group, tail), neighbor, count))
    if mu:
        parts.append((Release(1 / mu, 1.0, 1, tail), neighbor, 1))
    return parts


def unsampled(mu: float, delta: float) -> float:
    """The epsilon at which the Gaussian mechanism with sensitivity / standard deviation `mu` has this delta."""

    def excess(epsilon: float) -> float:
        return unsampled_delta(mu, epsilon) - delta

    return 0.0 if mu == 0 or excess(0.0) <= 0 else crossing(excess, 0.0, mu * mu / 2 + mu)[1]


def unsampled_delta(mu: float, epsilon: float) -> float:
    """Delta of that mechanism."""
    near, far = (epsilon / mu - mu / 2) / math.sqrt(2), (epsilon / mu + mu / 2) / math.sqrt(2)
    # Phi(-x) = exp(-x^2 / 2) erfcx(x / sqrt 2) / 2, and the exponents of both terms are equal.
    if near > 0:
        return float(math.exp(-near * near) * (erfcx(near) - erfcx(far)) / 2)
    return float(ndtr(-near * math.sqrt(2)) - math.exp(-near * near) * erfcx(far) / 2)


def crossing(falling: Callable[[float], float], low: float, high: float) -> tuple[float, float]:
    """Where a falling function passes 0: the last point seen above, and the first one not above."""
    if falling(low) <= 0:
        return low, low
    while falling(high) > 0:
        low, high = high, 2 * high
    while high - low > 1e-10 * (1 + high):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return low, high


Parts: TypeAlias = Sequence[tuple[Release, Neighbor, int]]


@dataclass(frozen=True)
class Setting:
    """How to compute: the tilt, the grid, and the window in which the sum of all losses is looked for."""

    tilt: float
    step: float
    points: int
    center: float
    nudges: tuple[float, float]  # changes of tilt at which Chernoff's bound on the window's outside is best


def _compose(parts: Parts, delta: float) -> Bounds:
    setting = setting_of([(release.sketch(neighbor), count) for release, neighbor, count in parts], delta)
    laws = [(release.laws(neighbor, setting.step, setting.tilt), count) for release, neighbor, count in parts]
    below = Sum.of([(pair[0], count) for pair, count in laws], setting)
    above = Sum.of([(pair[1], count) for pair, count in laws], setting)
    # Where a unit is added, its law is the one whose mass counts exp(epsilon).
    forgotten = sum(count * release.forgotten for release, neighbor, count in parts if neighbor == "added")

    def left_out(epsilon: float) -> float:
        if not forgotten:
            return 0.0
        return math.exp(epsilon) * forgotten if epsilon < 700 else math.inf

    guess = max(setting.center, setting.step)

    def excess(epsilon: float) -> float:
        return below.delta(epsilon, -1) - left_out(epsilon) - delta

    start = next((share * guess for share in _SHARES if excess(share * guess) > 0), 0.0)
    lower, _ = crossing(excess, start, guess)
    _, upper = crossing(lambda epsilon: above.delta(epsilon, +1) - delta, 0.0, guess)
    return Bounds(lower, upper)


def setting_of(
    sketches: Sequence[tuple[Sketch, int]], delta: float, accuracy: float = ACCURACY, looks: int = 4
) -> Setting:
    """Where to look at these laws, and how finely. Whatever it says, what is computed there is a bound."""

    def cumulants(tilts: Floats) -> Floats:
        return sum((count * sketch.cumulants(tilts) for sketch, count in sketches), np.zeros(len(tilts)))

    def renyi(tilts: Floats) -> Floats:
        """Epsilon by Renyi divergence of order tilt + 1: least at the tilt we want."""
        return np.asarray((cumulants(tilts) - math.log(delta)) / tilts)

    tilt = _least(renyi, 1e-3, 1e7, looks)
    base = float(cumulants(np.array([tilt]))[0])
    moments = [(*sketch.moments(tilt), count) for sketch, count in sketches]
    mean = sum(count * loss for loss, _, count in moments)
    deviation = math.sqrt(sum(count * variance for _, variance, count in moments))

    def right(nudges: Floats) -> Floats:  # Chernoff: how far above the mean next to nothing is left
        return np.asarray((cumulants(tilt + nudges) - base - nudges * mean - math.log(_OUTSIDE)) / nudges)

    def left(nudges: Floats) -> Floats:
        return np.asarray((cumulants(tilt - nudges) - base + nudges * mean - math.log(_OUTSIDE)) / nudges)

    nudges = tuple(_least(side, 1e-2 / deviation, 20 / deviation, looks - 1) for side in (left, right))
    reach = tuple(float(side(np.array([at]))[0]) for side, at in zip((left, right), nudges, strict=True))
    low, high = mean - reach[0], mean + reach[1]
    releases = sum(count for _, count in sketches)
    accuracy *= min(1.0, (base - math.log(delta)) / tilt)
    # The law above has a variance of up to step^2 / 4 too much per release; and no loss moves by more than a step.
    step = min(math.sqrt(8 * accuracy / (tilt * releases)), deviation / 50)
    step = max(
        step, accuracy / releases / 4, max(np.ptp(sketch.loss) for sketch, _ in sketches) / _MAX_LOSSES
    )
    step = max(step, (high - low) / _MAX_POINTS)
    points = 2 ** max(math.ceil(math.log2((high - low) / step)), 8)
    return Setting(tilt, step, points, (low + high) / 2, (nudges[0], nudges[1]))


def _least(function: Callable[[Floats], Floats], low: float, high: float, looks: int) -> float:
    """Where a function with one valley is about least."""
    for _ in range(looks):
        places = np.geomspace(low, high, 13)
        best = int(np.argmin(function(places)))
        low, high = float(places[max(best - 1, 0)]), float(places[min(best + 1, 12)])
    return math.sqrt(low * high)


@dataclass(frozen=True)
class Sum:
    """The law of a sum of losses inside the window, and what may be wrong with it."""

    setting: Setting
    start: float  # the loss at the window's first point
    mass: Floats  # of every point, tilted back
    log_scale: float  # log of what a tilted law is to be multiplied with at a loss of 0
    infinite: float
    outside: float
    noise: float

    @classmethod
    def of(cls, laws: Sequence[tuple[Law, int]], setting: Setting) -> Sum:
        """Compose each law with itself `count` times, and all of them."""
        tilt, step, points = setting.tilt, setting.step, setting.points
        spectrum = np.ones(points // 2 + 1, dtype=np.complex128)
        for law, count in laws:
            spectrum *= np.fft.rfft(_folded(_tilted(law, step, tilt), points)) ** count
        density = np.fft.irfft(spectrum, points)
        anchor = sum(count * law.anchor for law, count in laws)
        begin = math.floor((setting.center - anchor) / step) - points // 2
        density = np.roll(density, -(begin - sum(count * law.first for law, count in laws)) % points)
        start = anchor + begin * step
        losses, scale = start + step * np.arange(points), _cumulant(laws, step, tilt)
        # Asked for are losses above 0, where nothing grows when it is tilted back.
        mass = np.maximum(density, 0) * np.exp(np.minimum(scale - tilt * np.maximum(losses, 0), 700))
        ends = start - step, start + step * points
        outside = sum(
            math.exp(min(0.0, _cumulant(laws, step, tilt + nudge) - scale - nudge * end))
            for nudge, end in zip((-setting.nudges[0], setting.nudges[1]), ends, strict=True)
        )
        releases = sum(count for _, count in laws)
        noise = _UNIT * (releases + 64) * float(np.linalg.norm(density))
        infinite = sum(count * law.infinite for law, count in laws)
        return cls(setting, start, mass, scale, infinite, outside, noise)

    def delta(self, epsilon: float, side: int) -> float:
        """Delta at `epsilon`: not less than the true one for side = 1, not more for side = -1."""
        step = self.setting.step
        place = min(max(math.ceil((epsilon - self.start) / step), 0), self.setting.points)
        above = self.start + step * np.arange(place, self.setting.points) - epsilon
        inside = float(self.mass[place:] @ -np.expm1(-np.maximum(above, 0)))
        return float(inside + side * self.wrong(epsilon) + self.infinite)

    def wrong(self, epsilon: float) -> float:
        """How far off what is inside the window may be at `epsilon`."""
        height = math.exp(min(self.log_scale - self.setting.tilt * epsilon, 600))
        return height * self._wrong_of_height()

    def wrongs(self, epsilons: Floats) -> Floats:
        """The same at many places."""
        heights = np.exp(np.minimum(self.log_scale - self.setting.tilt * epsilons, 600))
        return np.asarray(heights * self._wrong_of_height())

    def _wrong_of_height(self) -> float:
        tilt, step = self.setting.tilt, self.setting.step
        # Tilted mass at a loss of epsilon + x is worth exp(-tilt x) (1 - exp(-x)) as much as `height`.
        most = math.exp(tilt * (math.log(tilt) - math.log1p(tilt)) - math.log1p(tilt))
        return most * self.outside + self.noise / math.sqrt(-math.expm1(-2 * tilt * step))


def _tilted(law: Law, step: float, tilt: float) -> Floats:
    log_mass = _log_tilted(law, step, tilt)
    return np.asarray(np.exp(log_mass - log_sum(log_mass)))


def _cumulant(laws: Sequence[tuple[Law, int]], step: float, tilt: float) -> float:
    return float(sum(count * log_sum(_log_tilted(law, step, tilt)) for law, count in laws))


def _log_tilted(law: Law, step: float, tilt: float) -> Floats:
    losses = law.anchor + step * np.arange(law.first, law.first + len(law.mass))
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(law.mass) + tilt * losses)


def _folded(mass: Floats, points: int) -> Floats:
    """Modulo the window."""
    return np.asarray(np.pad(mass, (0, -len(mass) % points)).reshape(-1, points).sum(axis=0))
