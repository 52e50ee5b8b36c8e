"""A small network of convolutions on images, from files to an audited report, by the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import plans
from tests.federation.command import Command
from tests.worlds import text_of

CODE = """
import numpy as np
import torch
from torch import nn
from torch.nn import functional
from federation import Dataset, Task


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.last = nn.Linear(8 * 4, 3)

    def forward(self, images):
        half = functional.max_pool2d(torch.relu(self.first(images)), 2)
        return self.last(functional.max_pool2d(torch.relu(self.second(half)), 2).flatten(1))


def read(source):
    with np.load(source.path) as file:
        images, labels = file["images"], file["labels"]
    return Dataset(torch.tensor(images, dtype=torch.float32)[:, None], torch.tensor(labels))


def loss(outputs, labels):
    return functional.cross_entropy(outputs, labels, reduction="none")


task = Task("stripes", model=Net, loss=loss, data=read)
"""


def write_images(folder: Path) -> Path:
    """Five sites with 8 by 8 images of one bright row or another."""
    folder.mkdir()
    for number in range(5):
        labels = (np.arange(60 + number) * 7 + number) % 3
        images = np.full((len(labels), 8, 8), 0.1)
        images[np.arange(len(labels)), 2 * labels + 1] = 1.0
        np.savez(folder / f"site-{number}.npz", images=images, labels=labels.astype(np.int64))
    return folder


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.mark.parametrize("engine", ["vectorized", "protocol"])
def test_a_network_of_convolutions_is_trained_compared_and_audited(
    engine: str, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"stripes_{engine}.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    changes: plans.Changes = {"metrics": ["accuracy"], "server.optimizer": "adam"}
    text = text_of(changes, noise="distributed", rounds=2, sample_rate=0.5, minimum=5)
    table = text[text.index("[task]") : text.index("[cohort]")]
    plan = tmp_path / "plan.toml"
    plan.write_text(f'task = "stripes_{engine}:task"\n' + text.replace(table, ""))
    run = tmp_path / "run"
    done = command(
        "simulate",
        plan,
        "--sites",
        write_images(tmp_path / "sites"),
        "--out",
        run,
        "--engine",
        engine,
        "--json",
    )
    assert done.code == 0
    assert done.json["evaluation"]["baselines"]["without_privacy"]["accuracy"] is not None
    assert command("audit", run, "--json").json["verdict"] == "pass"
    bare = command(
        "simulate", plan, "--sites", tmp_path / "sites", "--out", tmp_path / "two", "--no-baseline", "--json"
    )
    assert "without_privacy" not in bare.json["evaluation"]["baselines"]
