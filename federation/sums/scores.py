"""What a noised histogram of scores says: score bin x class x group to metrics, each with its interval.

Where bins hide something a figure has `bins` beside it: by how much it may differ, at most, from the same figure of
the scores themselves. KS is the largest of many noised distances, so noise raises it; its interval holds for all of
the distances at once, and so for the largest. Recall among the highest scores cuts a bin: it takes a share of its
records as if classes were mixed evenly in it. It is None where the bin could move it by more than WIDEST.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from statistics import NormalDist
from typing import Any

from federation.kinds.cells import Cells
from federation.kinds.figures import LOSS_BOUND
from federation.sums.ratios import LEAST, Estimate, Numbers, by_group, inner, mean_of, ratio


def histogram(cells: Cells, released: Sequence[float], deviation: float) -> dict[str, Any]:
    """All figures of a release, whose noise has this standard deviation in each cell; None where it hides them."""
    told = by_group(cells, released, deviation, partial(counted, cells))
    return {"edges": [0.0, *cells.edges, 1.0], "threshold": cells.threshold, "deviation": deviation, **told}


def counted(cells: Cells, counts: Numbers, noise: float) -> dict[str, Any]:
    """What is told of one block of cells, each with noise of this variance."""
    return _Scores(cells, counts, noise).told()


def headline(told: dict[str, Any], cells: Cells, deviation: float) -> dict[str, float | None]:
    """The four figures that every published evaluation has; `standard_error` is that of the noise alone."""
    records, accuracy, loss = told["records"], told["metrics"]["accuracy"], told["metrics"]["loss"]
    if records is None or accuracy is None or loss is None:
        return {"records": None, "accuracy": None, "loss": None, "standard_error": None}
    share = accuracy["value"]
    moved = (1 - share) * (1 - share) + share * share
    error = deviation * math.sqrt(cells.halves) * math.sqrt(moved) / records
    return {"records": records, "accuracy": share, "loss": loss["value"], "standard_error": error}


METRICS = (
    *("accuracy", "balanced_accuracy", "recall", "specificity", "precision", "f1"),
    *("auc", "gini", "ks", "brier", "loss", "calibration"),
)
"""The names of all figures that a histogram has, beside recall among as many percent as the plan names."""
WIDEST = 0.25
"""How far bins may move recall among the highest scores."""


def names_of(cells: Cells) -> tuple[str, ...]:
    """The names of all figures of these cells."""
    return (*METRICS, *(f"recall_at_{share}" for share in cells.shares))


class _Scores:
    """One block of cells: those of the first class, then those of the second."""

    def __init__(self, cells: Cells, counts: Numbers, noise: float) -> None:
        self.cells, self.counts, self.noise = cells, counts, noise
        edges = (0.0, *cells.edges, 1.0)
        pairs = list(pairwise(edges))
        self.middles = [(low + high) / 2 for low, high in pairs]
        self.widths = [(high - low) / 2 for low, high in pairs]
        self.negatives, self.positives = counts[: cells.bins], counts[cells.bins :]

    def told(self) -> dict[str, Any]:
        """Counts, metrics, the curve of calibration and the cells."""
        return {
            "records": self._count(self._ones(1, 1)),
            "positives": self._count(self._ones(0, 1)),
            "metrics": self._metrics(),
            "calibration": self._bands(),
            "cells": [self._shown(self.negatives), self._shown(self.positives)],
        }

    def _ones(self, negative: float, positive: float, answered: int | None = None) -> list[float]:
        """Weights: by class, over all bins, or over those of one answer."""
        first = self.cells.answered
        chosen = [
            float(answered is None or (place >= first) == bool(answered)) for place in range(self.cells.bins)
        ]
        return [negative * one for one in chosen] + [positive * one for one in chosen]

    def _count(self, weights: Numbers) -> float | None:
        count = inner(weights, self.counts)
        return count if count > LEAST * math.sqrt(self.noise * inner(weights, weights)) else None

    def _shown(self, counts: Numbers) -> list[float | None]:
        least = LEAST * math.sqrt(self.noise)
        return [count if count > least else None for count in counts]

    def _of_all(self, above: Numbers, least: float = 0.0, most: float = 1.0) -> Estimate | None:
        return ratio(above, self._ones(1, 1), self.counts, self.noise, least, most)

    def _share(self, above: Numbers, below: Numbers) -> Estimate | None:
        return ratio(above, below, self.counts, self.noise)

    def _metrics(self) -> dict[str, dict[str, float | None] | None]:
        hits, alarms = self._ones(0, 1, 1), self._ones(1, 0, 1)
        misses, spared = self._ones(0, 1, 0), self._ones(1, 0, 0)
        recall = self._share(hits, self._ones(0, 1))
        specificity = self._share(spared, self._ones(1, 0))
        both = None if recall is None or specificity is None else mean_of(recall, specificity)
        twice = [2 * one for one in hits]
        wrong = [sum(parts) for parts in zip(twice, alarms, misses, strict=True)]
        ranked = None if both is None else self._auc()
        found = {
            "accuracy": self._of_all([one + other for one, other in zip(hits, spared, strict=True)]),
            "balanced_accuracy": both,
            "recall": recall,
            "specificity": specificity,
            "precision": self._share(hits, self._ones(1, 1, 1)),
            "f1": self._share(twice, wrong),
        }
        told: dict[str, Any] = {name: self._told(one) for name, one in found.items()}
        shares = {f"recall_at_{share}": self._recall_among(share / 100) for share in self.cells.shares}
        return told | self._ranks(ranked) | self._losses() | shares

    def _recall_among(self, share: float) -> dict[str, float | None] | None:
        """Recall where so many of all records, those with the highest scores, are taken for the second class.

        The bin that is cut, and how much of it is taken, follow from the counts, so their noise is in the slope.
        """
        bins, counts = self.cells.bins, self.counts
        everybody, positives = self._count(self._ones(1, 1)), self._count(self._ones(0, 1))
        if everybody is None or positives is None:
            return None
        above, hits, place = 0.0, 0.0, bins - 1
        while place > 0 and above + counts[place] + counts[bins + place] < share * everybody:
            above += counts[place] + counts[bins + place]
            hits += counts[bins + place]
            place -= 1
        here, mine = counts[place] + counts[bins + place], max(counts[bins + place], 0.0)
        taken = min(1.0, max(0.0, (share * everybody - above) / here)) if here > 0 else 0.0
        mixed = min(1.0, mine / here) if here > 0 else 0.0
        recall = (hits + taken * mine) / positives
        most, least = min(mine, taken * here), max(0.0, mine - (1 - taken) * here)
        hidden = max(most - taken * mine, taken * mine - least) / positives
        if hidden > WIDEST:
            return None
        slope = []
        for positive in (0, 1):
            for one in range(bins):
                moved = mixed * (share - (one > place) - taken * (one == place))
                own = positive * ((one > place) + taken * (one == place) - recall)
                slope.append((moved + own) / positives)
        return self._told(Estimate(recall, tuple(slope)), hidden)

    def _told(self, one: Estimate | None, bins: float | None = None) -> dict[str, float | None] | None:
        if one is None:
            return None
        return {**one.told(self.counts, self.noise), **({} if bins is None else {"bins": bins})}

    def _ranks(self, auc: Estimate | None) -> dict[str, Any]:
        if auc is None:
            return dict.fromkeys(("auc", "gini", "ks"))
        least, most = (max(sum(one), 1.0) for one in (self.negatives, self.positives))
        shares = [
            (max(one, 0.0) / least, max(other, 0.0) / most)
            for one, other in zip(self.negatives, self.positives, strict=True)
        ]
        hidden = min(1.0, math.fsum(one * other for one, other in shares) / 2)
        gini = Estimate(2 * auc.value - 1, tuple(2 * one for one in auc.slope), -1.0)
        within = min(1.0, max(max(pair) for pair in shares))
        return {
            "auc": self._told(auc, hidden),
            "gini": self._told(gini, min(1.0, 2 * hidden)),
            "ks": {**self._ks(), "bins": within},
        }

    def _auc(self) -> Estimate:
        """The chance that one of the second class is in a higher bin than one of the first; in the same, half."""
        negatives, positives = math.fsum(self.negatives), math.fsum(self.positives)
        below, above = [], []
        for place in range(self.cells.bins):
            below.append(math.fsum(self.negatives[:place]) + self.negatives[place] / 2)
            above.append(math.fsum(self.positives[place + 1 :]) + self.positives[place] / 2)
        value = inner(self.positives, below) / (positives * negatives)
        slope = [one / (positives * negatives) - value / negatives for one in above]
        slope += [one / (positives * negatives) - value / positives for one in below]
        return Estimate(value, tuple(slope))

    def _ks(self) -> dict[str, float]:
        """The largest distance between the two classes' distributions over the inner edges."""
        z = NormalDist().inv_cdf(1 - (1 - 0.95) / (2 * len(self.cells.edges)))
        values, lows, highs = [], [], []
        for place in range(1, self.cells.bins):
            lower = [float(one < place) for one in range(self.cells.bins)]
            none = [0.0] * self.cells.bins
            one = self._share(lower + none, self._ones(1, 0))
            other = self._share(none + lower, self._ones(0, 1))
            if one is None or other is None:  # checked by whoever asks
                continue
            slope = tuple(first - second for first, second in zip(one.slope, other.slope, strict=True))
            apart = Estimate(one.value - other.value, slope)
            half = z * apart.deviation(self.counts, self.noise)
            values.append(abs(apart.value))
            lows.append(abs(apart.value) - half)
            highs.append(abs(apart.value) + half)
        return {
            "value": min(1.0, max(values)),
            "low": max(0.0, *lows),
            "high": min(1.0, max(highs)),
        }

    def _losses(self) -> dict[str, Any]:
        """Brier, loss and calibration, as if each score were the middle of its bin."""
        middles, widths, records = self.middles, self.widths, max(math.fsum(self.counts), 1.0)
        squares = [one * one for one in middles] + [(1 - one) * (1 - one) for one in middles]
        logs = [-math.log1p(-one) for one in middles] + [-math.log(one) for one in middles]
        logs = [min(LOSS_BOUND, one) for one in logs]
        excess = [*middles, *(one - 1 for one in middles)]
        off = [2 * width * abs(one) + width * width for one, width in zip(excess, widths * 2, strict=True)]
        held = [max(count, 0.0) / records for count in self.counts]
        return {
            "brier": self._told(self._of_all(squares), min(1.0, inner(off, held))),
            "loss": self._told(self._of_all(logs, 0.0, LOSS_BOUND)),
            "calibration": self._told(self._of_all(excess, -1.0, 1.0), min(1.0, inner(widths * 2, held))),
        }

    def _bands(self) -> list[dict[str, float]]:
        """The share of the second class in each bin that the noise does not hide."""
        bands = []
        for place, middle in enumerate(self.middles):
            mine = [float(one == place) for one in range(self.cells.bins)]
            share = self._share([0.0] * self.cells.bins + mine, mine + mine)
            if share is None:
                continue
            told = share.told(self.counts, self.noise)
            n = inner(mine + mine, self.counts)
            bands.append(
                {
                    "n": n,
                    "predicted": middle,
                    "observed": told["value"],
                    "low": told["low"],
                    "high": told["high"],
                }
            )
        return bands
