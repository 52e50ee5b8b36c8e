"""A tiny encoder of texts with random weights, as files: tests need no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from federation.plan.made_up.mock import WORDS

WIDTH = 16


def write_encoder(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A BERT of two layers that knows `WORDS`, in a folder of its own."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    known = {word: place for place, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))  # noqa: S106 - a token of a text
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = [("[CLS]", known["[CLS]"]), ("[SEP]", known["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=marks)
    tokenizer.enable_padding(length=8)  # as some files ask for, and nothing here does
    config = BertConfig(
        **{
            "vocab_size": len(known),
            "hidden_size": WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 32,
            "hidden_dropout_prob": 0.5,
            "initializer_range": 0.3,
            **changes,
        }
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertModel(config)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(config.to_json_string())
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
