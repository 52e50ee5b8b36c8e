"""The losses are torch's, a person's loss is the sum of their intervals, and slopes are what autograd finds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from federation.model.losses import Hazards, Huber, Poisson, Single, Squared
from federation.model.task import build_task, is_built_in
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
