"""Three engines, one result: with `noise = "none"` the params are the same, where messages are sent to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from clients import participant
from federation.plan.plan import parse
from federation.report.report import metrics_of
from privacy.secagg.client import ClientMachine
from server.run_folder import RunFolder
from simulations.simulate import simulate
from tests.worlds import HERE, by_hand, close, load_params, opened, text_of, write_sites

PLANS: dict[str, dict[str, Any]] = {
    "plain": {},
    "several local steps on samples": {"local_steps": 4, "sample_rate": 0.3},
    "declared weights": {"weights": "declared", "local_steps": 2, "sample_rate": 0.5},
    "a model with a hidden layer": {"model": "mlp", "sample_rate": 0.5},
    "some of the sites in a round": {"size": 3, "sample_rate": 0.5},
    "an adaptive server": {"optimizer": "adam", "learning_rate": 0.05, "sample_rate": 0.5},
}


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sites(tmp_path_factory.mktemp("engines") / "sites", 5)


@pytest.mark.parametrize("values", PLANS.values(), ids=PLANS)
def test_every_engine_ends_with_the_same_params(values: dict[str, Any], sites: Path, tmp_path: Path) -> None:
    text = text_of(**values)
    plan = parse(text)
    reports = {
        engine: simulate(plan, sites, tmp_path / engine, engine=engine, progress=lambda *_: None)  # type: ignore[arg-type]
        for engine in HERE
    }
    params = {engine: load_params(tmp_path / engine) for engine in HERE}
    assert torch.allclose(params["vectorized"], params["protocol"], rtol=0, atol=1e-5)
    assert torch.equal(params["protocol"], params["flower"])
    evaluations = {engine: report.evaluation for engine, report in reports.items()}
    assert evaluations["protocol"] == evaluations["flower"]
    pooled = [metrics_of(evaluations[engine].pooled) for engine in ("vectorized", "protocol")]
    assert pooled[0] == pytest.approx(pooled[1], abs=1e-6)
    receipts = {engine: RunFolder(tmp_path / engine, plan).receipts() for engine in HERE}
    cohorts = {engine: [entry.cohort for entry in entries] for engine, entries in receipts.items()}
    assert cohorts["vectorized"] == cohorts["protocol"] == cohorts["flower"]
    assert [entry.params_after for entry in receipts["protocol"]] == [
        entry.params_after for entry in receipts["flower"]
    ]
    expected = 3 if values.get("size") else 5
    assert {len(cohort) for cohort in cohorts["vectorized"]} == {expected}
    up = {engine: [site.bytes_up for site in report.sites] for engine, report in reports.items()}
    assert set(up["vectorized"]) == {None}, "nothing was sent"
    assert up["protocol"] == up["flower"]
    assert set(up["protocol"]) != {None}


def test_they_are_the_params_worked_out_on_paper(tmp_path: Path) -> None:
    """Equal engines could be equally wrong: declared weights, full batches, in NumPy."""
    text = text_of(weights="declared")
    with opened(parse(text), tmp_path, 3) as (world, _):
        sizes = {name: float(len(data)) for name, data in world.training.items()}
        expected = by_hand(parse(text), world.training, [tuple(sizes)] * 3, sizes)
        uniform = by_hand(parse(text), world.training, [tuple(sizes)] * 3)
    simulate(parse(text), tmp_path / "sites", tmp_path / "run", engine="protocol", progress=lambda *_: None)
    assert close(load_params(tmp_path / "run"), expected)
    assert not close(load_params(tmp_path / "run"), uniform), "the test can fail"


def test_masked_vectors_in_files_end_in_the_same_params(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of large models are. The files have no names."""
    write_sites(tmp_path / "sites", 3)
    masked = list[int]()
    told = ClientMachine.mask_into
    monkeypatch.setattr(ClientMachine, "mask_into", lambda *given: (masked.append(1), told(*given))[1])
    for out, large in (("memory", 1 << 24), ("files", 0)):
        monkeypatch.setattr(participant, "_LARGE", large)
        simulate(parse(text_of()), tmp_path / "sites", tmp_path / out, engine="protocol", baseline=False)
        assert len(masked) == (9 if out == "files" else 0)
    assert torch.equal(load_params(tmp_path / "memory"), load_params(tmp_path / "files"))
    names = [sorted(path.name for path in (tmp_path / out).rglob("*")) for out in ("memory", "files")]
    assert names[0] == names[1]
