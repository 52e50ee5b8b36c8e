"""Posts that moderators took down or not, by LoRA in the last layer of MiniLM: a task of a user's own.

Whatever lies below the lowest adapter is frozen, so it is computed once, as a text is read: one text at a time, at
one public length, so that its states follow from that text alone. Training then costs one layer of six, and noise
is added to 6,914 numbers. States are floats whose last bits follow from the machine; `contents` says what a
record is by its text.
"""

from __future__ import annotations

import csv
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.adapters.network import RANK, WIDTH, encoder, folder, loss
from federation.model.task import Dataset, Source, Task, hashed

LENGTH = 24
_known: dict[str, Tensor] = {}  # the states of a text, in this process


@cache
def _network() -> Any:
    return encoder()


class Last(nn.Module):
    """States (n, LENGTH, WIDTH), zeros where a text is over, to two scores."""

    def __init__(self) -> None:
        super().__init__()
        from peft import LoraConfig, get_peft_model

        lora = LoraConfig(r=RANK, target_modules=["query", "value"])
        self.layer, self.head = get_peft_model(encoder().encoder.layer[-1], lora), nn.Linear(WIDTH, 2)

    def forward(self, states: Tensor) -> Tensor:
        """The mean over the text's own words, into the head."""
        there = (states != 0).any(dim=2)
        seen = self.layer(states, attention_mask=_mask(there, states.dtype))
        scores: Tensor = self.head(
            (seen * there[:, :, None]).sum(1) / there.sum(1, keepdim=True).clamp(min=1)
        )
        return scores


def _mask(there: Tensor, dtype: torch.dtype) -> Tensor:
    """What attention adds: nothing where a word is, the least number elsewhere."""
    return (~there)[:, None, None, :].to(dtype).expand(-1, 1, there.shape[1], -1) * torch.finfo(dtype).min


@torch.inference_mode()
def _states(text: str, tokenizer: Any) -> Tensor:
    """Of one text, after all layers but the last, (LENGTH, WIDTH)."""
    network = _network()
    words = tokenizer([text], padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt")[
        "input_ids"
    ]
    there = words != 0
    states = network.embeddings(input_ids=words)
    for layer in network.encoder.layer[:-1]:
        states = layer(states, _mask(there, states.dtype))
    return (states * there[:, :, None])[0].clone()


def read(source: Source) -> Dataset:
    """A file of the scenario: author, post, removed."""
    from transformers import AutoTokenizer

    with source.path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    tokenizer = AutoTokenizer.from_pretrained(folder())
    for post in {row["post"] for row in rows} - _known.keys():
        _known[post] = _states(post, tokenizer)
    ids = hashed([row["author"] for row in rows])
    return Dataset(
        torch.stack([_known[row["post"]] for row in rows]),
        torch.tensor([row["removed"] == "yes" for row in rows]).long(),
        torch.unique(ids, return_inverse=True)[1],
        ids,
        contents=hashed([row["post"] for row in rows]),
    )


def mock(count: int) -> Dataset:
    """Made-up states."""
    return Dataset(torch.randn(count, LENGTH, WIDTH), torch.arange(count) % 2, torch.arange(count))


task = Task("posts", model=Last, loss=loss, data=read, mock=mock)
