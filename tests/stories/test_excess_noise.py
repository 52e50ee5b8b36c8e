"""Whole runs under distributed noise: what a sum does not need is taken out, and an audit takes out the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from federation import audit_run, simulate
from federation.plan.plan import parse
from federation.round.messages import Kind
from federation.sums.state import begin
from server.run import server_stream
from tests.stories.network import Network, vanish
from tests.worlds import NAMES, opened, plan_of, rounds_of, start, text_of, write_sites

PAID: Mapping[str, Any] = {
    "noise": "distributed",
    "rounds": 3,
    "sample_rate": 0.5,
    "minimum": 5,
    "server.optimizer": "adam-bc",
    "evaluation.epsilon": 8.0,
}


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "receipts.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by messages, of a server whose optimizer counts on the noise that is left."""
    folder = tmp_path_factory.mktemp("excess")
    sites = write_sites(folder / "sites", 5)
    simulate(parse(text_of(PAID)), sites, folder / "run", engine="protocol", baseline=False)
    return folder / "run"


def test_an_audit_takes_the_same_noise_out_and_finds_the_same_params(run: Path) -> None:
    found = audit_run(run)
    assert (found.verdict, [finding.id for finding in found.findings]) == ("pass", [])
    assert found.to_json()["sums_verified"] == 4
    assert all(line["excess_left"] == [] for line in lines_of(run) if "cohort" in line)
    report = json.loads((run / "report.json").read_text())
    assert report["privacy"]["noise_excess"] == pytest.approx((5 / 4) ** 0.5)
    assert [row["lost"] for row in report["privacy"]["noise_excess_of"]["levels"]] == [0, 1]


def test_a_receipt_that_says_that_noise_stayed_in_is_found(run: Path, tmp_path: Path) -> None:
    lines = lines_of(run)
    for line in lines:
        if "evaluation" in line:
            line["excess_left"] = list(NAMES)
    before = (run / "receipts.jsonl").read_text()
    try:
        (run / "receipts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert "evaluation-figures" in [finding.id for finding in audit_run(run).findings]
    finally:
        (run / "receipts.jsonl").write_text(before)


@pytest.mark.parametrize(
    "change",
    [
        lambda of: of.pop("levels"),
        lambda of: of.update(levels=[]),
        lambda of: of["levels"][0].update(noise_excess=1.0),
        lambda of: of["levels"].pop(),
    ],
    ids=["as of an earlier version", "none", "less", "one fewer"],
)
def test_a_report_that_says_otherwise_what_is_left_is_found(
    change: Callable[[dict[str, Any]], object], run: Path
) -> None:
    path = run / "report.json"
    before = path.read_text()
    report = json.loads(before)
    change(report["privacy"]["noise_excess_of"])
    try:
        path.write_text(json.dumps(report))
        assert "report-mismatch" in [finding.id for finding in audit_run(run).findings]
    finally:
        path.write_text(before)


@pytest.mark.parametrize("stage", [Kind.INVITE, Kind.BROADCAST, Kind.CERTIFICATE])
def test_a_site_that_is_lost_leaves_nothing_in_that_should_be_out(stage: Kind, tmp_path: Path) -> None:
    plan = plan_of(PAID, {"evaluation.epsilon": None})
    with opened(plan, tmp_path, 5) as (world, sites):
        receives = {name: site.receive for name, site in sites.items()}
        network = Network(receives, vanish("birch", stage, 2))
        receipts = [
            receipt
            for _, receipt in rounds_of(world, network, begin(plan, bytes(16), start(plan)), server_stream)
        ]
    assert [len(receipt.survivors) for receipt in receipts] == [5, 5 - (stage is not Kind.CERTIFICATE), 5]
    assert [receipt.excess_left for receipt in receipts] == [(), (), ()]
