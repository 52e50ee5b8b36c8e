"""Metrics: score predicted probabilities, and the baseline that ignores the features.

With two classes, the second one of the plan is the positive class of F1, recall, precision and AUC. A figure that
does not exist is None ("n/a"), never a guess: the AUC of records of one class only, the recall where no record is
positive, the precision where no answer is, F1 = 2 TP / (2 TP + FP + FN) where neither is.

With more classes they are means over classes, each with the same weight. Nothing that went wrong drops out of them:

    recall, AUC      over the classes that occur among the labels: the others have no record to find
    precision, F1    over the classes that occur among labels or answers; a class that is never answered has 0
    specificity      over the classes beside which other records occur
    gini             2 AUC - 1
    brier            the sum over all classes of a record's squares, 0 to 2; of two classes half of that

KS, calibration and recall_at_K (recall among the K percent of records with the highest scores) need two classes.
A plan's threshold says which score makes an answer the second of two classes; it moves no metric of scores alone.

The records evaluated here are not covered by the epsilon of a run: that is the budget of the training records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from federation.errors import TaskError
from federation.report.figures.scores import Intervals
from federation.report.report import Metrics
from simulations.scoring.intervals import Estimate
from simulations.scoring.measures import MEASURES, Measure, measure_of
from simulations.scoring.scored import Scored


def predict(model: nn.Module, features: Tensor) -> Tensor:
    """Class probabilities (n, k) of a model of logits. Leaves the model in the mode that it was in."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return torch.softmax(model(features), dim=1)
    finally:
        model.train(training)


def evaluate(
    probabilities: Tensor, labels: Tensor, metrics: Sequence[str], threshold: float | None = None
) -> Metrics:
    """The named metrics of probabilities (n, k) against labels (n,) in [0, k).

    None where a metric is not defined for these labels, where there are none, and where a probability is not
    finite. TaskError for a name that is no metric.
    """
    found = estimates(probabilities, labels, metrics, threshold)
    return {name: None if one is None else one.value for name, one in found.items()}


def intervals(
    probabilities: Tensor, labels: Tensor, metrics: Sequence[str], threshold: float | None = None
) -> Intervals:
    """The 95 % interval of each metric (`simulations.scoring.intervals`); None where it has none."""
    found = estimates(probabilities, labels, metrics, threshold)
    return {
        name: None if one is None or one.low is None else (one.low, one.high) for name, one in found.items()
    }


def estimates(
    probabilities: Tensor, labels: Tensor, metrics: Sequence[str], threshold: float | None
) -> Mapping[str, Estimate | None]:
    measures: dict[str, Measure] = {}
    for name in sorted(metrics):
        found = measure_of(name)
        if found is None:
            hint = f"one of {', '.join(MEASURES)}, recall_at_10"
            raise TaskError(f"no such metric: {name}", hint=hint)
        measures[name] = found
    scored = Scored.of(probabilities, labels, threshold)
    return {name: None if scored is None else measures[name](scored) for name in metrics}


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
