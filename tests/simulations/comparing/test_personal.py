"""What personal models gain, site by site, in the report of a simulation."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation import audit_run, simulate
from federation.plan.plan import parse
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


def test_without_the_table_nothing_is_said_of_it(tmp_path: Path) -> None:
    report = simulate(parse(TEXT), unlike_sites(tmp_path / "sites"), tmp_path / "run", baseline=False)
    assert "personal" not in report.to_json()["evaluation"]
    assert report.evaluation.beside_shared is None
