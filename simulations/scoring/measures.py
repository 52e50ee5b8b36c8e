"""The metrics by name, each with its interval; None where one does not exist."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulations.scoring import intervals
from simulations.scoring.intervals import Estimate, of_mean, of_mean_of, of_share
from simulations.scoring.scored import Labels, Scored

Measure = Callable[[Scored], Estimate | None]
_RECALL_AT: Final = re.compile(r"recall_at_([1-9][0-9]?)")
_TINY: Final = float(np.finfo(np.float64).eps)  # the least probability of what happened: a loss is at most 36


def measure_of(name: str) -> Measure | None:
    """What a name means; None if it means nothing."""
    if found := _RECALL_AT.fullmatch(name):
        percent = int(found[1])
        return lambda scored: _recall_at(scored, percent)
    return MEASURES.get(name)


def _accuracy(scored: Scored) -> Estimate | None:
    return of_share(int((scored.answers == scored.truth).sum()), len(scored.truth))


def _balanced_accuracy(scored: Scored) -> Estimate | None:
    present = np.unique(scored.truth)
    return None if len(present) < 2 else of_mean_of([_found(scored, int(one)) for one in present])


def _auc(scored: Scored) -> Estimate | None:
    present = np.unique(scored.truth)
    if len(present) < 2:
        return None
    return of_mean_of([_one_auc(scored, one) for one in scored.asked(lambda _: present)])


def _one_auc(scored: Scored, one: int) -> Estimate:
    """The chance that a record of the class is scored above one of another; half of it where both are the same."""
    is_one = scored.truth == one
    _, place, counts = np.unique(scored.scores[:, one], return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    positives, negatives = int(is_one.sum()), int((~is_one).sum())
    above = float(ranks[is_one].sum()) - positives * (positives + 1) / 2
    return intervals.of_auc(above / positives / negatives, positives, negatives)


def _gini(scored: Scored) -> Estimate | None:
    auc = _auc(scored)
    return None if auc is None else intervals.of_gini(auc)


def _per_class(one: Callable[[Scored, int], Estimate], occurs: Callable[[Scored], Labels]) -> Measure:
    """The mean over the classes that `occurs` names; of two classes, the second alone."""

    def measure(scored: Scored) -> Estimate | None:
        asked = scored.asked(occurs)
        return of_mean_of([one(scored, each) for each in asked]) if asked else None

    return measure


def _found(scored: Scored, one: int) -> Estimate:
    is_one = scored.truth == one
    return of_share(int((scored.answers[is_one] == one).sum()), int(is_one.sum()))


def _spared(scored: Scored, one: int) -> Estimate:
    is_other = scored.truth != one
    return of_share(int((scored.answers[is_other] != one).sum()), int(is_other.sum()))


def _right(scored: Scored, one: int) -> Estimate:
    answered = scored.answers == one
    if not answered.any():
        return Estimate(
            0.0, 0.0, 1.0
        )  # of many classes: one that is never answered has 0, and nothing is known
    return of_share(int((scored.truth[answered] == one).sum()), int(answered.sum()))


def _f1(scored: Scored, one: int) -> Estimate:
    truth, answered = scored.truth == one, scored.answers == one
    return intervals.of_f1(int((truth & answered).sum()), int((truth ^ answered).sum()))


def _in_labels(scored: Scored) -> Labels:
    return np.unique(scored.truth)


def _in_either(scored: Scored) -> Labels:
    return np.union1d(scored.truth, scored.answers)


def _with_others(scored: Scored) -> Labels:
    """The classes beside which there are other records."""
    present = np.unique(scored.truth)
    return np.array([one for one in range(scored.classes) if (present != one).any()], np.int64)


def _precision(scored: Scored) -> Estimate | None:
    if scored.classes == 2 and not (scored.answers == 1).any():
        return None
    return _per_class(_right, _in_either)(scored)


def _loss(scored: Scored) -> Estimate | None:
    happened = scored.scores[np.arange(len(scored.truth)), scored.truth]
    return of_mean(-np.log(np.clip(happened, _TINY, 1.0)), least=0.0)


def _brier(scored: Scored) -> Estimate | None:
    """Of two classes the square of how far the second's score is off; of more the sum of the squares of all."""
    if scored.classes == 2:
        return of_mean((scored.scores[:, 1] - (scored.truth == 1)) ** 2, 0.0, 1.0)
    happened = np.arange(scored.classes) == scored.truth[:, None]
    return of_mean(((scored.scores - happened) ** 2).sum(axis=1), 0.0, 2.0)


def _calibration(scored: Scored) -> Estimate | None:
    """Mean score less the share of positives: below 0 the model says too little."""
    return None if scored.classes != 2 else of_mean(scored.scores[:, 1] - (scored.truth == 1), -1.0, 1.0)


def _ks(scored: Scored) -> Estimate | None:
    """The largest distance between the score's distributions in the two classes, and its interval at that score."""
    if scored.classes != 2 or len(np.unique(scored.truth)) < 2:
        return None
    _, place = np.unique(scored.scores[:, 1], return_inverse=True)
    positive = np.bincount(place[scored.truth == 1], minlength=place.max() + 1).cumsum()
    negative = np.bincount(place[scored.truth == 0], minlength=place.max() + 1).cumsum()
    apart = negative / negative[-1] - positive / positive[-1]
    best = int(np.abs(apart).argmax())
    parts = [of_share(int(one[best]), int(one[-1])) for one in (negative, positive)]
    more, less = parts if apart[best] >= 0 else parts[::-1]
    found = intervals.of_difference(more, less)
    return found._replace(low=max(0.0, found.low or 0.0))


def _recall_at(scored: Scored, percent: int) -> Estimate | None:
    """How many of the positives are among so many percent of all records, those with the highest scores.

    The number of records is rounded up. Of records with the same score at the edge a share counts: what is to be
    expected of a draw among them.
    """
    positives = int((scored.truth == 1).sum())
    if scored.classes != 2 or not positives:
        return None
    scores, top = scored.scores[:, 1], math.ceil(len(scored.truth) * percent / 100)
    edge = np.partition(scores, len(scores) - top)[len(scores) - top]
    above, same = scores > edge, scores == edge
    drawn = (top - int(above.sum())) / int(same.sum())
    is_positive: NDArray[np.bool_] = scored.truth == 1
    hits = int((above & is_positive).sum()) + drawn * int((same & is_positive).sum())
    return of_share(hits, positives)


MEASURES: Final[Mapping[str, Measure]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "auc": _auc,
    "gini": _gini,
    "ks": _ks,
    "f1": _per_class(_f1, _in_either),
    "recall": _per_class(_found, _in_labels),
    "specificity": _per_class(_spared, _with_others),
    "precision": _precision,
    "loss": _loss,
    "brier": _brier,
    "calibration": _calibration,
}
