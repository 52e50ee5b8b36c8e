"""Layers that privacy cannot use, and what takes their place: the same outputs, or a stated difference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from clients.training.adapt import GROUP, Adapted, adapted
from federation.errors import TaskError
from federation.model.params import Layout


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """Made, with every parameter drawn, also those that start at 0 and 1."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.5)
        return model


def some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def first(outputs: Tensor | tuple[Tensor, ...]) -> Tensor:
    return outputs[0] if isinstance(outputs, tuple) else outputs


RECURRENT = [
    (kind, settings)
    for kind in (nn.GRU, nn.LSTM, nn.RNN)
    for settings in (
        {},
        {"batch_first": True},
        {"num_layers": 2, "bidirectional": True},
        {"bias": False},
    )
]


@pytest.mark.parametrize(("kind", "settings"), [*RECURRENT, (nn.RNN, {"nonlinearity": "relu"})])
def test_a_recurrent_layer_computes_what_it_did(kind: type[nn.Module], settings: dict[str, object]) -> None:
    before = seeded(lambda: kind(5, 4, **settings))
    after = adapted(before)
    x = some(3, 7, 5)
    assert torch.allclose(before(x)[0], after.module(x)[0], atol=1e-6)
    for one, other in zip(before(x)[1], after.module(x)[1], strict=True):  # states as well
        assert torch.allclose(one, other, atol=1e-6)
    assert after.changes[0].before.startswith(kind.__name__)
    assert after.changes[0].after == f"DP{kind.__name__}"
    assert sum(p.numel() for p in after.module.parameters()) == sum(p.numel() for p in before.parameters())


ATTENTION: list[dict[str, object]] = [{}, {"bias": False}, {"add_bias_kv": True}, {"add_zero_attn": True}]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("settings", ATTENTION)
@pytest.mark.parametrize("heads", [1, 4])
def test_attention_computes_what_it_did(batch_first: bool, settings: dict[str, object], heads: int) -> None:
    before = seeded(lambda: nn.MultiheadAttention(8, heads, batch_first=batch_first, **settings))
    query, key, value = some(3, 5, 8), some(3, 5, 8, seed=1), some(3, 5, 8, seed=2)
    hidden = torch.zeros((3, 5) if batch_first else (5, 3), dtype=torch.bool)
    hidden[1, 0] = True
    after = adapted(before).module
    for mask in (None, hidden):
        expected = before(query, key, value, key_padding_mask=mask)
        found = after(query, key, value, key_padding_mask=mask)
        assert torch.allclose(found[0], expected[0], atol=1e-6)
        assert torch.allclose(found[1], expected[1], atol=1e-6)


def test_a_transformer_keeps_its_outputs_through_the_layer_inside() -> None:
    before = seeded(lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True))
    after = adapted(before)
    assert torch.allclose(before(some(3, 5, 8)), after.module(some(3, 5, 8)), atol=1e-5)
    assert [change.path for change in after.changes] == ["self_attn"]


@pytest.mark.parametrize("features", [4, 5, 7, 8, 10, 16, 20, 32, 33, 64, 512, 1000])
def test_no_batch_norm_becomes_a_group_norm_that_forgets_its_input(features: int) -> None:
    """DP-23: a group of one feature puts out zeros, of two nothing but signs. The control is Opacus's choice."""
    layer = adapted(nn.BatchNorm1d(features)).module
    assert isinstance(layer, nn.GroupNorm)
    assert features // layer.num_groups >= min(features, GROUP)
    x = some(50, features)
    with torch.no_grad():
        outputs = layer(x)
    assert 0.9 < float(outputs.std()) < 1.1
    assert len(torch.unique((outputs.abs() * 1e3).round())) > 20
    if features == 32:
        with torch.no_grad():
            control = nn.GroupNorm(32, 32)(x)  # gcd(32, features) groups
        assert float(control.abs().max()) < 1e-3


@pytest.mark.parametrize(
    ("before", "shape"),
    [
        (lambda: nn.BatchNorm1d(16), (6, 16)),
        (lambda: nn.BatchNorm1d(16), (6, 16, 5)),
        (lambda: nn.BatchNorm2d(16), (6, 16, 5, 5)),
        (lambda: nn.BatchNorm2d(1), (6, 1, 5, 5)),
        (lambda: nn.BatchNorm3d(12, affine=False), (6, 12, 3, 3, 3)),
        (lambda: nn.SyncBatchNorm(16), (6, 16, 5)),
        (lambda: nn.BatchNorm1d(16, track_running_stats=False), (6, 16)),
        (lambda: nn.BatchNorm1d(16).eval().requires_grad_(False), (6, 16)),
        (lambda: nn.InstanceNorm2d(16, affine=True, track_running_stats=True), (6, 16, 5, 5)),
        (lambda: nn.InstanceNorm1d(16, track_running_stats=True), (6, 16, 5)),
    ],
)
def test_after_adapting_no_record_sees_another_and_no_buffer_is_left(
    before: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    """DP-22"""
    model = adapted(before()).module
    x = some(*shape)
    whole = model(x)
    assert torch.allclose(whole[:2], model(x[:2]), atol=1e-5)
    assert whole.shape == x.shape
    assert model(x[:0]).shape == (0, *shape[1:])
    assert list(model.buffers()) == []


def test_scale_and_shift_are_copied() -> None:
    before = seeded(lambda: nn.BatchNorm2d(16))
    after = adapted(before).module
    assert torch.equal(after.weight, before.weight)
    assert torch.equal(after.bias, before.bias)


def test_instance_norm_computes_in_training_what_it_did() -> None:
    before = seeded(lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True))
    x = some(3, 4, 5, 5)
    assert torch.allclose(adapted(before).module(x), before(x), atol=1e-6)


@pytest.mark.parametrize("features", [1, 2, 3])
def test_too_few_features_for_a_norm_are_refused_and_named(features: int) -> None:
    """DP-23"""
    with pytest.raises(TaskError, match='BatchNorm1d at "1" has'):
        adapted(nn.Sequential(nn.Linear(4, features), nn.BatchNorm1d(features)))


def test_a_model_without_shapes_yet_is_refused() -> None:
    with pytest.raises(TaskError, match="without a shape; do not use lazy"):
        adapted(nn.Sequential(nn.LazyBatchNorm2d()))


def test_a_projected_lstm_is_refused_and_named() -> None:
    with pytest.raises(TaskError, match='LSTM at "0" has projections'):
        adapted(nn.Sequential(nn.LSTM(4, 8, proj_size=2)))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU())
        self.norm = nn.BatchNorm1d(16)
        self.again = self.norm
        self.out = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.out(self.again(self.norm(self.body(x))))
        return outputs


def test_every_change_is_listed_in_a_line_and_the_callers_model_is_left_alone() -> None:
    before = Net()
    text = repr(before)
    state = {name: tensor.clone() for name, tensor in before.state_dict().items()}
    found = adapted(before)
    assert isinstance(found, Adapted)
    assert [change.path for change in found.changes] == ["body.1", "norm"]
    for change in found.changes:
        line = str(change)
        assert "\n" not in line
        assert line.startswith(f"{change.path}: BatchNorm1d(16, ")
        assert "-> GroupNorm(2, 16, " in line
        assert "of one record over 8 features" in line
    assert repr(before) == text
    assert all(torch.equal(tensor, state[name]) for name, tensor in before.state_dict().items())
    assert found.module.get_submodule("norm") is found.module.get_submodule("again")  # one layer stays one
    Layout.of(found.module)  # and may travel


def test_the_refusal_of_a_layer_names_the_way_out_which_then_works() -> None:
    """DP-22"""
    for model in (Net(), nn.Sequential(nn.InstanceNorm1d(4, track_running_stats=True), nn.Linear(4, 2))):
        with pytest.raises(TaskError, match=r"return adapted\(model\).module, from clients.training.adapt"):
            Layout.of(model)
        Layout.of(adapted(model).module)


def test_a_model_that_needs_nothing_is_copied_and_nothing_is_listed() -> None:
    before = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.InstanceNorm1d(4))
    found = adapted(before)
    assert found.changes == ()
    assert found.module is not before
    assert torch.equal(found.module[0].weight, before[0].weight)


def test_double_precision_and_evaluation_stay_what_they_were() -> None:
    after = adapted(nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16)).double().eval()).module
    assert not after[1].training
    assert after[1].weight.dtype == torch.float64
