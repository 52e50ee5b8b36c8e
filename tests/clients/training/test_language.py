"""A causal language model as a task: labels are its words, and a text's loss is the mean over its own words."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from clients.training import frozen
from clients.training.dpsgd import chosen_route, clipped_gradient
from clients.training.frozen import prepared
from clients.training.screening.moving import require_moving
from clients.training.trial import Trial
from federation.model.base import base_digest, trained
from privacy.mechanism.clipping import clip_rows

pytestmark = [pytest.mark.extras, pytest.mark.filterwarnings("ignore")]
WORDS, LENGTH = 50, 8


class Language(nn.Module):
    """A small Llama, made here, with LoRA on its attention."""

    def __init__(self) -> None:
        super().__init__()
        from peft import LoraConfig, get_peft_model
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(7)
        shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        settings = LlamaConfig(vocab_size=WORDS, pad_token_id=0, max_position_embeddings=LENGTH, **shape)
        lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
        self.inner = get_peft_model(LlamaForCausalLM(settings).eval(), lora)
        causal = torch.full((LENGTH, LENGTH), torch.finfo(torch.float32).min).triu(1)
        self.register_buffer("causal", causal[None, None])

    def forward(self, words: Tensor) -> Tensor:
        """(n, LENGTH) to the scores of each next word, (n, LENGTH, WORDS)."""
        mask: Any = self.causal
        places = torch.arange(LENGTH)[None]
        found: Tensor = self.inner(
            input_ids=words,
            attention_mask=mask.expand(len(words), -1, -1, -1),
            position_ids=places,
            use_cache=False,
        ).logits
        return found


def own_words(scores: Tensor, words: Tensor) -> Tensor:
    """The mean over a text's own words; 0 is no word."""
    targets = words[:, 1:]
    each = cross_entropy(scores[:, :-1].flatten(0, 1), targets.flatten(), reduction="none").view(
        targets.shape
    )
    there = targets != 0
    return (each * there).sum(1) / there.sum(1).clamp(min=1)


def texts(count: int) -> Tensor:
    """Of different lengths, filled up with zeros."""
    generator = torch.Generator().manual_seed(3)
    words = torch.randint(1, WORDS, (count, LENGTH), generator=generator)
    return words * (torch.arange(LENGTH)[None] < torch.arange(3, 3 + count)[:, None])


@pytest.mark.parametrize("large", [False, True], ids=["float64", "float32"])
def test_a_language_model_is_clipped_text_by_text(monkeypatch: pytest.MonkeyPatch, large: bool) -> None:
    pytest.importorskip("peft")
    if large:
        monkeypatch.setattr(frozen, "LARGE", 0)
    model, words = prepared(Language(), torch.float64), texts(6)
    before = base_digest(model)
    trial = Trial(model, own_words, words[:0], words[:0])
    require_moving(trial, "language")
    route = chosen_route(model, own_words, words[:0], words[:0], 6)
    assert route == ("slices" if large else "functorch")
    parameters = list(trained(model).values())
    rows = []
    for text in torch.split(words, 1):
        loss = own_words(model(text), text).sum()
        rows.append(torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, parameters)]))
    expected = torch.stack(rows).double()
    norm = float(expected.norm(dim=1).median())
    with clipped_gradient(model, own_words, norm) as gradient:
        found = gradient(words, words)
    tolerance = 1e-4 if large else 1e-9
    assert torch.allclose(found, clip_rows(expected, norm).sum(0), rtol=tolerance, atol=tolerance * norm)
    assert base_digest(model) == before
