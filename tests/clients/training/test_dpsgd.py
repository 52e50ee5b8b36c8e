"""Clipped sums by three routes: against autograd, Opacus and each other; poison, patients, pieces, the choice."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from clients.training import dpsgd
from clients.training import per_example as gradients
from clients.training.adapt import adapted
from clients.training.dpsgd import chosen_route, clipped_gradient
from clients.training.per_example import Unsupported, ghost_bytes, row_bytes
from clients.training.sums import ROUTES, clipped_sums
from federation.errors import TaskError
from federation.model.task import cross_entropy
from privacy.errors import UnsafeParameters

FEATURES, CLASSES = 5, 3
PER_RECORD = ("hooks", "functorch")


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().double().train()


def make_model(seed: int, hidden: int = 4) -> nn.Module:
    return seeded(
        lambda: nn.Sequential(nn.Linear(FEATURES, hidden), nn.Tanh(), nn.Linear(hidden, CLASSES)), seed
    )


def make_batch(size: int, seed: int, shape: tuple[int, ...] = (FEATURES,)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(size, *shape, generator=generator, dtype=torch.float64) * 3
    return features, torch.randint(0, CLASSES, (size,), generator=generator)


def row_of(model: nn.Module, row: Tensor, label: Tensor) -> Tensor:
    """The gradient of one record, by autograd."""
    grads = torch.autograd.grad(cross_entropy(model(row[None]), label[None]).sum(), list(model.parameters()))
    return torch.cat([g.reshape(-1) for g in grads])


def one_by_one(model: nn.Module, features: Tensor, labels: Tensor, norm: float) -> Tensor:
    """The slow twin: one backward pass per record, clipped by hand."""
    total = torch.zeros(sum(p.numel() for p in model.parameters()), dtype=torch.float64)
    for row, label in zip(features, labels, strict=True):
        flat = row_of(model, row, label)
        length = float(flat.norm())
        if math.isfinite(length):
            total += flat * min(1.0, norm / length)
    return total


class Tied(nn.Module):
    """One weight in two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, FEATURES)
        self.second.weight = self.first.weight
        self.out = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.out(torch.tanh(self.second(torch.tanh(self.first(x)))))
        return outputs


class Borrowed(nn.Module):
    """A weight used behind its layer's back, where no hook sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.out(functional.linear(torch.tanh(self.layer(x)), self.layer.weight))
        return outputs


class Twice(nn.Module):
    """One layer, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.out(self.layer(torch.tanh(self.layer(x))))
        return outputs


class Scaled(nn.Module):
    """A layer of somebody's own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 2, FEATURES))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Sequence(nn.Module):
    """A recurrent or attending layer over (n, 4, FEATURES), then a linear one."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.out = layer, nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        found = self.layer(x)
        outputs: Tensor = self.out((found[0] if isinstance(found, tuple) else found)[:, -1])
        return outputs


def one_layer_at_two_places() -> nn.Module:
    layer = nn.Linear(FEATURES, FEATURES)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(FEATURES, CLASSES))


def lstm() -> nn.Module:
    return Sequence(nn.LSTM(FEATURES, 3, batch_first=True), 3)


def attention() -> nn.Module:
    return Sequence(nn.TransformerEncoderLayer(6, 2, 7, dropout=0.0, batch_first=True), 6)


IMAGES = (1, 6, 6)
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[str, ...]]] = {
    "logistic": (lambda: nn.Linear(FEATURES, CLASSES), (FEATURES,), ROUTES),
    "without bias": (lambda: nn.Linear(FEATURES, CLASSES, bias=False), (FEATURES,), ROUTES),
    "hidden layer": (lambda: make_model(0), (FEATURES,), ROUTES),
    "convolution": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Tanh(), nn.Flatten(), nn.Linear(64, CLASSES)
        ),
        IMAGES,
        ROUTES,
    ),
    "circular convolution": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"), nn.Flatten(), nn.Linear(72, CLASSES)
        ),
        IMAGES,
        ("functorch",),  # Opacus's formula overlooks the padding mode
    ),
    "norms": (
        lambda: nn.Sequential(
            nn.LayerNorm(FEATURES), nn.Linear(FEATURES, 8), nn.RMSNorm(8), nn.Linear(8, CLASSES)
        ),
        (FEATURES,),
        ROUTES,
    ),
    "tied": (Tied, (FEATURES,), PER_RECORD),
    "borrowed": (Borrowed, (FEATURES,), ("functorch",)),
    "twice": (Twice, (FEATURES,), PER_RECORD),
    "own layer": (lambda: nn.Sequential(Scaled(), nn.Linear(FEATURES, CLASSES)), (FEATURES,), ("functorch",)),
    "in place": (
        lambda: nn.Sequential(nn.Linear(FEATURES, 6), nn.ReLU(inplace=True), nn.Linear(6, CLASSES)),
        (FEATURES,),
        ("functorch",),
    ),
    "in place, by no more than made-up values": (
        lambda: nn.Sequential(nn.Linear(FEATURES, 6), nn.Hardtanh(inplace=True), nn.Linear(6, CLASSES)),
        (FEATURES,),
        ("functorch",),
    ),
    "one layer at two places": (one_layer_at_two_places, (FEATURES,), PER_RECORD),
    "linear over a sequence": (
        lambda: nn.Sequential(nn.Linear(FEATURES, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, CLASSES)),
        (4, FEATURES),
        PER_RECORD,
    ),
    "recurrent": (lambda: adapted(lstm()).module, (4, FEATURES), ROUTES),
    "attention": (attention, (4, 6), ("functorch",)),
    "attention, adapted": (lambda: adapted(attention()).module, (4, 6), PER_RECORD),
}
RIGHT = [(name, route) for name, (_, _, routes) in MODELS.items() for route in routes]
WRONG = [(name, route) for name, (_, _, routes) in MODELS.items() for route in ROUTES if route not in routes]


def prepared(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    make, shape, _ = MODELS[name]
    return seeded(make), shape


@pytest.mark.parametrize(("name", "route"), RIGHT)
def test_each_route_agrees_with_autograd_taken_one_record_at_a_time(name: str, route: str) -> None:
    """DP-31: ghost == hooks == functorch, each to 1e-10 of the same oracle."""
    model, shape = prepared(name)
    features, labels = make_batch(7, 1, shape)
    longest = max(float(row_of(model, *one).norm()) for one in zip(features, labels, strict=True))
    for norm in (1e-3, longest / 2, 100.0):
        with clipped_sums(route, model, cross_entropy, norm) as gradient:
            found = gradient(features, labels)
        assert torch.allclose(found, one_by_one(model, features, labels, norm), rtol=1e-10, atol=1e-10 * norm)


@pytest.mark.parametrize(("name", "route"), WRONG)
def test_a_route_that_does_not_know_a_model_is_never_taken(
    name: str, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some say that they do not know it, some are wrong in silence: both are found out on made-up records."""
    model, shape = prepared(name)
    features, labels = make_batch(0, 1, shape)
    monkeypatch.setattr(dpsgd, "SMALL", 0)
    monkeypatch.setattr(dpsgd, "_known", {})
    monkeypatch.setattr(dpsgd, "_seconds", lambda _, tried, __: 0.0 if tried == route else 1.0)
    assert chosen_route(model, cross_entropy, features, labels) in MODELS[name][2]


@pytest.mark.parametrize("name", ["tied", "twice"])
def test_ghost_refuses_a_layer_whose_norm_is_no_product(name: str) -> None:
    """By itself, without the trial on made-up records."""
    model, shape = prepared(name)
    with (
        pytest.raises(Unsupported),
        clipped_sums("ghost", model, cross_entropy, 1.0) as gradient,
    ):
        gradient(*make_batch(7, 1, shape))


@pytest.mark.parametrize("length", [4, 7])
def test_a_layer_that_sees_positions_before_records_is_refused(length: int) -> None:
    """By the count of rows, and where there are as many positions as records, by the trial."""

    class PositionsFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(FEATURES, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            outputs: Tensor = torch.tanh(self.layer(x.transpose(0, 1))).mean(dim=0)
            return outputs

    model, (features, labels) = seeded(PositionsFirst), make_batch(7, 1, (length, FEATURES))
    if length != len(labels):
        with gradients.hooks(model, cross_entropy) as per_record, pytest.raises(Unsupported):
            per_record(features, labels)
    assert chosen_route(model, cross_entropy, features, labels) == "functorch"


def test_opacus_says_the_same() -> None:
    """DP-31: against Opacus's own hooks and optimizer. Its clip adds 1e-6 to the norm, hence the tolerance."""
    model, (features, labels) = make_model(3), make_batch(20, 3)
    theirs = GradSampleModule(make_model(3), loss_reduction="sum")
    optimizer = DPOptimizer(
        torch.optim.SGD(theirs.parameters(), lr=0.0),
        noise_multiplier=0.0,
        max_grad_norm=1.5,
        expected_batch_size=None,
        loss_reduction="sum",
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        cross_entropy(theirs(features), labels).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.clip_and_accumulate()
    expected = torch.cat([p.summed_grad.reshape(-1) for p in theirs.parameters()])  # type: ignore[attr-defined]
    with clipped_gradient(model, cross_entropy, 1.5) as gradient:
        assert torch.allclose(gradient(features, labels), expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(0, 12),
    seed=st.integers(0, 1000),
    norm=st.sampled_from([1e-3, 0.1, 1.0, 100.0]),
    route=st.sampled_from(ROUTES),
    at_once=st.integers(1, 5),
)
def test_a_batch_summed_in_pieces_is_the_batch(
    size: int, seed: int, norm: float, route: str, at_once: int
) -> None:
    model, (features, labels) = make_model(seed), make_batch(size, seed)
    one = ghost_bytes(model) if route == "ghost" else row_bytes(model)
    with clipped_sums(route, model, cross_entropy, norm, memory=at_once * one) as gradient:
        found = gradient(features, labels)
    assert torch.allclose(found, one_by_one(model, features, labels, norm), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("route", ROUTES)
def test_no_more_gradients_of_records_exist_at_once_than_fit(
    route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (features, labels) = make_model(0), make_batch(23, 0)
    seen: list[int] = []
    losses_of = gradients.losses_of

    def spied(model: nn.Module, loss: gradients.Loss, features: Tensor, labels: Tensor) -> Tensor:
        seen.append(len(labels))
        return losses_of(model, loss, features, labels)

    monkeypatch.setattr(gradients, "losses_of", spied)
    one = ghost_bytes(model) if route == "ghost" else row_bytes(model)
    assert one == {"ghost": 8 * (FEATURES + 4 + 4 + CLASSES)}.get(route, 8 * 39)
    with clipped_sums(route, model, cross_entropy, 1.0, memory=5 * one + 7) as gradient:
        gradient(features, labels)
    assert seen == ([1] * 5 if route == "functorch" else [5, 5, 5, 5, 3])  # functorch sees batches of one
    if route == "hooks":
        seen.clear()
        with clipped_sums(route, model, cross_entropy, 1.0, memory=10 * one + 7) as gradient:
            gradient(features, labels, torch.arange(23) // 3)
        assert seen == [5, 5, 5, 5, 3]  # half the memory is for the patients' rows


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    norm=st.sampled_from([1e-3, 1.0, 100.0]),
    scale=st.sampled_from([1.0, 1e6, 1e38, 1e200]),
    route=st.sampled_from(ROUTES),
)
def test_one_record_moves_the_sum_by_at_most_the_clipping_norm(
    seed: int, norm: float, scale: float, route: str
) -> None:
    model, (features, labels) = make_model(seed), make_batch(6, seed)
    features[-1] *= scale
    with clipped_sums(route, model, cross_entropy, norm) as gradient:
        moved = gradient(features, labels) - gradient(features[:-1], labels[:-1])
    assert float(moved.norm()) <= norm * (1 + 1e-9)


@pytest.mark.parametrize("route", PER_RECORD)
def test_a_sequence_whose_terms_cancel_is_still_clipped_to_the_norm(route: str) -> None:
    """Its norm, taken from a Gram matrix, would be lost to rounding, and with it the bound: ghost must refuse."""

    class Canceling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            signs = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
            return (self.layer(x) * signs[:, None]).sum(dim=1)

    model = seeded(Canceling)
    features = torch.tensor([[[1e9, 3e9], [1e9, 3e9], [40.0, -70.0]]], dtype=torch.float64)
    labels = torch.tensor([0])
    bare = row_of(model, features[0], labels[0])
    assert 1 < float(bare.norm()) < 200  # of the terms' 1e9 nothing is left
    with clipped_sums(route, model, cross_entropy, 1.0) as gradient:
        assert float(gradient(features, labels).norm()) <= 1 + 1e-9
    with clipped_sums("ghost", model, cross_entropy, 1.0) as gradient, pytest.raises(Unsupported):
        gradient(features, labels)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf, 1e38, 1e308])
@pytest.mark.parametrize("route", ROUTES)
def test_a_poisoned_record_contributes_zero_and_harms_no_other(route: str, poison: float) -> None:
    """DP-14: what is not finite contributes zero, what is merely huge a clipped gradient; nobody else is moved."""
    model, (features, labels) = make_model(0), make_batch(6, 0)
    features[2, 1] = poison
    others = torch.arange(6) != 2
    with clipped_sums(route, model, cross_entropy, 1.0) as gradient:
        poisoned, clean = gradient(features, labels), gradient(features[others], labels[others])
    assert bool(torch.isfinite(poisoned).all())
    assert float((poisoned - clean).norm()) <= 1.0 + 1e-9
    if not math.isfinite(poison):
        assert torch.allclose(poisoned, clean, rtol=1e-12)


@pytest.mark.parametrize("route", ROUTES)
def test_a_batch_of_nothing_but_poison_sums_to_zero(route: str) -> None:
    """DP-14"""
    model, (features, labels) = make_model(0), make_batch(4, 0)
    with clipped_sums(route, model, cross_entropy, 1.0) as gradient:
        assert not bool(gradient(features * math.nan, labels).any())


@pytest.mark.parametrize("route", ROUTES)
def test_a_gradient_of_zero_stays_zero(route: str) -> None:
    """DP-15: no division by the length of nothing."""
    model, (features, labels) = make_model(0), make_batch(5, 0)

    def indifferent(outputs: Tensor, labels: Tensor) -> Tensor:
        return 0.0 * cross_entropy(outputs, labels)

    with clipped_sums(route, model, indifferent, 1.0) as gradient:
        total = gradient(features, labels)
    assert bool((total == 0).all())


@pytest.mark.parametrize("norm", [0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize("route", [None, *ROUTES])
def test_a_clipping_norm_that_bounds_nothing_is_refused(norm: float, route: str | None) -> None:
    """DP-16"""
    model, (features, labels) = make_model(0), make_batch(5, 0)
    context = (
        clipped_gradient(model, cross_entropy, norm)
        if route is None
        else clipped_sums(route, model, cross_entropy, norm)
    )
    with pytest.raises(UnsafeParameters, match="clipping norm"), context as gradient:
        gradient(features, labels)


@pytest.mark.parametrize("route", [None, *ROUTES])
def test_an_empty_batch_sums_to_zero(route: str | None) -> None:
    """DP-17: in every mode."""
    model = make_model(0)
    context = (
        clipped_gradient(model, cross_entropy, 1.0)
        if route is None
        else clipped_sums(route, model, cross_entropy, 1.0)
    )
    with context as gradient:
        total = gradient(torch.zeros(0, FEATURES, dtype=torch.float64), torch.zeros(0, dtype=torch.int64))
    assert total.shape == (sum(p.numel() for p in model.parameters()),)
    assert not bool(total.any())


def test_a_second_call_starts_from_nothing() -> None:
    model, (features, labels) = make_model(0), make_batch(6, 0)
    with clipped_gradient(model, cross_entropy, 1.0) as gradient:
        first = gradient(features, labels)
        assert torch.equal(gradient(features, labels), first)


# Patients.


@settings(max_examples=30, deadline=None)
@given(
    whose=st.lists(st.integers(0, 4), min_size=1, max_size=14),
    seed=st.integers(0, 99),
    norm=st.sampled_from([0.1, 2.0, 100.0]),
    route=st.sampled_from(PER_RECORD),
    at_once=st.integers(1, 6),
    poisoned=st.integers(-1, 13),
)
def test_a_patients_gradients_are_added_up_and_clipped_as_one(
    whose: list[int], seed: int, norm: float, route: str, at_once: int, poisoned: int
) -> None:
    """DP-27: in whatever order and pieces the records come; a broken record is left out, not its patient."""
    model, (features, labels) = make_model(seed), make_batch(len(whose), seed)
    if 0 <= poisoned < len(whose):
        features[poisoned] = math.nan
    patients = torch.tensor(whose)
    expected = torch.zeros(row_bytes(model) // 8, dtype=torch.float64)
    for patient in set(whose):
        rows = [
            row_of(model, features[i], labels[i])
            for i in range(len(whose))
            if whose[i] == patient and i != poisoned
        ]
        total = sum(rows, torch.zeros_like(expected))
        expected += total * min(1.0, norm / max(float(total.norm()), 1e-300))
    memory = 2 * at_once * row_bytes(model)
    with clipped_sums(route, model, cross_entropy, norm, memory=memory) as gradient:
        assert torch.allclose(gradient(features, labels, patients), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("copies", [1, 2, 50])
def test_a_record_entered_many_times_over_moves_the_sum_by_one_clipping_norm(copies: int) -> None:
    """DP-27: the control protects records, and the patient moves the sum by as many norms as there are copies."""
    model, (features, labels) = make_model(0), make_batch(10, 0)
    many = torch.cat([torch.arange(10), torch.full((copies,), 9)])
    patients = torch.cat([torch.arange(10), torch.full((copies,), 9)])
    norm = 0.01
    with clipped_gradient(model, cross_entropy, norm) as gradient:
        without = gradient(features[:9], labels[:9], patients[:9])
        moved = gradient(features[many], labels[many], patients) - without
        control = gradient(features[many], labels[many]) - gradient(features[:9], labels[:9])
    assert float(moved.norm()) == pytest.approx(norm)
    assert float(control.norm()) == pytest.approx(norm * (copies + 1))


def test_ghost_does_not_do_patients_and_is_not_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (features, labels) = make_model(0), make_batch(4, 0)
    with clipped_sums("ghost", model, cross_entropy, 1.0) as gradient, pytest.raises(Unsupported):
        gradient(features, labels, torch.arange(4))
    monkeypatch.setattr(dpsgd, "SMALL", 0)
    monkeypatch.setattr(dpsgd, "_known", {})
    monkeypatch.setattr(dpsgd, "_seconds", lambda _, route, __: 0.0 if route == "ghost" else 1.0)
    assert chosen_route(model, cross_entropy, features, labels) == "ghost"
    assert chosen_route(model, cross_entropy, features, labels, whole_patients=True) in PER_RECORD


# What is left behind.


def traces(model: nn.Module) -> dict[str, object]:
    """All that anything could hang on to: attributes and hooks of modules, attributes of parameters."""
    return {
        **{f"{name}:{id(part)}": sorted(vars(part)) for name, part in model.named_modules()},
        "hooks": [
            len(vars(part)[hooks]) for part in model.modules() for hooks in vars(part) if "_hooks" in hooks
        ],
        "parameters": [sorted(vars(p)) for p in model.parameters()],
        "gradients": [p.grad for p in model.parameters()],
        "trained": [p.requires_grad for p in model.parameters()],
        "identity": [id(p) for p in model.parameters()],
    }


class Interrupting(nn.Module):
    """Stops in the middle of a pass, forward or backward, when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = make_model(0)
        self.error: list[BaseException] = []
        self.backward: list[BaseException] = []

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.inner[:2](x)  # type: ignore[index]
        if self.backward and hidden.requires_grad:
            hidden.register_hook(self._raise)
        outputs: Tensor = self.inner[2](hidden)  # type: ignore[index]
        if self.error:
            raise self.error[0]
        return outputs

    def _raise(self, _: Tensor) -> None:
        raise self.backward[0]


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt(), SystemExit()])
@pytest.mark.parametrize(
    ("route", "where"),
    # Inside torch.func no tensor hook can stop the backward pass.
    [*((route, "error") for route in ROUTES), ("hooks", "backward"), ("ghost", "backward")],
)
def test_the_model_leaves_as_it_came_wherever_it_was_interrupted(
    route: str, error: BaseException, where: str
) -> None:
    """DP-25: no hook, no gradient and no record stays; the next batch is not mixed with this one."""
    model, (features, labels) = Interrupting().double().train(), make_batch(6, 0)
    before = traces(model)
    with (
        pytest.raises(type(error)),
        clipped_sums(route, model, cross_entropy, 1.0) as gradient,
    ):
        gradient(features, labels)
        getattr(model, where).append(error)
        gradient(features, labels)
    getattr(model, where).clear()
    assert traces(model) == before
    with clipped_sums(route, model, cross_entropy, 1.0) as gradient:
        found = gradient(features[:2], labels[:2])
    assert torch.allclose(found, one_by_one(model, features[:2], labels[:2], 1.0), rtol=1e-9)


@pytest.mark.parametrize("route", ROUTES)
def test_within_one_context_an_error_does_not_spill_into_the_next_batch(route: str) -> None:
    """DP-25"""
    model, (features, labels) = make_model(0), make_batch(6, 0)
    with clipped_sums(route, model, cross_entropy, 1.0) as gradient:
        with pytest.raises(RuntimeError):
            gradient(features[:, :2], labels)
        found = gradient(features, labels)
    assert torch.allclose(found, one_by_one(model, features, labels, 1.0), rtol=1e-9)


def test_the_choice_leaves_the_model_and_torchs_generator_alone() -> None:
    model, (features, labels) = (
        seeded(lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(FEATURES, CLASSES))),
        make_batch(0, 0),
    )
    before, state = traces(model), torch.get_rng_state()
    dpsgd._known.clear()
    chosen_route(model, cross_entropy, features, labels)
    assert traces(model) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training


# The choice.


class Mixing(nn.Module):
    """Ways to let one record see another, none of which is on a list of layers."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.layer = how, nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        ways = {
            "mean": lambda: x - x.mean(dim=0),
            "batch norm": lambda: functional.batch_norm(x, None, None, training=True),
            "cumulative": lambda: x.cumsum(dim=0),
            "backwards": lambda: x.flip(0).cumsum(dim=0).flip(0),
            "count": lambda: x / len(x),
            "rank": lambda: x.argsort(dim=0).to(x.dtype) + x,
            "in training": lambda: x - x.mean(dim=0) if self.training else x,
            "backwards in training": lambda: x.flip(0).cumsum(dim=0).flip(0) if self.training else x,
        }
        outputs: Tensor = self.layer(ways[self.how]())
        return outputs


WAYS = [
    "mean",
    "batch norm",
    "cumulative",
    "backwards",
    "count",
    "rank",
    "in training",
    "backwards in training",
]


@pytest.mark.parametrize("how", WAYS)
def test_a_model_that_mixes_records_is_found_out_whatever_its_layers_are_called(how: str) -> None:
    """DP-22: before a record is looked at."""
    model, (features, labels) = seeded(lambda: Mixing(how)), make_batch(6, 0)
    with (
        pytest.raises(TaskError, match="mixes the records"),
        clipped_gradient(model, cross_entropy, 1.0) as gradient,
    ):
        gradient(features, labels)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (functional.cross_entropy, "not one number per record"),
        (lambda outputs, labels: cross_entropy(outputs, labels)[:, None], "not one number per record"),
        (lambda outputs, labels: cross_entropy(outputs, labels) / len(labels), "mixes the records"),
        (
            lambda outputs, labels: cross_entropy(outputs, labels) * labels.double().mean(),
            "mixes the records",
        ),
    ],
)
def test_a_loss_that_mixes_records_is_found_out(loss: gradients.Loss, message: str) -> None:
    model, (features, labels) = make_model(0), make_batch(6, 0)
    with pytest.raises(TaskError, match=message), clipped_gradient(model, loss, 1.0) as gradient:
        gradient(features, labels)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("route", ["hooks", "functorch"])
def test_the_word_that_pads_learns_nothing_also_where_no_made_up_record_has_it(
    route: str, tied: bool
) -> None:
    def make() -> nn.Module:
        words, other = nn.Embedding(9, 4, padding_idx=5), nn.Linear(4, 9)
        if tied:
            other.weight = words.weight
        return nn.Sequential(words, other, nn.Tanh(), nn.Flatten(), nn.Linear(27, CLASSES))

    model = seeded(make)
    words, labels = torch.tensor([[5, 0, 1], [2, 5, 5], [8, 5, 3], [4, 6, 7]]), torch.tensor([0, 1, 2, 0])
    with clipped_sums(route, model, cross_entropy, 0.1) as gradient:
        found = gradient(words, labels)
    assert torch.allclose(found, one_by_one(model, words, labels, 0.1), rtol=1e-10, atol=1e-11)


class Recomputed(nn.Module):
    """As memory is saved in large models; torch has no `vmap` of it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(FEATURES, 5), nn.Tanh())
        self.outer = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.outer(checkpoint(self.inner, x, use_reentrant=False))
        return outputs


def test_what_no_batch_can_compute_goes_one_record_at_a_time() -> None:
    model, (features, labels) = seeded(Recomputed), make_batch(6, 0)
    assert chosen_route(model, cross_entropy, features, labels) == "alone"
    with clipped_gradient(model, cross_entropy, 0.1) as gradient:
        found = gradient(features, labels)
    assert torch.allclose(found, one_by_one(model, features, labels, 0.1), rtol=1e-10, atol=1e-11)


class Remembering(nn.Module):
    """Keeps the least value that it has seen below 0; made-up values never are."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, CLASSES)
        self.least = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        self.least = torch.minimum(self.least, torch.cat([x.detach().reshape(-1), x.new_zeros(1)]).amin())
        outputs: Tensor = self.layer(x - self.least)
        return outputs


def test_what_code_keeps_of_a_record_is_gone_before_the_next() -> None:
    model, (features, labels) = seeded(Remembering), make_batch(6, 0)
    route = chosen_route(model, cross_entropy, features, labels)
    own = [row_of(model, *one) for one in zip(features, labels, strict=True)]
    model.least = torch.zeros(())
    with clipped_sums(route, model, cross_entropy, 1e9, memory=1) as gradient:
        found = gradient(features, labels)
    fresh = [row_of(seeded(Remembering), *one) for one in zip(features, labels, strict=True)]
    assert torch.allclose(found, torch.stack(fresh).sum(0), rtol=1e-10, atol=1e-10)
    assert not torch.allclose(found, torch.stack(own).sum(0))  # as it would be, were it kept


def test_a_recurrent_layer_that_nothing_can_take_apart_names_the_way_out() -> None:
    model, (features, labels) = seeded(lstm), make_batch(6, 0, (4, FEATURES))
    with (
        pytest.raises(TaskError, match=r"adapted\(model\).module"),
        clipped_gradient(model, cross_entropy, 1.0) as gradient,
    ):
        gradient(features, labels)


def test_a_model_that_fails_does_so_on_made_up_records() -> None:
    class Picky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(FEATURES, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            assert float(x.min()) >= 0, f"a value of {float(x.min())}"
            return torch.nn.functional.linear(x[:, :2], self.layer.weight)

    features, labels = make_batch(6, 0)
    with (
        pytest.raises(TaskError, match="made-up records") as raised,
        clipped_gradient(seeded(Picky), cross_entropy, 1.0) as gradient,
    ):
        gradient(features, labels)
    assert str(float(features.min())) not in str(raised.value)


@pytest.mark.parametrize("route", ROUTES)
def test_dropout_is_drawn_and_what_was_measured_is_what_is_summed(route: str) -> None:
    """With one pass, a record's mask is the same for its norm and for its part of the sum: never over the norm."""
    model = seeded(lambda: nn.Sequential(nn.Linear(FEATURES, 32), nn.Dropout(0.5), nn.Linear(32, CLASSES)))
    features, labels = make_batch(1, 0)
    with torch.random.fork_rng(), clipped_sums(route, model, cross_entropy, 0.5) as gradient:
        torch.manual_seed(1)
        found = [gradient(features, labels) for _ in range(20)]
    assert all(float(one.norm()) == pytest.approx(0.5) for one in found)  # a batch of one, clipped
    assert len({tuple(one.tolist()) for one in found}) == 20
    assert chosen_route(model, cross_entropy, features, labels) == "hooks"


@pytest.mark.parametrize("route", PER_RECORD)
def test_every_record_has_dropout_of_its_own(route: str) -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(FEATURES, 32), nn.Dropout(0.5), nn.Linear(32, CLASSES)))
    features, labels = make_batch(1, 0)
    opened = {"hooks": gradients.hooks, "functorch": gradients.functorch}[route]
    with torch.random.fork_rng(), opened(model, cross_entropy) as per_record:
        torch.manual_seed(1)
        rows = torch.cat(
            [part.flatten(1) for part in per_record(features.repeat(9, 1), labels.repeat(9))], dim=1
        )
    assert len(torch.unique(rows, dim=0)) == 9


def test_small_models_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (features, labels) = make_model(0), make_batch(6, 0)

    def measured(*_: object) -> float:
        raise AssertionError

    monkeypatch.setattr(dpsgd, "_known", {})
    monkeypatch.setattr(dpsgd, "_seconds", measured)
    assert chosen_route(model, cross_entropy, features, labels) == "hooks"


def test_large_models_are_measured_once_on_made_up_records_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time and memory that real records took would tell of them."""
    batches: list[int] = []
    seconds = dpsgd._seconds

    def counted(trial: dpsgd._Trial, route: str, batch: int) -> float:
        batches.append(batch)
        return seconds(trial, route, batch)

    monkeypatch.setattr(dpsgd, "_known", {})
    monkeypatch.setattr(dpsgd, "_seconds", counted)
    model, (features, labels) = make_model(0, hidden=600), make_batch(9, 0)
    assert sum(p.numel() for p in model.parameters()) > dpsgd.SMALL
    # These records would make the loss raise, and the trial fail.
    first = chosen_route(model, cross_entropy, features + math.nan, labels + 100, 30.5)
    assert first in ROUTES
    assert batches == [31] * len(ROUTES)
    again = make_model(1, hidden=600)
    assert chosen_route(again, cross_entropy, features, labels, 30.5) == first
    assert len(batches) == len(ROUTES)  # remembered for the kind of model, not for the one object
    chosen_route(make_model(1, hidden=601), cross_entropy, features, labels, 30.5)
    assert len(batches) == 2 * len(ROUTES)


def test_a_plain_setting_makes_another_kind_of_model() -> None:
    quiet, loud = seeded(lambda: Mixing("mean")), seeded(lambda: Mixing("count"))
    assert dpsgd._kind(quiet) != dpsgd._kind(loud)
    assert dpsgd._kind(make_model(0)) == dpsgd._kind(make_model(1))
