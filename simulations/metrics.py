"""Metrics: score predicted probabilities, and the baseline that ignores the features.

With two classes, the second one of the plan is the positive class of F1, recall, precision and AUC. With more,
those are means over the classes that occur among the labels (AUC: one against the rest). A figure that does not
exist is None ("n/a"), never a guess: the AUC of a site with test records of one class only, for example.

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


def _per_class(score: Callable[..., Any]) -> Callable[[Floats, Labels], float | None]:
    """A score of one class at a time: of the positive class, or the mean over the classes that occur."""

    def measure(scores: Floats, truth: Labels) -> float | None:
        present = np.unique(truth)
        asked = present[present == 1] if scores.shape[1] == 2 else present
        if len(asked) == 0:
            return None
        answers = scores.argmax(axis=1)
        value = float(score(truth, answers, labels=asked, average="macro", zero_division=np.nan))
        return value if np.isfinite(value) else None

    return measure


METRICS: Mapping[str, Callable[[Floats, Labels], float | None]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "auc": _auc,
    "f1": _per_class(oracle.f1_score),
    "recall": _per_class(oracle.recall_score),
    "precision": _per_class(oracle.precision_score),
    "loss": _loss,
}
