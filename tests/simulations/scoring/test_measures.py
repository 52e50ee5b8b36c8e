"""Metrics of rare outcomes: scikit-learn and SciPy as oracles, worked examples, and a threshold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from sklearn import metrics as oracle
from torch import Tensor

from federation.errors import TaskError
from federation.plan.measures import KNOWN, is_known
from simulations.scoring.measures import measure_of
from simulations.scoring.metrics import evaluate, intervals


def binary(*positive: float) -> Tensor:
    return torch.tensor([[1 - p, p] for p in positive], dtype=torch.float64)


def rare(seed: int, records: int = 60) -> tuple[Tensor, Tensor]:
    """About 11 % positives; some scores are the same."""
    made = np.random.default_rng(seed)  # noqa: TID251  made-up records
    truth = (made.random(records) < 0.11).astype(np.int64)
    truth[0], truth[1] = 0, 1
    return binary(*np.round(made.random(records) * 0.6 + 0.2 * truth, 1)), torch.from_numpy(truth)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([None, 0.1, 0.3, 0.5]))
def test_metrics_of_two_classes_are_those_of_others(seed: int, threshold: float | None) -> None:
    probabilities, labels = rare(seed)
    scores, truth = probabilities[:, 1].numpy(), labels.numpy()
    answers = scores > 0.5 if threshold is None else scores >= threshold
    expected = {
        "gini": 2 * oracle.roc_auc_score(truth, scores) - 1,
        "ks": ks_2samp(scores[truth == 1], scores[truth == 0]).statistic,
        "brier": oracle.brier_score_loss(truth, scores),
        "calibration": scores.mean() - truth.mean(),
        "specificity": oracle.recall_score(truth, answers, pos_label=0),
        "recall": oracle.recall_score(truth, answers),
        "accuracy": oracle.accuracy_score(truth, answers),
        "balanced_accuracy": oracle.balanced_accuracy_score(truth, answers),
    }
    assert evaluate(probabilities, labels, list(expected), threshold) == pytest.approx(expected)


def test_a_score_at_the_threshold_is_the_second_class_and_scores_alone_do_not_move() -> None:
    records = binary(0.1, 0.25, 0.25, 0.9), torch.tensor([0, 1, 0, 1])
    assert evaluate(*records, ["recall"], 0.25) == {"recall": 1.0}
    assert evaluate(*records, ["recall"], 0.26) == {"recall": 0.5}
    names = ["auc", "loss", "brier", "ks", "gini", "calibration", "recall_at_50"]
    assert evaluate(*records, names, 0.01) == evaluate(*records, names, 0.99) == evaluate(*records, names)
    with pytest.raises(TaskError, match="two classes"):
        evaluate(torch.eye(3), torch.arange(3), ["accuracy"], 0.5)


def test_recall_at_k_rounds_the_records_up_and_shares_a_tie_at_the_edge() -> None:
    scores, labels = binary(0.9, 0.8, 0.8, 0.8, 0.1), torch.tensor([1, 1, 0, 0, 1])
    found = evaluate(
        scores, labels, ["recall_at_1", "recall_at_20", "recall_at_40", "recall_at_41", "recall_at_80"]
    )
    third = (1 + 1 / 3) / 3
    assert found == pytest.approx(
        {"recall_at_1": 1 / 3, "recall_at_20": 1 / 3, "recall_at_40": third, "recall_at_41": (1 + 2 / 3) / 3}
        | {"recall_at_80": 2 / 3}
    )
    assert evaluate(scores[:1], torch.tensor([0]), ["recall_at_10"]) == {"recall_at_10": None}


def test_the_brier_score_of_many_classes_is_the_sum_of_their_squares() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.2, 0.6]], dtype=torch.float64)
    labels = torch.tensor([0, 1])
    assert evaluate(probabilities, labels, ["brier"])["brier"] == pytest.approx(
        (0.09 + 0.04 + 0.01 + 0.04 + 0.64 + 0.36) / 2
    )


def test_specificity_of_many_classes_is_over_those_beside_which_others_occur() -> None:
    probabilities = torch.eye(3)[[0, 0, 1]]
    found = evaluate(probabilities, torch.tensor([0, 1, 1]), ["specificity"])
    assert found["specificity"] == pytest.approx((1 / 2 + 1 + 1) / 3)  # of classes 0, 1, and 2 that none has


def test_every_name_that_a_plan_may_ask_for_is_measured_and_no_other() -> None:
    names = [
        *KNOWN,
        *(f"recall_at_{percent}" for percent in range(101)),
        "recall_at_010",
        "recall_at_",
        "aucs",
    ]
    for name in names:
        assert is_known(name) == (measure_of(name) is not None), name


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 3]))
def test_an_interval_holds_its_metric_and_stays_on_its_scale(seed: int, classes: int) -> None:
    made = np.random.default_rng(seed)  # noqa: TID251  made-up records
    probabilities = torch.from_numpy(made.dirichlet(np.ones(classes), 40))
    labels = torch.from_numpy(made.integers(0, classes, 40))
    names = [name for name in KNOWN if classes == 2 or name not in ("ks", "calibration", "recall_at_10")]
    values, found = evaluate(probabilities, labels, names), intervals(probabilities, labels, names)
    for name in names:
        of, value = found[name], values[name]
        assert (of is None) == (value is None), name
        if of is not None and value is not None:
            low, high = of
            assert low is not None and high is not None
            assert low <= value <= high and low < high, name
            least = {"gini": -1.0, "calibration": -1.0}.get(name, 0.0)
            assert low >= least and high <= {"loss": math.inf, "brier": 2.0}.get(name, 1.0), name


def test_a_metric_of_two_classes_is_none_for_many() -> None:
    found = evaluate(torch.eye(3), torch.arange(3), ["ks", "calibration", "recall_at_10"])
    assert set(found.values()) == {None}
