"""Metrics: score predicted probabilities, and the baseline that ignores the features.

With two classes, the second one of the plan is the positive class of F1, recall, precision and AUC. A figure that
does not exist is None ("n/a"), never a guess: the AUC of records of one class only, the recall where no record is
positive, the precision where no answer is, F1 = 2 TP / (2 TP + FP + FN) where neither is.

With more classes they are means over classes, each with the same weight. Nothing that went wrong drops out of them:

    recall, AUC      over the classes that occur among the labels: the others have no record to find
    precision, F1    over the classes that occur among labels or answers; a class that is never answered has 0

The records evaluated here are not covered by the epsilon of a run: that is the budget of the training records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import metrics as oracle
from torch import Tensor, nn

from federation.errors import TaskError
from federation.report.report import Metrics

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def predict(model: nn.Module, features: Tensor) -> Tensor:
    """Class probabilities (n, k) of a model of logits. Leaves the model in the mode that it was in."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return torch.softmax(model(features), dim=1)
    finally:
        model.train(training)


def evaluate(probabilities: Tensor, labels: Tensor, metrics: Sequence[str]) -> Metrics:
    """The named metrics of probabilities (n, k) against labels (n,) in [0, k).

    None where a metric is not defined for these labels, where there are none, and where a probability is not
    finite. TaskError for a name that is not in `METRICS`.
    """
    unknown = sorted(set(metrics) - set(METRICS))
    if unknown:
        raise TaskError(f"no such metric: {unknown[0]}", hint=f"one of {', '.join(METRICS)}")
    scores, truth = probabilities.double().numpy(), labels.numpy()
    if len(truth) == 0 or not np.isfinite(scores).all():
        return dict.fromkeys(metrics)
    return {name: METRICS[name](scores, truth) for name in metrics}


def counts(labels: Tensor, classes: int) -> Mapping[str, int | None]:
    """What stands beside exact figures: `n` records, `positives` of them (None for more classes than two).

    Counts of held-out records are for simulations: at a real site they would be a release that nobody paid for.
    """
    return {"n": len(labels), "positives": int((labels == 1).sum()) if classes == 2 else None}


def majority(train_labels: Tensor, test_labels: Tensor, classes: int, metrics: Sequence[str]) -> Metrics:
    """The metrics of always answering with the class frequencies of all training labels, whatever the features.

    The answer is thus the most frequent class (the first of them in a tie).
    """
    counts = torch.bincount(train_labels, minlength=classes).double()
    frequencies = counts / counts.sum()
    return evaluate(frequencies.expand(len(test_labels), classes), test_labels, metrics)


def _loss(scores: Floats, truth: Labels) -> float | None:
    # Rows are made to sum to one again: in float32 they only nearly do.
    rows = scores / scores.sum(axis=1, keepdims=True)
    return float(oracle.log_loss(truth, rows, labels=range(scores.shape[1])))


def _accuracy(scores: Floats, truth: Labels) -> float | None:
    return float(oracle.accuracy_score(truth, scores.argmax(axis=1)))


def _balanced_accuracy(scores: Floats, truth: Labels) -> float | None:
    present = np.unique(truth)
    if len(present) < 2:
        return None
    answers = scores.argmax(axis=1)
    return float(oracle.recall_score(truth, answers, labels=present, average="macro", zero_division=0))


def _auc(scores: Floats, truth: Labels) -> float | None:
    present = np.unique(truth)
    if len(present) < 2:
        return None
    asked = [1] if scores.shape[1] == 2 else present
    return float(np.mean([oracle.roc_auc_score(truth == one, scores[:, one]) for one in asked]))


_Score = Callable[[Floats, Labels], float | None]


def _per_class(score: Callable[..., Any], exists: Callable[[Labels, Labels], Labels]) -> _Score:
    """A score of one class at a time. `exists`: the classes that have one, from the labels and the answers."""

    def measure(scores: Floats, truth: Labels) -> float | None:
        answers = scores.argmax(axis=1)
        asked = exists(truth, answers)
        if scores.shape[1] == 2:
            asked = asked[asked == 1]
        if len(asked) == 0:
            return None
        return float(score(truth, answers, labels=asked, average="macro", zero_division=0))

    return measure


def _precision(scores: Floats, truth: Labels) -> float | None:
    if scores.shape[1] == 2 and not (scores.argmax(axis=1) == 1).any():
        return None
    return _per_class(oracle.precision_score, np.union1d)(scores, truth)


METRICS: Mapping[str, _Score] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "auc": _auc,
    "f1": _per_class(oracle.f1_score, np.union1d),
    "recall": _per_class(oracle.recall_score, lambda truth, _: np.unique(truth)),
    "precision": _precision,
    "loss": _loss,
}
