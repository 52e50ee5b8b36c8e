"""The losses are torch's, a person's loss is the sum of their intervals, and slopes are what autograd finds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from federation.model.losses import Hazards, Hinge, Huber, Poisson, Single, Squared
from federation.model.task import build_task, cross_entropy, is_built_in
from tests.outcomes import KINDS
from tests.plans import Changes, plan_of

OUTPUTS = torch.linspace(-3, 3, 9, dtype=torch.float64)
LABELS = torch.tensor([0.0, 1, 0.5, -1, 2, 7, 0, 0.25, 3], dtype=torch.float64)
PAIRS = torch.stack([LABELS.abs(), torch.arange(1, 10, dtype=torch.float64)], dim=1)


def test_numbers_are_learned_by_torchs_losses() -> None:
    column = OUTPUTS[:, None]
    assert torch.allclose(Squared()(column, LABELS), functional.mse_loss(OUTPUTS, LABELS, reduction="none"))
    huber = functional.huber_loss(OUTPUTS, LABELS, reduction="none", delta=0.7)
    assert torch.allclose(Huber(0.7)(column, LABELS), huber)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_margins_are_learned_by_torchs_hinge_loss_of_many_classes(classes: int) -> None:
    outputs = 2 * torch.randn(40, classes, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    labels = torch.arange(40) % classes
    ours, theirs = outputs.clone().requires_grad_(), outputs.clone().requires_grad_()
    found = Hinge()(ours, labels)
    expected = functional.multi_margin_loss(theirs, labels, reduction="none")
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-15)
    assert len(found.unique()) > 9
    found.square().sum().backward()  # type: ignore[no-untyped-call]
    expected.square().sum().backward()  # type: ignore[no-untyped-call]
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-12, atol=1e-15)


def test_the_loss_of_two_classes_is_torchs_binary_cross_entropy_with_logits() -> None:
    """So "bce" in a plan asks for what there is."""
    loss = build_task(plan_of({"task.loss": "bce"})).loss
    outputs, labels = torch.randn(9, 2, generator=torch.Generator().manual_seed(1)), torch.arange(9) % 2
    expected = functional.binary_cross_entropy_with_logits(
        outputs[:, 1] - outputs[:, 0], labels.float(), reduction="none"
    )
    assert torch.allclose(loss(outputs, labels), expected, atol=1e-6)


def test_a_plan_says_which_loss_classes_are_learned_by() -> None:
    assert build_task(plan_of()).loss is cross_entropy
    assert build_task(plan_of({"task.loss": "hinge"})).loss == Hinge()
    assert is_built_in(build_task(plan_of({"task.loss": "hinge"})))


def test_counts_are_learned_by_torchs_poisson_loss_with_the_exposure_as_an_offset() -> None:
    plain = functional.poisson_nll_loss(OUTPUTS, LABELS, reduction="none")
    assert torch.allclose(Poisson()(OUTPUTS[:, None], LABELS), plain)
    counts, exposures = PAIRS.unbind(dim=1)
    offset = functional.poisson_nll_loss(OUTPUTS + exposures.log(), counts, reduction="none")
    found = Poisson()(OUTPUTS[:, None], PAIRS) - counts * exposures.log()
    assert torch.allclose(found, offset)


@pytest.mark.parametrize(
    ("loss", "labels"),
    [(Squared(), LABELS), (Huber(0.7), LABELS), (Poisson(), LABELS), (Poisson(), PAIRS)],
    ids=["squared", "huber", "counts", "rates"],
)
def test_the_slope_is_what_autograd_finds(loss: Single, labels: Tensor) -> None:
    outputs = OUTPUTS.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(outputs[:, None], labels).sum(), outputs)
    assert torch.allclose(loss.slope(OUTPUTS, labels), expected)


@pytest.mark.parametrize("label", range(9))
def test_a_persons_loss_is_the_sum_over_the_intervals_that_they_were_seen_in(label: int) -> None:
    """Of a logistic regression with one row for each interval: 0 where they came through, 1 for the event."""
    bins, (through, event) = 4, divmod(label, 2)
    logits = torch.tensor([0.3, -2.0, 1.5, 40.0], dtype=torch.float64)
    answers = [0.0] * through + [1.0] * event
    terms = functional.binary_cross_entropy_with_logits(
        logits[: len(answers)], torch.tensor(answers, dtype=torch.float64), reduction="sum"
    )
    assert len(answers) <= bins
    found = Hazards()(logits[None], torch.tensor([label]))
    assert found.shape == (1,)
    assert torch.allclose(found, terms[None])


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("model", ["first", "mlp"])
def test_a_task_of_every_kind_is_ours_and_has_its_outputs(kind: Changes, model: str) -> None:
    task = kind["task"]
    assert isinstance(task, dict)
    plan = plan_of({**kind, "task": task | ({} if model == "first" else {"model": model})})
    built = build_task(plan)
    assert is_built_in(built)
    assert built.model()(torch.zeros(3, 5)).shape == (3, built.predicts.outputs)
