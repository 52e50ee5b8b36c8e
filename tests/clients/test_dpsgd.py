from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from clients.dpsgd import clipped_gradient
from federation.task import cross_entropy

FEATURES, CLASSES = 5, 3


def make_model(seed: int, hidden: int = 4) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return (
            nn.Sequential(nn.Linear(FEATURES, hidden), nn.Tanh(), nn.Linear(hidden, CLASSES)).double().train()
        )


def make_batch(size: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(size, FEATURES, generator=generator, dtype=torch.float64) * 3
    return features, torch.randint(0, CLASSES, (size,), generator=generator)


def one_by_one(model: nn.Module, features: Tensor, labels: Tensor, norm: float) -> Tensor:
    """The slow twin: one backward pass per record, clipped by hand."""
    parameters = list(model.parameters())
    total = torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64)
    for row, label in zip(features, labels, strict=True):
        loss = cross_entropy(model(row[None]), label[None]).sum()
        flat = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, parameters)])
        length = float(flat.norm())
        if math.isfinite(length):
            total += flat * min(1.0, norm / (length + 1e-6))
    return total


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 12), seed=st.integers(0, 1000), norm=st.sampled_from([1e-3, 0.1, 1.0, 100.0]))
def test_the_sum_is_that_of_gradients_taken_and_clipped_one_by_one(size: int, seed: int, norm: float) -> None:
    model, (features, labels) = make_model(seed), make_batch(size, seed)
    expected = one_by_one(model, features, labels, norm)
    with clipped_gradient(model, cross_entropy, norm) as gradient:
        assert torch.allclose(gradient(features, labels), expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    norm=st.sampled_from([1e-3, 1.0, 100.0]),
    scale=st.sampled_from([1.0, 1e6, 1e200]),
)
def test_one_record_moves_the_sum_by_at_most_the_clipping_norm(seed: int, norm: float, scale: float) -> None:
    model, (features, labels) = make_model(seed), make_batch(6, seed)
    features[-1] *= scale
    with clipped_gradient(model, cross_entropy, norm) as gradient:
        moved = gradient(features, labels) - gradient(features[:-1], labels[:-1])
    assert float(moved.norm()) <= norm * (1 + 1e-9)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf, 1e308])
def test_a_poisoned_record_contributes_zero_and_harms_no_other(poison: float) -> None:
    model, (features, labels) = make_model(0), make_batch(6, 0)
    features[2, 1] = poison
    others = torch.arange(6) != 2
    with clipped_gradient(model, cross_entropy, 1.0) as gradient:
        poisoned, clean = gradient(features, labels), gradient(features[others], labels[others])
    assert bool(torch.isfinite(poisoned).all())
    assert float((poisoned - clean).norm()) <= 1.0 + 1e-9
    if not math.isfinite(poison):
        assert torch.allclose(poisoned, clean, rtol=1e-12)


def test_an_empty_batch_sums_to_zero() -> None:
    model = make_model(0)
    with clipped_gradient(model, cross_entropy, 1.0) as gradient:
        total = gradient(torch.zeros(0, FEATURES, dtype=torch.float64), torch.zeros(0, dtype=torch.int64))
    assert total.shape == (sum(p.numel() for p in model.parameters()),)
    assert not bool(total.any())


def test_a_second_call_starts_from_nothing() -> None:
    model, (features, labels) = make_model(0), make_batch(6, 0)
    with clipped_gradient(model, cross_entropy, 1.0) as gradient:
        first = gradient(features, labels)
        assert torch.equal(gradient(features, labels), first)


def test_the_model_leaves_as_it_came_even_after_an_error() -> None:
    model, (features, labels) = make_model(0), make_batch(6, 0)
    before = {name for p in model.parameters() for name in vars(p)}
    with pytest.raises(RuntimeError), clipped_gradient(model, cross_entropy, 1.0) as gradient:
        gradient(features, labels)
        gradient(features[:, :2], labels)
    assert {name for p in model.parameters() for name in vars(p)} == before
    assert all(not part._forward_hooks and not part._backward_hooks for part in model.modules())
    assert all(p.grad is None for p in model.parameters())
    with clipped_gradient(model, cross_entropy, 1.0) as gradient:  # not "hooks added twice"
        gradient(features, labels)


def test_the_loss_of_a_batch_of_one_is_enough_for_opacus() -> None:
    model, (features, labels) = make_model(3), make_batch(1, 3)
    with clipped_gradient(model, cross_entropy, 1e9) as gradient:
        total = gradient(features, labels)
    loss = cross_entropy(model(features), labels).sum()
    plain = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(model.parameters()))])
    assert torch.allclose(total, plain, rtol=1e-9)
