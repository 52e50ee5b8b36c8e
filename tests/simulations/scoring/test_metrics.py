"""Metrics: worked examples, scikit-learn's own names as oracles, and figures that do not exist."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle
from torch import Tensor, nn

from federation.errors import TaskError
from simulations.scoring.metrics import counts, evaluate, majority, predict

ALL = ["accuracy", "balanced_accuracy", "auc", "f1", "recall", "precision", "loss"]


def binary(*positive: float) -> Tensor:
    return torch.tensor([[1 - p, p] for p in positive])


def scored(seed: int, records: int, classes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.softmax(torch.randn(records, classes, generator=generator), dim=1)
    return probabilities, torch.arange(records) % classes


def test_two_classes_worked_by_hand() -> None:
    # Answers 0 1 1 0 against 0 0 1 1: one of each kind. Of the four (positive, negative) pairs, .8 > .1, .8 > .7
    # and .2 > .1 are in order, .2 < .7 is not.
    found = evaluate(binary(0.1, 0.7, 0.8, 0.2), torch.tensor([0, 0, 1, 1]), ALL)
    assert found.pop("loss") == pytest.approx(0.78548, abs=1e-5)  # (.10536 + 1.20397 + .22314 + 1.60944) / 4
    expected = {
        "accuracy": 0.5,
        "balanced_accuracy": 0.5,
        "auc": 0.75,
        "f1": 0.5,
        "recall": 0.5,
        "precision": 0.5,
    }
    assert found == pytest.approx(expected)


def test_the_second_class_is_the_positive_one() -> None:
    found = evaluate(binary(0.9, 0.9, 0.9, 0.1), torch.tensor([1, 0, 0, 0]), ["recall", "precision"])
    assert found == pytest.approx({"recall": 1.0, "precision": 1 / 3})


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5))
def test_metrics_are_those_of_scikit_learn_where_every_class_occurs(seed: int, classes: int) -> None:
    probabilities, labels = scored(seed, 30, classes)
    truth, answers = labels.numpy(), probabilities.argmax(1).numpy()
    average = "binary" if classes == 2 else "macro"
    scores = torch.softmax(probabilities.double().log(), dim=1).numpy()
    expected = {
        "accuracy": oracle.accuracy_score(truth, answers),
        "balanced_accuracy": oracle.balanced_accuracy_score(truth, answers),
        "auc": oracle.roc_auc_score(truth, scores[:, 1] if classes == 2 else scores, multi_class="ovr"),
        "f1": oracle.f1_score(truth, answers, average=average),
        "recall": oracle.recall_score(truth, answers, average=average),
        "loss": oracle.log_loss(truth, scores),
    }
    assert evaluate(probabilities, labels, list(expected)) == pytest.approx(expected)


def test_records_of_one_class_have_no_auc_and_no_balanced_accuracy() -> None:
    found = evaluate(binary(0.9, 0.8, 0.3), torch.tensor([1, 1, 1]), ALL)
    assert found["auc"] is None
    assert found["balanced_accuracy"] is None
    assert found["recall"] == pytest.approx(2 / 3)


def counted(tp: int, fp: int, fn: int, tn: int) -> tuple[Tensor, Tensor]:
    """Records of two classes with these outcomes."""
    answers = [0.9] * tp + [0.8] * fp + [0.2] * fn + [0.1] * tn
    return binary(*answers), torch.tensor([1] * tp + [0] * fp + [1] * fn + [0] * tn)


def test_twelve_false_positives_and_no_positive_record_are_an_f1_and_a_precision_of_zero() -> None:
    """A site that has only been answered wrongly must not drop out of the mean over sites."""
    found = evaluate(*counted(tp=0, fp=12, fn=0, tn=24), ALL)
    assert found["accuracy"] == pytest.approx(24 / 36)
    assert (found["f1"], found["precision"]) == (0.0, 0.0)
    assert [name for name in ALL if found[name] is None] == ["balanced_accuracy", "auc", "recall"]


@settings(max_examples=200)
@given(*[st.integers(0, 3)] * 4)
def test_each_figure_of_two_classes_is_its_fraction_and_exists_where_the_fraction_does(
    tp: int, fp: int, fn: int, tn: int
) -> None:
    found = evaluate(*counted(tp, fp, fn, tn), ALL)
    fractions = {
        "accuracy": (tp + tn, tp + fp + fn + tn),
        "f1": (2 * tp, 2 * tp + fp + fn),
        "recall": (tp, tp + fn),
        "precision": (tp, tp + fp),
    }
    for name, (part, whole) in fractions.items():
        assert found[name] == (None if whole == 0 else pytest.approx(part / whole)), name
    both = tp + fn > 0 and fp + tn > 0
    assert (found["auc"] is not None) == (found["balanced_accuracy"] is not None) == both
    if both:
        assert found["balanced_accuracy"] == pytest.approx((tp / (tp + fn) + tn / (tn + fp)) / 2)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8))
def test_means_over_classes_are_those_of_scikit_learn_whichever_classes_occur(
    records: list[tuple[int, int]],
) -> None:
    """A class that is answered and never right, or never answered, counts with 0: it cannot drop out."""
    truth, answers = [label for label, _ in records], [answer for _, answer in records]
    found = evaluate(torch.eye(4)[answers] * 0.6 + 0.1, torch.tensor(truth), ALL)
    for name, oracles in {"f1": oracle.f1_score, "precision": oracle.precision_score}.items():
        assert found[name] == pytest.approx(oracles(truth, answers, average="macro", zero_division=0))
    labels = sorted(set(truth))
    mean = oracle.recall_score(truth, answers, labels=labels, average="macro", zero_division=0)
    assert found["recall"] == pytest.approx(mean)
    assert found["balanced_accuracy"] == (pytest.approx(mean) if len(labels) > 1 else None)


def test_records_and_positives_are_counted() -> None:
    found = counts(torch.tensor([1, 0, 1, 1, 0, 0, 0]), 2)
    assert found == {"n": 7, "positives": 3}
    assert {type(value) for value in found.values()} == {int}
    assert counts(torch.tensor([0, 1, 2]), 3) == {"n": 3, "positives": None}
    assert counts(torch.zeros(0, dtype=torch.int64), 2) == {"n": 0, "positives": 0}


def test_no_positive_answer_has_no_precision_but_an_f1_of_zero() -> None:
    assert evaluate(binary(0.1, 0.1), torch.tensor([0, 1]), ["precision", "f1"]) == {
        "precision": None,
        "f1": 0.0,
    }


def test_with_many_classes_those_that_do_not_occur_do_not_count() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.7, 0.2], [0.6, 0.3, 0.1]])
    found = evaluate(probabilities, torch.tensor([0, 1, 1]), ["recall", "balanced_accuracy", "auc"])
    assert found == pytest.approx({"recall": 0.75, "balanced_accuracy": 0.75, "auc": 1.0})


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_no_records_or_diverged_probabilities_have_no_figures(bad: float) -> None:
    nothing = dict.fromkeys(ALL)
    assert evaluate(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), ALL) == nothing
    assert evaluate(binary(bad, 0.5), torch.tensor([0, 1]), ALL) == nothing


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(TaskError, match="no such metric: acuracy; one of accuracy"):
        evaluate(binary(0.5), torch.tensor([0]), ["acuracy"])


def test_the_majority_is_that_of_the_training_labels() -> None:
    train, test = torch.tensor([1, 1, 1, 0]), torch.tensor([0, 0, 0, 1])
    found = majority(train, test, 2, ["accuracy", "balanced_accuracy", "auc", "recall"])
    assert found == pytest.approx({"accuracy": 0.25, "balanced_accuracy": 0.5, "auc": 0.5, "recall": 1.0})


def test_the_majority_of_nothing_has_no_figures() -> None:
    assert majority(torch.zeros(0, dtype=torch.int64), torch.tensor([0]), 2, ["accuracy"]) == {
        "accuracy": None
    }


@pytest.mark.parametrize("training", [True, False])
def test_predictions_are_probabilities_without_dropout_and_leave_the_mode_alone(training: bool) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)).train(training)
    features = torch.linspace(-1, 1, 20).reshape(5, 4)
    first = predict(model, features)
    assert torch.equal(first, predict(model, features))
    assert not first.requires_grad
    torch.testing.assert_close(first.sum(1), torch.ones(5))
    assert model.training is training
