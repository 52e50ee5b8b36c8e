"""The privacy loss of one release of the sampled Gaussian, on a grid: two discrete laws that enclose the true one.

One unit has up to `group` contributions, each in a release with probability q, so with noise z a pair of neighbors
is dominated by (Zhu, Dong, Wang 2022; for groups Ganesh 2024, "Tight Group-Level DP Guarantees for DP-SGD with
Sampling via Mixture of Gaussians Mechanisms")
    P = sum over k of Binomial(group, q)(k) N(k, z^2)        Q = N(0, z^2).
With a unit removed the loss is log dP/dQ(x) for x ~ P, with a unit added it is log dQ/dP(x) for x ~ Q. Both are
functions of l(x) = log dP/dQ(x), which rises with x; so the real line is cut where l passes a grid, and the mass
of every cell under P and under Q is a difference of normal distribution functions: exact, no quadrature.

* Above. A cell's mass goes to the two grid points around it, in the one proportion that keeps its mass under both
  measures. That spreads dP/dQ around its mean, so every hockey-stick divergence grows (Jensen), and it is the
  least pessimistic law on the grid (Doroshenko et al. 2022, "connect the dots").
* Below. All of a cell around a grid point becomes one outcome. That is post-processing, so every divergence falls;
  its loss is the log of the ratio of its masses, which lies beside the grid point by d. Losses are then moved down,
  by the same `sink` everywhere, or by a step of the grid where d < -sink.

What is beyond the ends counts as an infinite loss above and is dropped below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, ndtr, ndtri

Floats: TypeAlias = NDArray[np.float64]
Neighbor: TypeAlias = Literal["removed", "added"]

_LEAST_LOG_WEIGHT = -140.0  # contributions so improbable are left out, and accounted for
_LEVELINGS = 2
_ROUNDING = 16 * 2.0**-52  # relative, of a normal distribution function


@dataclass(frozen=True)
class Law:
    """Mass at the losses anchor + (first + i) * step, i = 0, 1, ...; and at an infinite loss."""

    mass: Floats
    first: int
    anchor: float
    infinite: float = 0.0


@dataclass(frozen=True)
class Sketch:
    """The law by quadrature: good enough to choose a grid and a window, never used as a bound."""

    log_mass: Floats
    loss: Floats

    def cumulant(self, tilt: float) -> float:
        """Log of E exp(tilt * loss)."""
        return float(log_sum(self.log_mass + tilt * self.loss))

    def cumulants(self, tilts: Floats) -> Floats:
        """The same at several tilts."""
        return log_sum(self.log_mass + tilts[:, None] * self.loss)

    def moments(self, tilt: float) -> tuple[float, float]:
        """Mean and variance of the loss under the law tilted by exp(tilt * loss)."""
        weight = np.exp(self.log_mass + tilt * self.loss - self.cumulant(tilt))
        mean = float(weight @ self.loss)
        return mean, float(weight @ (self.loss - mean) ** 2)


@dataclass(frozen=True)
class Release:
    """One release: noise multiplier z, sample rate q, at most `group` contributions of the unit. `tail` is the
    probability that may lie beyond either end of what is looked at.
    """

    noise_multiplier: float
    sample_rate: float
    group: int
    tail: float
    _counts: Floats = field(init=False, repr=False)
    _log_weights: Floats = field(init=False, repr=False)
    forgotten: float = field(init=False)  # probability of the contributions that were left out

    def __post_init__(self) -> None:
        counts = np.arange(self.group + 1.0)
        if self.sample_rate == 1:
            log_weights = np.where(counts == self.group, 0.0, -np.inf)
        else:
            ways = gammaln(self.group + 1) - gammaln(counts + 1) - gammaln(self.group - counts + 1)
            left_out = (self.group - counts) * math.log1p(-self.sample_rate)
            log_weights = ways + counts * math.log(self.sample_rate) + left_out
        kept = log_weights > _LEAST_LOG_WEIGHT
        object.__setattr__(self, "_counts", counts[kept])
        object.__setattr__(self, "_log_weights", log_weights[kept])
        object.__setattr__(self, "forgotten", float(np.exp(log_weights[~kept]).sum()))

    @property
    def ends(self) -> tuple[float, float]:
        """Between these x lies everything but `tail` on either side, under P and Q."""
        deviations = -float(ndtri(self.tail)) * self.noise_multiplier
        tails = np.cumsum(np.exp(self._log_weights)[::-1])[::-1]
        most = self._counts[tails > self.tail / 2][-1]
        return -deviations, float(most) + deviations + self.noise_multiplier

    def sketch(self, neighbor: Neighbor, fewest: int = 2**12) -> Sketch:
        """Some thousand points of the law, but no fewer than `fewest`."""
        low, high = self.ends
        points = int(min(max(16 * (high - low) / self.noise_multiplier, fewest), 2**16))
        x = np.linspace(low, high, points)
        loss, _ = self._loss(x)
        log_q: Floats = -((x / self.noise_multiplier) ** 2) / 2
        log_mass = log_q + loss if neighbor == "removed" else log_q
        return Sketch(log_mass - log_sum(log_mass), loss if neighbor == "removed" else -loss)

    def laws(self, neighbor: Neighbor, step: float, tilt: float) -> tuple[Law, Law]:
        """The law below and the law above, on a grid of this step; `tilt` is where tightness matters most."""
        low, high = self.ends
        anchor, ends = self._anchor(step), self._loss(np.array([low, high]))[0]
        first, last = math.floor((ends[0] - anchor) / step), math.floor((ends[1] - anchor) / step) + 1
        cuts = self._cuts(anchor + step / 2 * np.arange(2 * first, 2 * last + 1))
        halves = self._halves(cuts)
        if neighbor == "added":
            anchor, first, last, halves = -anchor, -last, -first, halves[[2, 3, 0, 1], ::-1]
        grid = anchor + step * np.arange(first, last + 1)
        above, (under, over) = (
            _above(halves[:, ::2] + halves[:, 1::2], grid),
            self._outside(low, high, neighbor),
        )
        above[1] += under  # the lowest cut may lie anywhere in its interval
        below, sink = _below(halves, grid, tilt)
        return Law(below, first - 1, anchor - sink), Law(above, first, anchor, over)

    def law_above(self, neighbor: Neighbor, step: float) -> Law:
        """The law above alone, on the multiples of `step`."""
        low, high = self.ends
        ends = self._loss(np.array([low, high]))[0]
        first, last = math.floor(ends[0] / step), math.floor(ends[1] / step) + 1
        masses = self._halves(self._cuts(step * np.arange(first, last + 1)))
        if neighbor == "added":
            first, last, masses = -last, -first, masses[[2, 3, 0, 1], ::-1]
        above, (under, over) = (
            _above(masses, step * np.arange(first, last + 1)),
            self._outside(low, high, neighbor),
        )
        above[1] += under  # the lowest cut may lie anywhere in its interval
        return Law(above, first, 0.0, over)

    def _anchor(self, step: float) -> float:
        """A point of the grid: the loss of what lies around it, near the loss at which most of Q is."""
        anchor = float(self._loss(np.zeros(1))[0][0])
        for _ in range(8):
            cell = self._cuts(anchor + step / 2 * np.array([-1.0, 1.0]))
            anchor = float(
                np.clip(_log_ratio(self._halves(cell))[1][0], anchor - step / 2, anchor + step / 2)
            )
        return anchor

    def _outside(self, low: float, high: float, neighbor: Neighbor) -> tuple[float, float]:
        """The mass with losses below and above what the cuts cover."""
        z = self.noise_multiplier
        if neighbor == "added":
            return float(ndtr(-high / z)), float(ndtr(low / z))
        weights = np.exp(self._log_weights)
        below, above = ndtr((low - self._counts) / z), ndtr((self._counts - high) / z)
        return float(weights @ below), float(weights @ above) + self.forgotten

    def _loss(self, x: Floats) -> tuple[Floats, Floats]:
        """l(x) = log sum_k w_k exp((2 k x - k^2) / 2 z^2), and its derivative."""
        scale = self.noise_multiplier**2
        top = np.full_like(x, -np.inf)
        for count, log_weight in zip(self._counts, self._log_weights, strict=True):
            np.maximum(top, log_weight + count * (2 * x - count) / (2 * scale), out=top)
        total, slope = np.zeros_like(x), np.zeros_like(x)
        for count, log_weight in zip(self._counts, self._log_weights, strict=True):
            term = np.exp(log_weight + count * (2 * x - count) / (2 * scale) - top)
            total += term
            slope += count * term
        return top + np.log(total), slope / total / scale

    def _cuts(self, losses: Floats) -> Floats:
        """The x at which l(x) takes these values, kept between the ends."""
        if self.group == 1 and self.sample_rate < 1:
            return self._cuts_of_one(losses)
        return self._cuts_by_newton(losses)

    def _cuts_of_one(self, losses: Floats) -> Floats:
        """In closed form: e^l = 1 - q + q exp((2 x - 1) / 2 z^2)."""
        low, high = self.ends
        x = np.full_like(losses, low)
        least = math.log1p(-self.sample_rate)  # what no loss is below
        inside = losses > least
        rest = losses[inside] + np.log1p(-np.exp(least - losses[inside]))
        x[inside] = self.noise_multiplier**2 * (rest - math.log(self.sample_rate)) + 0.5
        return np.maximum.accumulate(np.clip(x, low, high))

    def _cuts_by_newton(self, losses: Floats) -> Floats:
        """By two steps of Newton's method."""
        low, high = self.ends
        table = np.linspace(low, high, 2**14)
        known, _ = self._loss(table)
        x = np.interp(losses, known, table)
        inside = (losses > known[0]) & (losses < known[-1])
        for _ in range(2):
            value, slope = self._loss(x[inside])
            x[inside] = np.clip(x[inside] - (value - losses[inside]) / slope, low, high)
        return np.maximum.accumulate(x)

    def _halves(self, cuts: Floats) -> Floats:
        """Masses between the cuts, and their rounding errors: (4, cells), for P and then for Q."""
        of_p = self._masses(cuts, self._counts, np.exp(self._log_weights))
        return np.concatenate((of_p, self._masses(cuts, np.zeros(1), np.ones(1))))

    def _masses(self, cuts: Floats, means: Floats, weights: Floats) -> Floats:
        """The mass of a mixture of normals between the cuts, and a bound on its rounding error; (2, cells)."""
        mass, error = np.zeros((2, len(cuts) - 1))
        for mean, weight in zip(means, weights, strict=True):
            standard = (cuts - mean) / self.noise_multiplier
            near, far = ndtr(standard), ndtr(-standard)
            left = standard[:-1] + standard[1:] < 0  # differences of the smaller tail: nothing cancels
            mass += weight * np.maximum(np.where(left, np.diff(near), -np.diff(far)), 0)
            error += weight * _ROUNDING * np.where(left, near[1:], far[:-1])
        return np.stack((mass, error))


def log_sum(logs: Floats) -> Floats:
    """The logarithm of the sum of exponentials along the last axis."""
    top = np.max(logs, axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)  # nothing at all sums up to -inf
    with np.errstate(divide="ignore"):
        total: Floats = np.log(np.sum(np.exp(logs - top), axis=-1)) + top[..., 0]
    return total


def _above(cells: Floats, grid: Floats) -> Floats:
    """Every interval's mass shared out to its two ends."""
    mass, ratio, rounding = _log_ratio(cells)
    step = grid[1] - grid[0]
    share = np.expm1(-np.clip(ratio - grid[:-1], 0, step)) / np.expm1(-step) + rounding / step
    up = mass * np.minimum(share, 1)
    above = np.zeros(len(grid))
    above[:-1] = mass - up
    above[1:] += up
    return above


def _below(halves: Floats, grid: Floats, tilt: float) -> tuple[Floats, float]:
    """Cells around the grid points, each as one outcome, from one step before the grid on; and the sink."""
    step = grid[1] - grid[0]
    cells = np.pad(halves[:, 1::2], ((0, 0), (1, 0))) + np.pad(halves[:, ::2], ((0, 0), (0, 1)))
    for _ in range(_LEVELINGS):
        cells = _merged(_leveled(_leveled(cells, grid), grid), grid)
    cells = _leveled(cells, grid)
    mass, aside = cells[0], _aside(cells, grid)
    with np.errstate(divide="ignore"):
        log_weight = np.log(mass) + tilt * grid
    weight = np.exp(log_weight - log_sum(log_weight))
    sinks = step * 2.0 ** -np.arange(41)
    sink = min(sinks, key=lambda sink: sink + step * weight[aside < -sink].sum())
    below = np.append(0, np.where(aside < -sink, 0, mass))
    below[:-1] += np.where(aside < -sink, mass, 0)
    return below, float(sink)


def _leveled(cells: Floats, grid: Floats) -> Floats:
    """Every outcome a little above its grid point, by taking in a share of a neighbor: of the next one if the
    ratio lies below the point, of the one before if it lies above. To answer at random is post-processing.
    """
    mass, aside, step = cells[0], _aside(cells, grid), grid[1] - grid[0]
    gap = -np.expm1(-aside) * mass  # above 0: may take from before
    worth_next = np.roll(-np.expm1(-(aside + step)) * mass, -1)
    worth_last = np.roll(np.expm1(-(aside - step)) * mass, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        from_next = np.where(gap < 0, np.clip(np.nan_to_num(-gap / worth_next), 0, 0.5), 0)
        from_last = np.where(gap > 0, np.clip(np.nan_to_num(gap / worth_last), 0, 0.5), 0)
    from_next[-1] = from_last[0] = 0
    # Less of an outcome is left if its neighbors take theirs, so it may take in only so much of the one before.
    from_last *= 1 - np.roll(from_next, 1) - np.roll(from_last, -1)
    left = 1 - np.roll(from_next, 1) - np.roll(from_last, -1)
    taken = np.roll(cells, -1, axis=1) * from_next + np.roll(cells, 1, axis=1) * from_last
    return np.asarray(cells * left + taken)


def _merged(cells: Floats, grid: Floats) -> Floats:
    """Outcomes that lie aside for want of a neighbor with enough mass, added to the one on that side."""
    aside, step = _aside(cells, grid), grid[1] - grid[0]
    upward = np.where(aside > step / 1000, cells, 0)
    downward = np.where(aside < -step / 1000, cells, 0)
    upward[:, -1] = downward[:, 0] = 0
    moved = np.roll(upward, 1, axis=1) + np.roll(downward, -1, axis=1)
    return np.asarray(cells - upward - downward + moved)


def _aside(cells: Floats, grid: Floats) -> Floats:
    """How far the loss of each outcome lies above its grid point, at the least."""
    _, ratio, rounding = _log_ratio(cells)
    step = grid[1] - grid[0]
    return np.asarray(np.clip(ratio - grid - rounding, -step, step))


def _log_ratio(cells: Floats) -> tuple[Floats, Floats, Floats]:
    """Of every cell its mass, the log of its masses' ratio, and how far off that may be."""
    least = 1e-300
    p, p_error, q, q_error = np.maximum(cells, least)
    return cells[0], np.log(p / q), p_error / p + q_error / q
