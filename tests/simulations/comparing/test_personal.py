"""What personal models gain, site by site, in the report of a simulation."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import load_file

from federation import audit_run, simulate
from federation.errors import InputError
from federation.plan.plan import parse
from federation.report.receipt import Receipt
from federation.report.report import Report
from simulations.simulate import Engine
from simulations.virtual.population import Population
from tests.worlds import rows_of, text_of, write_csv

TABLE = "\n[personal]\nsteps = 60\nlearning_rate = 0.5\n"
TEXT = text_of({"training.learning_rate": 0.5}, rounds=4)


def unlike_sites(folder: Path) -> Path:
    """Two sites that agree, and one where everything means the opposite."""
    for number, name in enumerate(("ash", "birch", "cedar")):
        rows = rows_of(0, 160)
        if number == 2:
            rows = [[*row[:-1], "no" if row[-1] == "yes" else "yes"] for row in rows]
        write_csv(folder / f"{name}.csv", rows)
    return folder


def test_a_site_unlike_the_others_gains_most(tmp_path: Path) -> None:
    plan, sites = parse(TEXT + TABLE), unlike_sites(tmp_path / "sites")
    told = simulate(plan, sites, tmp_path / "run", baseline=False).evaluation
    assert told.beside_shared is not None
    gains = {name: one.gain or 0.0 for name, one in told.beside_shared.sites.items()}
    assert set(told.personal) == set(gains) == {"ash", "birch", "cedar"}
    assert gains["cedar"] > gains["ash"]
    assert gains["cedar"] > 0.3
    assert (told.personal["cedar"]["accuracy"] or 0) > 0.8
    for name, gain in gains.items():
        assert gain == pytest.approx(
            (told.personal[name]["accuracy"] or 0) - (told.sites[name].get("accuracy") or 0)
        )
    assert audit_run(tmp_path / "run").verdict == "pass"
    assert "personal model over the released one" in (tmp_path / "run" / "report.html").read_text("utf-8")


KEPT = '\n[personal]\nsteps = 10\nlearning_rate = 0.5\nlayers = ["2"]\nkept = 130\n'
NET = {"task.model": "mlp", "training.learning_rate": 0.5, "training.local_steps": 3}


def test_layers_that_never_travel_serve_the_site_that_is_unlike_the_others(tmp_path: Path) -> None:
    """The same by message and as a sum; killed in between, a run goes on from what sites had kept."""
    plan, sites = parse(text_of(NET, rounds=4) + KEPT), unlike_sites(tmp_path / "sites")
    runs: dict[str, Report] = {"protocol": simulate(plan, sites, tmp_path / "protocol", engine="protocol")}

    def killed(receipt: Receipt, _: object) -> None:
        if receipt.round == 2:
            raise KeyboardInterrupt

    engines: tuple[Engine, ...] = ("vectorized", "protocol")
    for engine in engines:
        out = tmp_path / f"{engine}-killed"
        with pytest.raises(KeyboardInterrupt):
            simulate(plan, sites, out, engine=engine, progress=killed)
        runs[out.name] = simulate(plan, sites, out, engine=engine)
    first = load_file(tmp_path / "protocol" / "params.safetensors")
    assert first.keys() == {"0.weight", "0.bias"}
    for name, report in runs.items():
        found = load_file(tmp_path / name / "params.safetensors")
        torch.testing.assert_close(found, first, rtol=0, atol=1e-5)
        assert report.evaluation.personal.keys() == {"ash", "birch", "cedar"}
        assert all((one["accuracy"] or 0) > 0.7 for one in report.evaluation.personal.values())
        assert "without_privacy" not in report.evaluation.baselines
        page = (tmp_path / name / "report.html").read_text("utf-8")
        assert (
            "A site&#39;s own model, with the layers that it kept" in page and "shared layers alone" in page
        )
        assert "this run</th>" not in page and "over the released one" not in page
        assert "What the model says" not in page, "nobody uses the model that the run alone makes"
        assert not [
            each for each in (tmp_path / name).rglob("*") if "layers" in each.relative_to(tmp_path).as_posix()
        ]

    assert audit_run(tmp_path / "vectorized-killed").verdict == "pass"


def test_where_nothing_would_keep_the_layers_they_are_refused(tmp_path: Path) -> None:
    plan = parse(text_of(NET) + KEPT)
    with pytest.raises(InputError, match="Ray cluster keep no layers"):
        simulate(plan, tmp_path, tmp_path / "run", engine="flower-ray")
    with pytest.raises(InputError, match="virtual sites keep no layers"):
        simulate(plan, cast(Population, None), tmp_path / "run")


def test_without_the_table_nothing_is_said_of_it(tmp_path: Path) -> None:
    report = simulate(parse(TEXT), unlike_sites(tmp_path / "sites"), tmp_path / "run", baseline=False)
    assert "personal" not in report.to_json()["evaluation"]
    assert report.evaluation.beside_shared is None
