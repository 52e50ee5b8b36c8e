"""How well an attack tells those who were in the data from the others: exact figures, with intervals of 95 %.

    tpr_at_fpr   of those in the data, the share that is accused where at most this share of the others is; the
                 interval is that of Clopper and Pearson (1934) for the threshold that was found
    advantage    TPR - FPR of an attack that accuses the surer half; Newcombe's interval (1998). The largest
                 difference over all thresholds would be above 0 for blind guessing, too
    auc          the chance to be surer of one in the data than of another; Newcombe's interval (2006)

The intervals take units to be independent, which the scores of one model are not. So they are for reading, and no
verdict rests on them (`simulations.attacking.verdict`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from scipy.special import betaincinv

from privacy.accounting.risks.figures import FALSE_ALARMS
from simulations.attacking.models import Floats
from simulations.attacking.people import Bits
from simulations.scoring.intervals import Estimate, of_auc, of_difference, of_share

_ERROR: Final = 0.05
_PLACES = 60  # of a curve


class Hits(NamedTuple):
    """At a rate of false alarms: how many are accused rightly, and wrongly; the share, and its interval."""

    right: int
    wrong: int
    share: Estimate


class Point(NamedTuple):
    """A place of a ROC curve."""

    fpr: float
    tpr: float
    low: float
    high: float


@dataclass(frozen=True)
class Found:
    """What an attack found among so many `members`, and `others`."""

    members: int
    others: int
    hits: dict[float, Hits]
    advantage: Estimate
    auc: Estimate
    roc: tuple[Point, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "auc": self.auc._asdict(),
            "advantage": self.advantage._asdict(),
            "tpr_at_fpr": {
                f"{rate:g}": {**at.share._asdict(), "hits": at.right, "false_alarms": at.wrong}
                for rate, at in self.hits.items()
            },
            "roc": [list(point) for point in self.roc],
        }


def found(scores: Floats, within: Bits) -> Found:
    """The figures of one attack: any number of scores, and who was in."""
    inside, outside = np.sort(scores[within]), np.sort(scores[~within])
    members, others = len(inside), len(outside)
    half = float(np.median(scores))
    surer = of_share(_above(inside, half), members), of_share(_above(outside, half), others)
    return Found(
        members,
        others,
        {rate: _hits(inside, outside, _allowed(rate, others)) for rate in FALSE_ALARMS},
        of_difference(*surer),
        of_auc(_auc(inside, outside), members, others),
        _roc(inside, outside),
    )


def exact_share(hits: int, of: int, error: float = _ERROR) -> Estimate:
    """A share with the interval of Clopper and Pearson.

    >>> [round(x, 4) for x in exact_share(0, 100)], [round(x, 4) for x in exact_share(5, 100)]
    ([0.0, 0.0, 0.0362], [0.05, 0.0164, 0.1128])
    """
    low = float(betaincinv(hits, of - hits + 1, error / 2)) if hits else 0.0
    high = float(betaincinv(hits + 1, of - hits, 1 - error / 2)) if hits < of else 1.0
    return Estimate(hits / of, low, high)


def _allowed(rate: float, others: int) -> int:
    return math.floor(rate * others + 1e-9)


def _hits(inside: Floats, outside: Floats, allowed: int) -> Hits:
    """Where at most so many others are accused."""
    threshold = float(outside[len(outside) - 1 - allowed])  # whoever is surer than this is accused
    right = _above(inside, threshold)
    return Hits(right, _above(outside, threshold), exact_share(right, len(inside)))


def _roc(inside: Floats, outside: Floats) -> tuple[Point, ...]:
    """At rates of false alarms that lie evenly on a logarithmic scale, from the least that can be seen."""
    others = len(outside)
    counts = sorted({_allowed(float(rate), others) for rate in np.geomspace(1 / others, 1.0, _PLACES)})
    points = (
        Point(count / others, *_hits(inside, outside, count).share)  # type: ignore[arg-type]
        for count in counts
        if count < others
    )
    return (*points, Point(1.0, 1.0, 1.0, 1.0))


def _auc(inside: Floats, outside: Floats) -> float:
    """Ties count half."""
    below = np.searchsorted(outside, inside, side="left").sum()
    equal = np.searchsorted(outside, inside, side="right").sum() - below
    return float((below + equal / 2) / (len(inside) * len(outside)))


def _above(ordered: Floats, threshold: float) -> int:
    return len(ordered) - int(np.searchsorted(ordered, threshold, side="right"))
