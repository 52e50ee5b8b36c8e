"""A model with frozen parameters and buffers, from its plan to its params: only what trains travels."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.federation.command import Command
from tests.plans import text_of

TASK = """
import csv
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from federation import Dataset, Source, Task

class Encoded(nn.Module):
    def __init__(self):
        super().__init__()
        maker = torch.Generator().manual_seed(5)
        self.encoder = nn.Linear(2, 8)
        for each in self.encoder.parameters():
            each.data = torch.randn(each.shape, generator=maker)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 2)
        self.register_buffer("order", torch.arange(7, -1, -1))
        self.register_buffer("scale", torch.tensor([90.0, 30.0]))
        self.encoder.requires_grad_(False)
        self.norm.requires_grad_(False).eval()

    def forward(self, x):
        return self.head(torch.tanh(self.norm(self.encoder(x / self.scale)))[:, self.order])

def read(source: Source) -> Dataset:
    rows = list(csv.reader(source.path.read_text().splitlines()))[1:]
    numbers = torch.tensor([[float(cell) for cell in row] for row in rows])
    return Dataset(numbers[:, :2], numbers[:, 2].long())

def made(count: int) -> Dataset:
    return Dataset(torch.rand(count, 2) * 90, torch.randint(0, 2, (count,)))

def loss(outputs, labels):
    return cross_entropy(outputs, labels, reduction="none")

task = Task("encoded", model=Encoded, loss=loss, data=read, mock=made)
"""
NAMES = ("ash", "birch", "cedar")
WORDS = "made-up numbers, in 2024"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package on the path of this process, and three sites."""
    (tmp_path / "study" / "encoded_study").mkdir(parents=True)
    (tmp_path / "study" / "encoded_study" / "__init__.py").write_text(TASK)
    monkeypatch.syspath_prepend(str(tmp_path / "study"))
    for number, name in enumerate(NAMES):
        path = tmp_path / "sites" / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        with path.open("w", newline="") as file:
            rows = [[20 + 7 * n % 70, (n + number) % 30, n % 2] for n in range(40)]
            csv.writer(file).writerows([["age", "stay", "back"], *rows])
    yield tmp_path
    sys.modules.pop("encoded_study", None)


def write_plan(path: Path, base: dict[str, str] | None, **changes: object) -> Path:
    changed: dict[str, object] = {
        "name": "encoded",
        "rounds": 2,
        "task": None,
        "sample_rate": 0.5,
        "delta": 1e-3,
        "metrics": ["accuracy"],
        "seed": 3,
    }
    text = text_of(changed, changes)
    pinned = "".join(f'{key} = "{value}"\n' for key, value in (base or {}).items())
    path.write_text('task = "encoded_study:task"\n' + text + (f"\n[base]\n{pinned}" if base else ""))
    return path


def digest_told(told: str) -> str:
    """The digest that an error tells; of the one in the plan it shows the beginning only."""
    found = re.search("sha256:[0-9a-f]{64}", told)
    assert found is not None, told
    return found[0]


def test_only_what_trains_travels(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    federation = Command(monkeypatch, capsys)
    bare = federation("check", write_plan(study / "bare.toml", None))
    assert bare.code == 2
    assert "the plan does not pin them" in bare.err
    base = {"digest": digest_told(bare.err), "trained_on": WORDS}
    other = write_plan(study / "other.toml", base | {"digest": "sha256:" + 64 * "0"})
    refused = federation("simulate", other, "--sites", study / "sites", "--out", study / "none")
    assert (refused.code, (study / "none" / "rounds").exists()) == (2, False)
    assert "the base here is sha256:" in refused.err
    plan = write_plan(study / "plan.toml", base)
    checked = federation("check", plan, "--json")
    assert checked.code == 0, checked.err
    assert checked.json["base"]["parameters_in_all"] == 24 + 16 + 18
    assert checked.json["model_parameters"] == checked.json["base"]["trained"] == 18
    assert {one["outcome"] for one in checked.json["conformance"]} == {"pass", "note"}
    assert f"{WORDS}. Epsilon says nothing about people" in " ".join(federation("check", plan).out.split())
    for engine in ("vectorized", "protocol"):
        words = ("--sites", study / "sites", "--out", study / engine, "--engine", engine, "--no-baseline")
        done = federation("simulate", plan, *words)
        assert done.code == 0, done.err
        assert load_file(study / engine / "params.safetensors").keys() == {"head.weight", "head.bias"}
        assert federation("audit", study / engine).code == 0
        page = (study / engine / "report.html").read_text("utf-8")
        assert f"{WORDS}. Epsilon says nothing about people in those data." in page
