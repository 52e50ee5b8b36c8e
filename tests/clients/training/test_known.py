"""Code of the user's own that looks at a whole batch, but only where a record is unlike all that are made up."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from clients.training.adapt import adapted
from clients.training.dpsgd import chosen_route, clipped_gradient
from clients.training.evaluating.held_out import figures
from clients.training.isolation import Tally, attempt
from clients.training.known import each, is_known
from clients.training.precision import mixed
from clients.training.screening.screen import try_out
from federation.errors import TaskError
from federation.model.task import Dataset, Task, cross_entropy
from tests.clients.sites import make_data, make_plan

Change = Callable[[Tensor], Tensor]


class Own(nn.Module):
    """A linear model behind something of the user's own."""

    def __init__(self, change: Change = lambda x: x) -> None:
        super().__init__()
        self.layer, self.change = nn.Linear(2, 3), change

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layer(self.change(x))
        return outputs


def swallowing(x: Tensor) -> Tensor:
    try:
        assert x.max() < 9
    except Exception:
        return x - x.mean(dim=0)
    return x


def passing(x: Tensor) -> Tensor:
    try:
        if x.max() > 9:
            return x - x.mean(dim=0)
    except RuntimeError:
        pass
    return x


CHANGES: dict[str, Change] = {
    "scaled by the largest": lambda x: x / x.abs().amax().clamp(min=1) if len(x) else x,
    "where any is large": lambda x: torch.where((x > 9).any(), x - x.sum(dim=0), x),
    "what is over a limit": lambda x: x + torch.relu(x - 5).sum(dim=0),
    "what is negative": lambda x: x + torch.relu(-x - 1).sum(dim=0),
    "nothing times infinity": lambda x: x + 0 * torch.exp(100 * x).sum(dim=0),
    "an assertion that is caught": swallowing,
    "a question whose error is caught": passing,
}


def rare_class(outputs: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(outputs, labels) / (1 + (labels == 2).sum())


IDS = [*CHANGES, "a loss that counts a class", "a loss behind a chain of layers"]
TASKS: list[tuple[Callable[[], nn.Module], Callable[[Tensor, Tensor], Tensor]]] = [
    *((lambda change=change: Own(change), cross_entropy) for change in CHANGES.values()),
    (Own, rare_class),
    (lambda: nn.Sequential(nn.Linear(2, 3)), rare_class),
]


def neighbors() -> tuple[Dataset, Dataset]:
    clean = make_data(24, 1)
    more = torch.cat([torch.tensor([[40.0, -40.0]]), clean.features])
    return clean, Dataset(more, torch.cat([torch.tensor([2]), clean.labels]))


@pytest.mark.parametrize(("model", "loss"), TASKS, ids=IDS)
@pytest.mark.parametrize("unit", ["record", "patient"])
def test_one_record_moves_a_sum_by_no_more_than_itself(
    model: Callable[[], nn.Module], loss: Callable[[Tensor, Tensor], Tensor], unit: str
) -> None:
    """DP-57: also where made-up records cannot show that the code mixes records."""
    made, sums = Task("own", model, loss), []
    try_out(made, make_data(3, 0), make_plan("record"), 24)
    torch.manual_seed(0)
    tried = model().double().train()
    for data in neighbors():
        whose = torch.arange(len(data)) if unit == "patient" else None
        with clipped_gradient(tried, loss, 0.5, 24.0) as gradient:
            sums.append(gradient(data.features.double(), data.labels, whose))
    assert float((sums[1] - sums[0]).norm()) <= 0.5 * (1 + 1e-9)


@pytest.mark.parametrize(("model", "loss"), TASKS, ids=IDS)
def test_one_held_out_record_moves_the_figures_by_no_more_than_itself(
    model: Callable[[], nn.Module], loss: Callable[[Tensor, Tensor], Tensor]
) -> None:
    torch.manual_seed(0)
    task, tried, clean = Task("own", model, loss), model(), neighbors()
    found = [figures(tried, task, data, whole_patients=False) for data in clean]
    assert float((found[1] - found[0]).norm()) <= 2**0.5 + 1e-9


def test_what_is_known_is_a_chain_of_torchs_layers() -> None:
    chain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.ReLU(), nn.Flatten()), nn.Linear(2, 2))
    assert is_known(chain)
    assert not is_known(Own())
    assert not is_known(nn.Sequential(Own(), nn.ReLU()))
    assert not is_known(nn.Sequential(nn.BatchNorm1d(3)))
    chain[0].forward = lambda x: x - x.mean(dim=0)
    assert not is_known(chain)
    hooked = nn.Linear(2, 2)
    hooked.register_forward_hook(lambda _layer, _inputs, output: output - output.mean(dim=0))
    assert not is_known(hooked)
    weighted = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    assert not is_known(weighted)


def test_a_known_chain_keeps_the_fastest_route_also_with_a_loss_of_the_users_own() -> None:
    data = make_data(3, 0)
    features, chain = data.features.double(), nn.Sequential(nn.Linear(2, 3)).double().train()
    assert chosen_route(chain, rare_class, features, data.labels) == "hooks"
    assert chosen_route(Own().double().train(), cross_entropy, features, data.labels) == "functorch"


def test_a_loss_of_each_record_is_what_the_record_gives_alone() -> None:
    outputs, labels = torch.randn(5, 3), torch.tensor([0, 2, 1, 2, 2])
    alone = torch.cat([rare_class(outputs[i : i + 1], labels[i : i + 1]) for i in range(5)])
    assert torch.allclose(each(rare_class)(outputs, labels), alone)
    with pytest.raises(TaskError, match="one number per record"):
        each(lambda x, y: cross_entropy(x, y).mean())(outputs, labels)
    with pytest.raises((IndexError, RuntimeError)):
        each(rare_class)(outputs, labels + 7)


def test_code_that_seeds_or_draws_for_one_record_leaves_the_draws_of_the_next() -> None:
    """Else dropout of all later records would follow from a seed that everybody knows."""
    drawn = []
    for code in (lambda: 1, lambda: torch.manual_seed(0), lambda: torch.rand(5), lambda: 1 / 0):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            attempt(code)
            drawn.append(float(torch.rand(())))
    assert len(set(drawn)) == 1


SETTINGS: dict[str, Callable[[], object]] = {
    "recursion": lambda: sys.setrecursionlimit(200),
    "device": lambda: torch.set_default_device("meta"),
    "warnings": lambda: warnings.simplefilter("error"),
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
    "precision": lambda: torch.set_float32_matmul_precision("medium"),
    "gradients": lambda: torch.set_grad_enabled(False),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_what_one_record_sets_does_not_reach_the_site(name: str) -> None:
    """Else the site's own code fails after it, and that it falls silent tells of the record."""

    def read() -> tuple[object, ...]:
        return (
            sys.getrecursionlimit(),
            torch.get_default_device(),
            list(warnings.filters),
            torch.is_anomaly_enabled(),
            torch.get_float32_matmul_precision(),
            torch.is_grad_enabled(),
        )

    before = read()
    attempt(SETTINGS[name])
    assert read() == before
    assert torch.zeros(2).sum().item() == 0


@pytest.mark.parametrize("batch_first", [True, False])
def test_adapted_attention_takes_an_empty_batch(batch_first: bool) -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=batch_first)
            self.out = nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            inside = self.inner(x if batch_first else x.transpose(0, 1))
            outputs: Tensor = self.out(inside.mean(dim=1 if batch_first else 0))
            return outputs

    like = Dataset(torch.rand(3, 5, 8), torch.tensor([0, 1, 0]))
    task = Task("own", lambda: adapted(Attending()).module, cross_entropy)
    try_out(task, like, make_plan("record"), 24)
    model = task.model().double().train()
    tally = Tally()
    with clipped_gradient(model, cross_entropy, 0.5, 3.0, tally) as gradient:
        assert float(gradient(like.features.double(), like.labels).norm()) > 0
    assert tally.raised == 0


WEIGHT = torch.tensor([1.0, 3.0])


def in_float32(x: Tensor) -> Tensor:
    return functional.one_hot((3 * x[:, 0]).long().clamp(0, 1), 2).float()


@pytest.mark.parametrize(
    ("change", "loss"),
    [
        (None, lambda x, y: functional.cross_entropy(x, y, weight=WEIGHT, reduction="none")),
        (None, nn.CrossEntropyLoss(weight=WEIGHT, reduction="none")),
        (None, lambda x, y: functional.binary_cross_entropy(x[:, 0].sigmoid(), y.float(), reduction="none")),
        (in_float32, cross_entropy),
    ],
)
def test_constants_in_float32_go_with_gradients_in_float64(change: Change | None, loss: Any) -> None:
    def model() -> nn.Module:
        found = Own(change or (lambda x: x))
        found.layer = nn.Linear(2, 2)
        return found if change else nn.Sequential(nn.Linear(2, 2))

    data = make_data(5, 0)
    try_out(Task("own", model, loss), data, make_plan("record"), 24)
    torch.manual_seed(0)
    made, tally = model().double().train(), Tally()
    with clipped_gradient(made, loss, 0.5, 6.0, tally) as gradient:
        found = gradient(data.features.double(), data.labels)
    assert found.dtype == torch.float64
    assert float(found.norm()) > 0
    assert tally.raised == 0


def test_two_kinds_of_floats_are_no_cure_for_other_mistakes() -> None:
    with pytest.raises(RuntimeError), mixed():
        torch.zeros(2, 3) @ torch.zeros(2, 3, dtype=torch.float64)
    with pytest.raises(RuntimeError), mixed():
        torch.zeros(2, 3) @ torch.zeros(3, 2, dtype=torch.int64)
