"""The params of every round follow from the sums, bit for bit, whatever the optimizer and whoever's the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from federation.audit.examine import audit
from federation.audit.rounds import is_laid_out
from federation.model.params import params_bytes, params_digest
from federation.sums.optimizers import RULES
from tests.federation.audit.audited import finished, ids, receipts
from tests.worlds import text_of


def moved(run: Path) -> None:
    """The last params, moved by a hair, everywhere that the server writes them."""
    path = run / "params.safetensors"
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    name = next(iter(tensors))
    tensors[name] = torch.nextafter(tensors[name], torch.full_like(tensors[name], 10.0))
    save_file(tensors, path, metadata)
    digest = params_digest(
        params_bytes(torch.cat([tensors[key].reshape(-1) for key in sorted_names(tensors)]))
    ).hex()
    with receipts(run) as lines:
        for line in lines:
            if line.get("round") == 3:
                line["params_after"] = digest
            if line.get("closed"):
                line["params"] = digest


def sorted_names(tensors: dict[str, torch.Tensor]) -> list[str]:
    """In the order of the built-in logistic model: weight, then bias."""
    return sorted(tensors, key=lambda name: "bias" in name)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_the_params_follow_from_the_sums_with_every_optimizer(tmp_path: Path, rule: str) -> None:
    run = finished(tmp_path, "protocol", text_of(noise="distributed", rounds=3, **{"server.optimizer": rule}))
    found = audit(run)
    assert (found.verdict, found.sums.verified, found.sums.followed) == ("pass", 3, 3)


@pytest.mark.parametrize("weights", ["uniform", "declared"])
def test_they_follow_whatever_the_weights_of_the_sites(tmp_path: Path, weights: str) -> None:
    run = finished(tmp_path, "protocol", text_of(noise="site", rounds=2, weights=weights))
    assert audit(run).sums.followed == 2


def test_params_that_a_later_round_began_with_do_not_stand_for_those_that_follow(tmp_path: Path) -> None:
    """Once a step does not follow, nothing after it is said to."""
    run = finished(tmp_path, "protocol", text_of(noise="distributed", rounds=3))
    with receipts(run) as lines:
        lines[0]["params_after"] = "00" * 32
    found = audit(run)
    assert {"params-not-followed", "params-chain"} <= ids(found, "critical")
    assert (found.sums.verified, found.sums.followed) == (3, 0)


def test_the_params_of_a_model_of_ones_own_are_found_in_the_file_in_any_order() -> None:
    flat = torch.arange(10, dtype=torch.float32)
    pieces = [flat[6:].reshape(2, 2), flat[:5], flat[5:6].reshape(())]
    assert is_laid_out(flat, pieces)
    assert is_laid_out(torch.zeros(5), [torch.zeros(2), torch.zeros(3)])
    assert not is_laid_out(flat, [flat[6:], flat[:5]])
    assert not is_laid_out(flat, [*pieces, flat[:1]])
    assert not is_laid_out(flat, [flat.double()])
    assert not is_laid_out(flat, [torch.nextafter(flat, torch.full_like(flat, 99.0))])


OWN = """
import torch
from torch import nn
from federation import Dataset, Source, Task

def model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))

def read(source: Source) -> Dataset:
    rows = [line.split(",") for line in source.path.read_text().splitlines()[1:]]
    inputs = torch.tensor([[float(row[0]) / 90, float(row[1])] for row in rows])
    return Dataset(inputs, torch.tensor([int(row[3] == "yes") for row in rows]))

def loss(output: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(output, label, reduction="none")

task = Task("own", model=model, loss=loss, data=read)
"""


def test_params_of_ones_own_model_are_held_against_the_sums_without_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_followed.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    text = text_of(noise="distributed", rounds=2)
    head, tail = text.split("[task]", 1)
    own = 'task = "own_followed:task"\n' + head + "[cohort]" + tail.split("[cohort]", 1)[1]
    run = finished(tmp_path, "protocol", own)
    monkeypatch.undo()
    found = audit(run)
    assert (found.verdict, found.sums.followed) == ("pass", 2)
    assert not any("params against receipts" in line for line in found.not_checked)
    path = run / "params.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    save_file({name: tensor + 1e-6 for name, tensor in tensors.items()}, path, metadata)
    assert "params-mismatch" in ids(audit(run), "critical")
    assert json.loads((run / "report.json").read_text())["transcripts"] == {"kept": 2, "left_out": None}
