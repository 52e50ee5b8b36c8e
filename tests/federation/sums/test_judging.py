"""A site that sends what no honest one can: its sum is refused, or reported, and everybody who looks is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from clients import release
from federation.audit.examine import audit
from federation.errors import SumRefused
from federation.plan.plan import parse
from federation.report.page import render
from federation.report.report import Report
from federation.round.terms import Terms
from privacy.mechanism.encoding import RingVector
from server.run_folder import RunFolder
from simulations.simulate import Engine, simulate
from simulations.sums.adding import Adding
from tests.federation.audit.audited import ids, receipts
from tests.worlds import text_of, write_sites

ENGINES: tuple[Engine, ...] = ("vectorized", "protocol")


@contextmanager
def poisoned(site: str = "birch", from_round: int = 2) -> Iterator[list[int]]:
    """Within the context this site sends the largest element of the ring; the rounds in which it did.

    Where all sites are one program, that element is added to their sum.
    """
    honest, summed, done = release.contribution, Adding.simulated, []

    def largest(terms: Terms) -> int:
        done.append(terms.round)
        return (1 << (terms.codec.ring_bits - 1)) - 1

    def contribution(terms: Terms, name: str, *rest: Any) -> RingVector:
        vector = honest(terms, name, *rest)
        if name == site and terms.round >= from_round:
            vector = np.full_like(vector, largest(terms))
        return vector

    def simulated(adding: Adding, terms: Terms, names: tuple[str, ...], *rest: Any) -> RingVector:
        total = summed(adding, terms, names, *rest)
        if site in names and terms.round >= from_round:
            total = total + np.uint64(largest(terms))
        return total

    with (
        patch.object(release, "contribution", contribution),
        patch.object(Adding, "simulated", simulated),
    ):
        yield done


def text(choice: str | None = None, noise: str = "distributed", **changes: object) -> str:
    chosen = {} if choice is None else {"server.unlikely_sum": choice}
    return text_of(chosen, noise=noise, rounds=4, **changes)


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "receipts.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("noise", ["site", "distributed", "central"])
@pytest.mark.parametrize("choice", [None, "refuse"])
def test_such_a_sum_ends_the_run_before_it_is_applied(
    choice: str | None, noise: str, engine: Engine, tmp_path: Path
) -> None:
    sites, run = write_sites(tmp_path / "sites"), tmp_path / "run"
    with (
        poisoned() as done,
        pytest.raises(SumRefused, match=r"^round 2: .* times what honest sites") as caught,
    ):
        simulate(parse(text(choice, noise)), sites, run, engine=engine)
    assert (caught.value.exit_code, caught.value.round, done) == (4, 2, [2])
    assert caught.value.ratio > 1.1
    told = lines_of(run)
    assert [line.get("round") for line in told] == [1, None]
    assert (told[1]["refused"], told[1]["ratio"]) == (2, caught.value.ratio)
    assert not (run / "params.safetensors").exists()
    found = audit(run)
    assert "sum-refused" in ids(found, "warning")
    assert not {"sum-accepted", "receipt-invalid"} & ids(found)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_refused_sum_is_not_opened_a_second_time(engine: Engine, tmp_path: Path) -> None:
    """Under central noise that would be a second release: the same command says the same and does nothing."""
    sites, run, plan = write_sites(tmp_path / "sites"), tmp_path / "run", parse(text(noise="central"))
    with poisoned(), pytest.raises(SumRefused) as first:
        simulate(plan, sites, run, engine=engine)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with poisoned("nobody") as done, pytest.raises(SumRefused) as again:
        simulate(plan, sites, run, engine=engine)
    assert (str(first.value), done) == (str(again.value), [])
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("engine", ENGINES)
def test_a_plan_can_have_it_reported_and_everything_says_so(engine: Engine, tmp_path: Path) -> None:
    sites, run = write_sites(tmp_path / "sites"), tmp_path / "run"
    with poisoned(from_round=3), patch.object(RunFolder, "close"):
        report = simulate(parse(text("report")), sites, run, engine=engine)
    told = [line.get("unlikely") for line in lines_of(run) if "round" in line]
    assert told[:2] == [None, None] and None not in told[2:]
    assert [line.to_json().get("unlikely") for line in report.rounds] == told
    page = render(Report.from_json(json.loads((run / "report.json").read_text("utf-8"))))
    assert page.count("times what honest sites can send") == 2
    found = audit(run)
    assert ids(found, "warning") >= {"sum-unlikely"}
    assert not ids(found, "critical")


def test_an_audit_finds_a_report_that_keeps_quiet_and_a_plan_that_was_not_kept(tmp_path: Path) -> None:
    sites, run = write_sites(tmp_path / "sites"), tmp_path / "run"
    with patch.object(RunFolder, "close"):
        simulate(parse(text()), sites, run, engine="vectorized")
    assert not ids(audit(run), "critical")
    with receipts(run) as lines:
        lines[1]["unlikely"] = {"check": "norm", "ratio": 3.0}
    assert ids(audit(run), "critical") == {"report-mismatch", "sum-accepted"}
    with receipts(run) as lines:
        lines[1]["unlikely"] = {"check": "norm", "ratio": 0.5}
    assert "receipt-invalid" in ids(audit(run), "critical")
    with receipts(run) as lines:
        del lines[1]["unlikely"]
        place = {name: lines[0][name] for name in ("run", "plan", "suite")}
        lines.insert(2, {**place, "refused": 3, "check": "norm", "ratio": 3.0})
    assert "sum-accepted" in ids(audit(run), "critical")


def test_an_evaluation_of_impossible_counts_is_not_published(tmp_path: Path) -> None:
    evaluated = text().replace("[evaluation]", "[evaluation]\nepsilon = 1.0")
    sites, run = write_sites(tmp_path / "sites"), tmp_path / "run"
    with poisoned(from_round=5), pytest.raises(SumRefused, match=r"^round 5: "):
        simulate(parse(evaluated), sites, run, engine="vectorized")
    assert not any("evaluation" in line for line in lines_of(run))
    reported = parse(evaluated.replace("[server]", '[server]\nunlikely_sum = "report"'))
    with poisoned(from_round=5), patch.object(RunFolder, "close"):
        report = simulate(reported, sites, tmp_path / "other", engine="vectorized")
    assert report.evaluation.unlikely is not None
    assert "The sums of the evaluation" in render(report)
    found = audit(tmp_path / "other")
    assert "sum-unlikely" in ids(found, "warning") and not ids(found, "critical")


def test_a_plan_that_does_not_say_has_the_digest_that_it_had() -> None:
    """As of the version before the key was there."""
    before = "72491e6a141ef80fc9601a3d5a7b175fc35dbe31e2d14dc02f8cc7c9a693cd3a"
    assert parse(text()).digest == f"sha256:{before}"
    assert len({parse(text(choice)).digest for choice in (None, "refuse", "report")}) == 3
