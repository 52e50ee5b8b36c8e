"""What a number cannot show: which class is taken for which, and whether scores are the chances that they claim."""

from __future__ import annotations

import numpy as np

from federation.report.figures.scores import Band, Calibration
from simulations.scoring.intervals import of_share
from simulations.scoring.scored import Scored

_BANDS = 10


def confusion_of(scored: Scored) -> tuple[tuple[int, ...], ...]:
    """How many records of each class (rows) were answered with each (columns), in the plan's order."""
    classes = scored.classes
    counts = np.bincount(scored.truth * classes + scored.answers, minlength=classes**2)
    return tuple(tuple(map(int, row)) for row in counts.reshape(classes, classes))


def calibration_of(scored: Scored) -> Calibration | None:
    """Mean score and share of positives, over all records and over tenths of them by score; None for many classes.

    Records with the same score are in the same tenth.
    """
    if scored.classes != 2 or not len(scored.truth):
        return None
    scores, positive = scored.scores[:, 1], scored.truth == 1
    edges = np.quantile(scores, np.arange(1, _BANDS) / _BANDS, method="inverted_cdf")
    place = np.searchsorted(edges, scores, side="left")
    bands = []
    for band in np.unique(place):
        inside = place == band
        share = of_share(int(positive[inside].sum()), int(inside.sum()))
        bands.append(
            Band(
                n=int(inside.sum()),
                predicted=float(scores[inside].mean()),
                observed=share.value,
                low=share.low,
                high=share.high,
            )
        )
    return Calibration(predicted=float(scores.mean()), observed=float(positive.mean()), bands=tuple(bands))
