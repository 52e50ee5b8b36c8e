"""Models of windows are torch's own by other means, and every record is by itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from clients.training.known import is_known
from clients.training.per_example import functorch, hooks
from clients.training.sums import clipped_sums
from federation.model.losses import Squared
from federation.model.sequences import Attention, Block, Gru, gru, transformer
from federation.model.task import cross_entropy

MODELS = {"gru": gru, "transformer": transformer}
STEPS, WIDTH = 6, 3


def model_of(name: str, outputs: int = 2) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return MODELS[name](STEPS * WIDTH, outputs, STEPS).double().train()


def batch_of(size: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(size)
    features = scale * torch.randn(size, STEPS * WIDTH, generator=generator, dtype=torch.float64)
    return features, torch.randint(0, 2, (size,), generator=generator)


def test_gru_is_torch_s_with_its_weights() -> None:
    theirs, ours = nn.GRU(WIDTH, 5, batch_first=True).double(), Gru(WIDTH, 5).double()
    names = {"inputs.weight": "weight_ih_l0", "inputs.bias": "bias_ih_l0"}
    names |= {"states.weight": "weight_hh_l0", "states.bias": "bias_hh_l0"}
    ours.load_state_dict({name: getattr(theirs, other).detach() for name, other in names.items()})
    windows = batch_of(9, 3.0)[0].reshape(9, STEPS, WIDTH)
    assert torch.allclose(ours(windows), theirs(windows)[1][0], rtol=1e-12, atol=1e-12)


def test_attention_and_block_are_torch_s_with_their_weights() -> None:
    ours = Block(8, 2, 12).double()
    theirs = nn.TransformerEncoderLayer(
        8, 2, 12, dropout=0.0, activation=torch.tanh, batch_first=True, norm_first=True
    )
    theirs = theirs.double()
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(ours.attention.asked.weight)
        theirs.self_attn.in_proj_bias.copy_(ours.attention.asked.bias)
        theirs.self_attn.out_proj.load_state_dict(ours.attention.joined.state_dict())
        theirs.linear1.load_state_dict(ours.wide.state_dict())
        theirs.linear2.load_state_dict(ours.narrow.state_dict())
    windows = torch.randn(4, STEPS, 8, dtype=torch.float64)
    assert torch.allclose(ours.attention(windows), theirs.self_attn(windows, windows, windows)[0], atol=1e-12)
    assert torch.allclose(ours(windows), theirs(windows), atol=1e-12)
    assert Attention(8, 2)(torch.zeros(0, STEPS, 8)).shape == (0, STEPS, 8)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("route", ["hooks", "functorch"])
def test_gradients_of_records_are_autograd_s_one_by_one(name: str, route: str) -> None:
    model, (features, labels) = model_of(name), batch_of(7, 2.0)

    def loss_of(one: int) -> Tensor:
        return cross_entropy(model(features[one : one + 1]), labels[one : one + 1]).sum()

    with {"hooks": hooks, "functorch": functorch}[route](model, cross_entropy) as per_record:
        found = torch.cat([part.flatten(1) for part in per_record(features, labels)], dim=1)
    alone = [
        torch.cat([each.reshape(-1) for each in torch.autograd.grad(loss_of(one), list(model.parameters()))])
        for one in range(len(labels))
    ]
    assert torch.allclose(found, torch.stack(alone), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("bad", [1e200, float("inf"), float("nan")])
def test_no_record_reaches_another_whatever_its_values(name: str, bad: float) -> None:
    """Code that is known not to mix may see a whole batch: so the claim is tried with the worst neighbors."""
    model, (features, labels) = model_of(name), batch_of(5)
    assert is_known(model)
    others = features.clone()
    others[2:] = bad
    assert torch.equal(model(others)[:2], model(torch.cat([features[:2], others[2:]]))[:2])
    assert torch.allclose(model(others)[:2], model(features[:2]), rtol=1e-12, atol=1e-14)
    with clipped_sums("hooks", model, cross_entropy, 1.0) as gradient:
        spoiled, clean = gradient(others, labels), gradient(features[:2], labels[:2])
        finite = torch.isfinite(model(others[2:])).all()
    if not finite:  # such records contribute zero, and nothing else
        assert torch.allclose(spoiled, clean, rtol=1e-9, atol=1e-12)
    assert bool(torch.isfinite(spoiled).all())


@pytest.mark.parametrize("name", MODELS)
def test_all_windows_of_a_person_move_the_sum_by_the_clipping_norm_at_most(name: str) -> None:
    model, norm = model_of(name, outputs=1), 0.7
    features, _ = batch_of(12, 4.0)
    labels, patients = torch.linspace(-1, 1, 12, dtype=torch.float64), torch.tensor([0] * 8 + [1] * 4)
    with clipped_sums("hooks", model, Squared(), norm) as gradient:
        both, without = gradient(features, labels, patients), gradient(features[8:], labels[8:], patients[8:])
    assert float((both - without).norm()) <= norm * (1 + 1e-12)
    assert float((both - without).norm()) > 0.99 * norm


@pytest.mark.parametrize("name", MODELS)
def test_a_step_s_place_in_the_window_matters(name: str) -> None:
    model, (features, _) = model_of(name), batch_of(4)
    steps = features.reshape(4, STEPS, WIDTH)
    swapped = torch.cat([steps[:, [1, 0]], steps[:, 2:]], dim=1).reshape(4, -1)
    assert not torch.allclose(model(swapped), model(features), atol=1e-6)
