"""Figures of a noised histogram of score x time x end, and of squared errors (`federation.kinds.moments`).

    c_index      Harrell's, over bins of the score: within a bin half of the pairs count as right; `bins` says by
                 how much that may move it
    brier_at_T   Graf's score at the end T of an interval; None where noise hides who was seen until then
    mean_brier   the mean over all ends; None where one of them is

Squared errors are summed at the sites, and weighed afterwards by the inverse chance of not being censored until
then, which the cells tell (Kaplan and Meier's, of everybody). So Brier scores have no bins, and their intervals
hold the noise of errors and weights. Chance is bounded from above: a squared error is at most 1, so its square is
no more than itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from federation.kinds.moments import Times
from federation.plan.outcomes import Survival
from federation.sums.measured.numbers import Mean
from federation.sums.ratios import LEAST
from federation.sums.ratios import Numbers as Sums

Block: TypeAlias = NDArray[np.float64]


def times(blocks: Times, sums: Sums, noise: float) -> dict[str, Any]:
    """All figures of one block."""
    cells = np.array(sums[: blocks.cells], np.float64).reshape(blocks.bins, blocks.labels)
    count, events = math.fsum(cells.flat), math.fsum(cells[:, 1::2].flat)
    told: dict[str, Any] = {"c_index": _c_index(cells, noise)}
    if blocks.has_brier:
        told |= _brier(blocks, cells.sum(axis=0), np.array(sums[blocks.cells :], np.float64), noise)
    return {
        "records": _clear(count, noise * cells.size),
        "positives": _clear(events, noise * blocks.bins * len(blocks.ends)),
        "metrics": told,
        "calibration": [],
    }


def _clear(value: float, noise: float) -> float | None:
    return value if value > LEAST * math.sqrt(noise) else None


def _c_index(cells: Block, noise: float) -> dict[str, float] | None:
    """Over pairs of an event in an interval and of who came through it."""
    labels = cells.shape[1]
    right = pairs = alike = 0.0
    by_right, by_pairs = np.zeros_like(cells), np.zeros_like(cells)
    for label in range(1, labels, 2):
        first, later = cells[:, label], cells[:, label + 1 :].sum(axis=1)
        above = later.sum() - np.cumsum(later) + later / 2  # of a higher score, and half of those of the same
        below = np.cumsum(first) - first / 2
        right += float(first @ above)
        pairs += float(first.sum() * later.sum())
        alike += float(np.maximum(first, 0) @ np.maximum(later, 0)) / 2
        by_right[:, label] += above
        by_pairs[:, label] += later.sum()
        by_right[:, label + 1 :] += below[:, None]
        by_pairs[:, label + 1 :] += first.sum()
    if pairs <= LEAST * math.sqrt(noise * float((by_pairs**2).sum())):
        return None
    value = right / pairs
    slope = (by_right - value * by_pairs) / pairs
    variance = float((slope**2 * (noise + np.maximum(cells, 0))).sum())
    return {**Mean(value, variance, 0.0).told(), "bins": min(1.0, alike / pairs)}


@dataclass(frozen=True)
class _Horizon:
    """A Brier score, its slopes in the labels' counts and in the squared errors, and what chance makes of it."""

    value: float
    labels: Block
    squares: Block
    chance: float


def _brier(blocks: Times, counts: Block, squares: Block, noise: float) -> Mapping[str, Any]:
    """`counts` by label, of which each is the sum over the score's bins; `squares` as they were summed."""
    names, each = list(Survival(blocks.ends).horizons), noise * blocks.bins
    found = [_at(blocks, counts, squares, each, place) for place in range(len(names))]
    told = {
        name: None if one is None else _told(one, each, noise) for name, one in zip(names, found, strict=True)
    }
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        return {"mean_brier": None, **told}
    many = len(known)
    whole = _Horizon(
        math.fsum(one.value for one in known) / many,
        np.sum([one.labels for one in known], axis=0) / many,
        np.sum([one.squares for one in known], axis=0) / many,
        math.fsum(one.chance for one in known) / many,
    )
    return {"mean_brier": _told(whole, each, noise), **told}


def _told(one: _Horizon, each: float, noise: float) -> dict[str, float]:
    variance = each * float((one.labels**2).sum()) + noise * float((one.squares**2).sum()) + one.chance
    return Mean(one.value, variance, 0.0).told()


def _at(blocks: Times, counts: Block, squares: Block, each: float, place: int) -> _Horizon | None:
    """The score at the end of one interval. `each`: the variance of the noise on a label's count."""
    count, scale = float(counts.sum()), math.sqrt(len(blocks.ends))
    if count <= LEAST * math.sqrt(each * len(counts)):
        return None
    free, logs = _uncensored(counts, place)
    if not all(LEAST * math.sqrt(each * float((row**2).sum())) < 1 for row in logs):
        return None
    weights, moved = np.zeros(len(squares)), np.zeros(len(counts))
    chance = 0.0
    used = [(at, event) for at, (event, until) in enumerate(blocks.pairs) if until == place]
    for at, until in [*used, (len(blocks.pairs) + place, place)]:
        weights[at] = scale / (count * free[until])
        moved -= weights[at] * squares[at] * logs[until]
        chance += weights[at] * max(float(squares[at]), 0.0) / (count * free[until])
    value = float(weights @ squares)
    by_chance = chance - value * value / count + float((moved**2 * np.maximum(counts, 0)).sum())
    return _Horizon(value, moved - value / count, weights, max(by_chance, 0.0))


def _uncensored(counts: Block, place: int) -> tuple[list[float], list[Block]]:
    """The chance of being seen through each interval up to `place`, and the slopes of its logarithm by label."""
    free, logs, chance, slope = [], [], 1.0, np.zeros(len(counts))
    for at in range(place + 1):
        here, kept = float(counts[2 * at :].sum()), float(counts[2 * at + 1 :].sum())
        if here <= 0 or kept <= 0:
            slope = np.full(len(counts), math.inf)  # hidden, as all after it
        else:
            slope = slope.copy()
            slope[2 * at :] -= 1 / here
            slope[2 * at + 1 :] += 1 / kept
            chance *= kept / here
        free.append(chance)
        logs.append(slope)
    return free, logs
