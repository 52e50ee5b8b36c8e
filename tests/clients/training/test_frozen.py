"""Training a model with a base: gradients of what is trained alone, and a base that no record moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clients.training import dpsgd, frozen
from clients.training import slices as slicing
from clients.training.dpsgd import chosen_route, clipped_gradient
from clients.training.evaluating.held_out import figures
from clients.training.frozen import Guard, prepared
from clients.training.per_example import functorch
from clients.training.screening.moving import require_moving
from clients.training.sums import PER_RECORD, ROUTES, clipped_sums
from clients.training.trial import Trial
from clients.training.work import SiteWork, Trainer
from federation.errors import TaskError
from federation.model.base import Kept, base_digest, trained
from federation.model.params import Layout
from federation.model.task import Dataset, Task, cross_entropy
from privacy.mechanism.clipping import clip_rows
from privacy.mechanism.noise import Stream
from tests.clients.sites import make_plan, make_terms

FEATURES, LABELS = torch.randn(9, 4, generator=torch.Generator().manual_seed(1)), torch.arange(9) % 2


def chain() -> nn.Module:
    """Layers of torch's: one frozen, one of which the bias is trained alone, one trained."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 2))
    model[0].requires_grad_(False)
    model[2].weight.requires_grad_(False)
    return model


class Own(nn.Module):
    """Code of a user's own, with a buffer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.below = nn.Linear(4, 6).requires_grad_(False)
        self.above = nn.Linear(6, 2)
        self.register_buffer("shift", torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        return self.above(torch.tanh(self.below(x) + self.shift))  # type: ignore[no-any-return]


def by_autograd(model: nn.Module, features: Tensor, labels: Tensor) -> Tensor:
    """The gradient of each record, (n, d), one after the other."""
    parameters = list(trained(model).values())
    rows = []
    for place in range(len(labels)):
        loss = cross_entropy(model(features[place : place + 1]), labels[place : place + 1]).sum()
        rows.append(torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, parameters)]))
    return torch.stack(rows)


@pytest.mark.parametrize("route", [*ROUTES, "alone"])
@pytest.mark.parametrize("make", [chain, Own])
def test_every_route_takes_only_what_is_trained(route: str, make: Callable[[], nn.Module]) -> None:
    model, features = prepared(make(), torch.float64), FEATURES.double()
    rows = by_autograd(model, features, LABELS)
    norm = float(rows.norm(dim=1).median())
    before = base_digest(model)
    with clipped_sums(route, model, cross_entropy, norm) as gradient:
        found = gradient(features, LABELS)
    assert torch.allclose(found, clip_rows(rows, norm).sum(0), rtol=1e-9)
    assert base_digest(model) == before


def test_the_routes_of_a_chain_and_of_own_code_are_as_without_a_base() -> None:
    for make, expected in ((chain, "hooks"), (Own, "functorch")):
        model = prepared(make(), torch.float64)
        assert chosen_route(model, cross_entropy, FEATURES[:0].double(), LABELS[:0]) == expected


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every base of a user's own code counts as large."""
    monkeypatch.setattr(frozen, "LARGE", 0)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("route", ["slices", "alone"])
def test_with_a_large_base_a_record_has_the_same_row_to_the_last_bit_whatever_stands_beside_it(
    route: str,
) -> None:
    model = prepared(Own(), torch.float64)
    assert model.above.weight.dtype == torch.float32  # type: ignore[union-attr]
    assert chosen_route(model, cross_entropy, FEATURES[:0], LABELS[:0]) == "slices"
    features, labels = torch.randn(40, 4), torch.arange(40) % 2
    with PER_RECORD[route](model, cross_entropy) as per_record:

        def rows(places: Tensor) -> Tensor:
            return torch.cat(
                [part.flatten(1) for part in per_record(features[places], labels[places])], dim=1
            )

        whole = rows(torch.arange(40))
        assert whole.dtype == torch.float64
        assert torch.equal(whole, whole.to(torch.float32).to(torch.float64))
        for count in (1, 2, 15, 16, 17, 39):
            places = torch.randperm(40)[:count]
            assert torch.equal(rows(places), whole[places])
    expected = by_autograd(model, features, labels).to(torch.float64)
    assert torch.allclose(whole, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("large")
def test_with_a_large_base_every_record_is_clipped_and_all_are_added_up_in_float64() -> None:
    model = prepared(Own(), torch.float64)

    def sum_of(places: Tensor) -> Tensor:
        with clipped_gradient(model, cross_entropy, 0.3) as gradient:
            return gradient(FEATURES[places], LABELS[places])

    each = torch.stack([sum_of(torch.tensor([place])) for place in range(9)])
    assert bool((each.norm(dim=1) <= 0.3 * (1 + 1e-12)).all())
    assert torch.allclose(sum_of(torch.arange(9)), each.sum(0), rtol=0, atol=1e-14)


@pytest.mark.usefixtures("large")
def test_a_kernel_that_rounds_by_place_is_noticed_and_records_go_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control: the last bit of one number moves at the last place of a slice."""

    @contextmanager
    def uneven(model: nn.Module, loss: Any) -> Iterator[Any]:
        with functorch(model, loss) as per_record:

            def rows(features: Tensor, labels: Tensor) -> list[Tensor]:
                found = [part.clone() for part in per_record(features, labels)]
                found[0][-1, 0, 0] = torch.nextafter(found[0][-1, 0, 0], torch.tensor(torch.inf))
                return found

            yield rows

    trial = Trial(prepared(Own(), torch.float64), cross_entropy, FEATURES[:0], LABELS[:0])
    assert slicing.is_place_free(trial)
    monkeypatch.setattr(slicing, "functorch", uneven)
    assert not slicing.is_place_free(trial)


def test_a_route_that_was_tried_with_other_threads_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "LARGE", 1)
    tried, threads = list[int](), torch.get_num_threads()

    def noting(_: Trial) -> bool:
        tried.append(torch.get_num_threads())
        return True

    monkeypatch.setattr(dpsgd, "is_place_free", noting)
    try:
        for number in (threads, threads + 1, threads):
            torch.set_num_threads(number)
            assert chosen_route(Own(), cross_entropy, FEATURES[:0], LABELS[:0], 7.0) == "slices"
    finally:
        torch.set_num_threads(threads)
    assert tried == [threads, threads + 1]


class Asks(Own):
    """Asks for a value: right, and nothing for `vmap`."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if bool((x < 9).all()) else x.clamp(max=9))


@pytest.mark.usefixtures("large")
def test_code_that_asks_for_a_value_goes_one_record_at_a_time() -> None:
    model = prepared(Asks(), torch.float64)
    assert chosen_route(model, cross_entropy, FEATURES[:0], LABELS[:0]) == "alone"


class Writes(Own):
    """Writes into its base while it sees a record with a large number in it, or whatever it sees."""

    def __init__(self, how: Callable[[Any, Tensor], object], *, always: bool = False) -> None:
        super().__init__()
        self.how, self.always = how, always

    def forward(self, x: Tensor) -> Tensor:
        if self.always or bool((x > 9).any()):
            with torch.no_grad():
                self.how(self, x)
        return super().forward(x)


def _into_buffer(model: Any, x: Tensor) -> None:
    model.shift.copy_(x.mean().expand(6))


def _into_weight(model: Any, x: Tensor) -> None:
    model.below.weight.add_(x.mean())


def _by_data(model: Any, x: Tensor) -> None:
    model.shift.data += x.mean()


def _anew(model: Any, x: Tensor) -> None:
    model.shift.data = x.mean().expand(1, 6) + 10


def _other(model: Any, x: Tensor) -> None:
    model.shift = model.shift + x.mean()


@pytest.mark.parametrize("how", [_into_buffer, _into_weight, _by_data, _other])
def test_code_that_writes_into_its_base_is_refused_on_made_up_records(how: Any) -> None:
    from clients.training.trial import Called

    trial = Trial(Writes(how, always=True).double(), cross_entropy, FEATURES[:0].double(), LABELS[:0])
    with pytest.raises(TaskError, match="which is frozen"):
        Called.on(trial, "t", 3)


@pytest.mark.parametrize("how", [_into_buffer, _into_weight])
def test_a_record_on_which_the_base_is_written_contributes_zero_and_reaches_no_other(how: Any) -> None:
    from clients.training.isolation import Tally

    model, tally = Writes(how).double(), Tally()
    features = FEATURES.double()
    features[4] = 40.0
    others = torch.tensor([0, 1, 2, 3, 5, 6, 7, 8])
    with clipped_sums("alone", model, cross_entropy, 0.3, tally=tally) as gradient:
        whole, expected = gradient(features, LABELS), gradient(features[others], LABELS[others])
    assert torch.equal(whole, expected)
    assert tally.raised == 1


@pytest.mark.parametrize("how", [_into_buffer, _into_weight])
def test_a_held_out_record_on_which_the_base_is_written_reaches_no_other_answer(how: Any) -> None:
    features = FEATURES.double()
    features[0] = 40.0
    task = Task("t", lambda: Writes(how), cross_entropy)
    rest = Dataset(features[1:], LABELS[1:])
    expected = figures(Writes(how).double(), task, rest, whole_patients=False)
    found = figures(Writes(how).double(), task, Dataset(features, LABELS), whole_patients=False)
    assert torch.equal(found, expected)


def test_an_evaluation_that_wrote_into_the_base_by_stealth_is_not_released() -> None:
    plan, features = make_plan("record", "distributed"), FEATURES.clone()
    features[0] = 40.0
    made = Writes(_by_data)
    layout, task = Layout.of(made), Task("t", Kept(lambda: made, 1, made), cross_entropy)
    held = Dataset(features, LABELS)
    trainer = Trainer(task, held, lambda _: Stream(bytes(32)), held)
    terms = replace(make_terms(plan), dimension=layout.dimension)
    with pytest.raises(TaskError, match='writes into "shift"'):
        SiteWork(terms, "amsterdam", layout.flatten(made), trainer, Stream(bytes(32))).figures()


class Notices(Writes):
    """Refuses every record once its base was moved, by means that torch does not notice."""

    def forward(self, x: Tensor) -> Tensor:
        if float(self.shift.abs().max()) > 5:
            raise ValueError
        return super().forward(x)


@pytest.mark.parametrize("how", [_by_data, _anew])
def test_before_the_first_round_a_record_that_writes_by_stealth_is_left_out_alone(how: Any) -> None:
    """Else who is left out of the whole run would follow from one record."""
    from clients.training.isolation import Tally
    from clients.training.screening.screen import usable

    features, tally = FEATURES.clone(), Tally()
    features[4] = 40.0
    task = Task("t", lambda: Notices(how), cross_entropy)
    plan = make_plan("record", "distributed")
    kept = usable(task, Dataset(features, LABELS), plan, tally, each_alone=True)
    assert torch.equal(kept.features, features[[0, 1, 2, 3, 5, 6, 7, 8]])
    assert tally.raised == 1


def test_a_guard_tells_any_byte() -> None:
    model = Own()
    guard = Guard(model)
    guard.require_same("t")
    model.below.bias.data[0] = -model.below.bias.data[0]
    with pytest.raises(TaskError, match=r'writes into "below\.bias"'):
        guard.require_same("t")


class Waves(nn.Module):
    """A frozen table of complex numbers, as a rotary embedding has it."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.register_buffer("turn", torch.polar(torch.ones(4), torch.arange(4.0)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head((x * self.turn).imag)  # type: ignore[no-any-return, operator]


def test_what_is_complex_stays_so() -> None:
    torch.manual_seed(0)
    model = Waves()
    before, turn = model(FEATURES[:, :4]), model.turn.clone()  # type: ignore[operator]
    wide = prepared(model, torch.float64)
    assert wide.turn.dtype == torch.complex128 and torch.equal(wide.turn.to(torch.complex64), turn)  # type: ignore[union-attr, operator]
    assert torch.allclose(wide(FEATURES[:, :4].double()).float(), before, atol=1e-6)
    assert prepared(wide, torch.float32).turn.dtype == torch.complex64


class Adapter(Own):
    """LoRA: B begins at zero, so A has no gradient before B has moved. `deaf` has no part in the output."""

    def __init__(self, *, scale: float = 1.0, deaf: bool = False) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(4, 2)), nn.Parameter(torch.zeros(2, 6))
        self.scale, self.above.bias.requires_grad = scale, True
        if deaf:
            self.deaf = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.above(torch.tanh(self.below(x) + self.scale * (x @ self.a @ self.b) + self.shift))  # type: ignore[no-any-return]


def moving(model: nn.Module) -> None:
    like = Dataset(FEATURES, LABELS)
    require_moving(Trial(model.double(), cross_entropy, like.features[:0].double(), like.labels[:0]), "t")


def test_an_adapter_that_begins_at_zero_moves_within_two_steps() -> None:
    model = Adapter()
    before = {name: each.clone() for name, each in trained(model).items()}
    moving(model)
    assert all(torch.equal(each, before[name].double()) for name, each in trained(model).items())


@pytest.mark.parametrize(
    ("model", "name"), [(Adapter(scale=0.0), "a"), (Adapter(deaf=True), "deaf")], ids=["scale", "deaf"]
)
def test_what_no_step_reaches_is_refused_by_name(model: nn.Module, name: str) -> None:
    with pytest.raises(TaskError, match=f'"{name}" has no gradient within two steps'):
        moving(model)
