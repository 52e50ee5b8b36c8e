"""What a report says of its own making: compared where another file holds it, possible where none does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from federation.audit.examine import audit
from tests.federation.audit.audited import TEXT, finished, ids, served

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A simulated run, and a real one."""
    made = tmp_path_factory.mktemp("made")
    return {"simulated": finished(made, "vectorized"), "real": served(made / "real", TEXT)}


@pytest.fixture(params=["simulated", "real"])
def run(request: pytest.FixtureRequest, runs: dict[str, Path], tmp_path: Path) -> Path:
    return copytree(runs[request.param], tmp_path / "run")


def changed(run: Path, change: Change) -> set[str]:
    """What an audit finds critical after a change of report.json."""
    path = run / "report.json"
    report = json.loads(path.read_text("utf-8"))
    change(report)
    path.write_text(json.dumps(report), "utf-8")
    return ids(audit(run), "critical")


def test_an_honest_report_is_no_finding_and_what_nobody_can_verify_is_said(run: Path) -> None:
    found = audit(run)
    assert "report-mismatch" not in ids(found)
    told = " ".join(found.not_checked)
    for name in ("made.finished", "seconds", "attempts", "sites[].lines"):
        assert name in told


@pytest.mark.parametrize("signers", [["ab" * 32], "none", [], None])
def test_the_signers_are_those_of_the_roster(run: Path, signers: Any) -> None:
    is_simulated = json.loads((run / "report.json").read_text("utf-8"))["simulated"]
    found = changed(run, lambda report: report["made"].update(signers=signers))
    assert ("report-mismatch" in found) is not (is_simulated and signers == [])


@pytest.mark.parametrize("finished", ["yesterday", None, 5, "2026-13-01T00:00:00Z"])
def test_the_end_of_a_run_is_a_moment(run: Path, finished: Any) -> None:
    assert "report-mismatch" in changed(run, lambda report: report["made"].update(finished=finished))


def test_a_site_has_no_fewer_lines_than_records(runs: dict[str, Path], tmp_path: Path) -> None:
    run = copytree(runs["simulated"], tmp_path / "run")
    assert "report-mismatch" in changed(run, lambda report: report["sites"][1].update(lines=39))
