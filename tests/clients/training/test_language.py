"""A causal language model as a task: the example of docs/adapters.md, on a small Llama that is made here."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from clients.training import frozen
from clients.training.dpsgd import chosen_route, clipped_gradient
from clients.training.frozen import prepared
from clients.training.screening.moving import require_moving
from clients.training.trial import Trial
from federation.model.base import base_digest, trained
from federation.plan.made_up.mock import WORDS
from privacy.mechanism.clipping import clip_rows
from tests import ROOT
from tests.encoders import write_encoder
from tests.federation.command import Command
from tests.plans import text_of

pytestmark = [pytest.mark.extras, pytest.mark.filterwarnings("ignore")]
PAGE = (ROOT / "docs" / "adapters.md").read_text("utf-8")
EXAMPLE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
KNOWN, LENGTH = len(WORDS) + 4, 8


@pytest.fixture
def language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The page's module, of a small Llama whose tokenizer knows the words of mock data."""
    pytest.importorskip("peft")
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = write_encoder(tmp_path / "llama")  # for its tokenizer
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    settings = LlamaConfig(vocab_size=KNOWN, pad_token_id=0, max_position_embeddings=LENGTH, **shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        LlamaForCausalLM(settings).save_pretrained(folder)
    code = EXAMPLE.replace('Path("models/small-llama"), 64', f"Path({str(folder)!r}), {LENGTH}")
    (tmp_path / "language_study.py").write_text(code.replace("randint(1, 60", f"randint(1, {KNOWN}"))
    monkeypatch.syspath_prepend(str(tmp_path))
    import language_study  # type: ignore[import-not-found]

    yield language_study
    sys.modules.pop("language_study", None)


def texts(count: int) -> Tensor:
    """Of different lengths, filled up with zeros."""
    generator = torch.Generator().manual_seed(3)
    words = torch.randint(1, KNOWN, (count, LENGTH), generator=generator)
    return words * (torch.arange(LENGTH)[None] < torch.arange(3, 3 + count)[:, None])


@pytest.mark.parametrize("large", [False, True], ids=["float64", "float32"])
def test_a_language_model_is_clipped_text_by_text(
    language: Any, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    if large:
        monkeypatch.setattr(frozen, "LARGE", 0)
    torch.manual_seed(7)
    model, words = prepared(language.Language(), torch.float64), texts(6)
    labels = torch.zeros(6, dtype=torch.int64)
    before = base_digest(model)
    require_moving(Trial(model, language.loss, words[:0], labels[:0]), "language")
    route = chosen_route(model, language.loss, words[:0], labels[:0], 6)
    assert route == ("slices" if large else "functorch")
    parameters = list(trained(model).values())
    rows = []
    for text in torch.split(words, 1):
        own = int((text != 0).sum())  # by the library's own loss, without what is filled up
        loss = model.inner(text[:, :own], labels=text[:, :own]).loss
        rows.append(torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, parameters)]))
    expected = torch.stack(rows).double()
    norm = float(expected.norm(dim=1).median())
    with clipped_gradient(model, language.loss, norm) as gradient:
        found = gradient(words, labels)
    tolerance = 1e-4 if large else 1e-6  # the library takes the loss in float32
    assert torch.allclose(found, clip_rows(expected, norm).sum(0), rtol=tolerance, atol=tolerance * norm)
    assert base_digest(model) == before


def test_three_sites_train_one_from_texts(
    language: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(frozen, "LARGE", 0)
    federation = Command(monkeypatch, capsys)
    (tmp_path / "sites").mkdir()
    for number, name in enumerate(("ash", "birch", "cedar")):
        lines = [
            " ".join(WORDS[(number + n) % len(WORDS)] for n in range(start, start + 5)) for start in range(9)
        ]
        (tmp_path / "sites" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    changes: dict[str, object] = {
        "name": "language", "rounds": 2, "task": None, "sample_rate": 0.5, "delta": 1e-3, "metrics": ["word_loss"]
    }  # fmt: skip
    base = f'[base]\ndigest = "{base_digest(language.Language())}"\ntrained_on = "nothing"\n'
    plan, run = tmp_path / "plan.toml", tmp_path / "run"
    plan.write_text(f'task = "language_study:task"\n{text_of(changes)}\n{base}')
    checked = federation("check", plan, "--json")
    assert checked.code == 0, checked.err
    assert {one["outcome"] for one in checked.json["conformance"]} == {"pass", "note"}
    done = federation(
        "simulate", plan, "--sites", tmp_path / "sites", "--out", run, "--no-baseline", "--json"
    )
    assert done.code == 0, done.err
    assert 0 < done.json["evaluation"]["pooled"]["word_loss"] < 10
    params = load_file(run / "params.safetensors")
    assert sum(bool(each.any()) for name, each in params.items() if "lora_B" in name) == 4
