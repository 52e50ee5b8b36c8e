"""A published histogram: an honest one passes wherever its noise is, and a forged one is found (DP-55)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from federation.audit.examine import audit
from federation.audit.figures.counted import wrong_with
from federation.kinds.cells import Cells, Group, blocks_of
from federation.plan.plan import load
from federation.report.report import PAID, Evaluation, Report
from federation.sums.scores import headline, histogram
from tests.federation.audit.audited import edited_report, finished, ids, line_of, receipts, served
from tests.federation.sums.kept import forged, parts_of
from tests.worlds import text_of

CELLS = Cells((0.25, 0.5, 0.75), 0.5, (Group("sex", ("0", "1")),))
COUNTS = [400.0, 200, 100, 50, 30, 60, 120, 240, 300, 250, 80, 20, 10, 90, 150, 300]
Change = Callable[[dict[str, Any]], object]


def text_with(noise: str) -> str:
    text = text_of(noise=noise, rounds=1, epsilon=1.0, **{"evaluation.holdout": 0.5})
    return text.replace("[evaluation]", '[evaluation]\nepsilon = 5.0\nbins = 4\ngroups = ["ward"]')


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by the messages of `serve` and `join`, with sites of their own."""
    return served(tmp_path_factory.mktemp("real"), text_with("distributed"))


@pytest.fixture
def run(real: Path, tmp_path: Path) -> Path:
    return copytree(real, tmp_path / "run")


@pytest.fixture(scope="module", params=["central", "site"])
def unmasked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No transcript shows the sum of this one."""
    noise: str = request.param
    return finished(tmp_path_factory.mktemp(noise), "vectorized", text_with(noise))


def told_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = line_of(run)["evaluation"]
    return found


def told_alike(run: Path, change: Change) -> set[str]:
    """What an audit finds where receipt and report tell the same forged evaluation."""
    with receipts(run) as lines:
        for line in lines:
            if "evaluation" in line:
                change(line["evaluation"])
    return ids(edited_report(run, lambda report: change(report["evaluation"]["published"])))


def test_a_real_run_publishes_a_histogram_of_known_groups_that_follows_from_its_sum(real: Path) -> None:
    found = audit(real)
    assert not {one.id for one in found.findings if "evaluation" in one.id or one.severity == "critical"}
    assert found.sums.verified == 2
    told = told_of(real)
    assert told["histogram"]["groups"]["ward"].keys() == {"= a", "= b", "= c"}
    report = json.loads((real / "report.json").read_text("utf-8"))
    assert report["evaluation"]["published"] == told


def test_noise_of_the_server_or_of_each_site_is_told_and_audited(unmasked: Path) -> None:
    found = audit(unmasked)
    assert (found.verdict, ids(found)) == ("pass", set())
    plan, told = load(unmasked / "plan.toml"), told_of(unmasked)["histogram"]
    assert plan.figures is not None
    sites = 3 if plan.privacy.noise == "site" else 1
    assert told["deviation"] == pytest.approx(plan.figures.noise_multiplier * sites**0.5, rel=0.01)


def more(name: str) -> Change:
    def change(told: dict[str, Any]) -> None:
        one = told["histogram"]["metrics"][name] or {"low": 0.0, "high": 1.0}
        told["histogram"]["metrics"][name] = {**one, "value": 0.123}

    return change


def another_cell(told: dict[str, Any]) -> None:
    told["histogram"]["cells"][0][0] = (told["histogram"]["cells"][0][0] or 0) + 7.5


def a_hidden_group(told: dict[str, Any]) -> None:
    told["histogram"]["groups"]["ward"]["= b"]["metrics"]["recall"] = {"value": 0.9, "low": 0.8, "high": 1.0}


def a_narrower_interval(told: dict[str, Any]) -> None:
    one = told["histogram"]["metrics"]["accuracy"] or {"value": 0.5}
    told["histogram"]["metrics"]["accuracy"] = {**one, "low": one["value"], "high": one["value"]}


def a_band(told: dict[str, Any]) -> None:
    band = {"n": 30.0, "predicted": 0.125, "observed": 0.1, "low": 0.0, "high": 0.2}
    told["histogram"]["calibration"] = [band]


FORGERIES = [
    more("auc"),
    more("ks"),
    more("brier"),
    another_cell,
    a_hidden_group,
    a_narrower_interval,
    a_band,
]


@pytest.mark.parametrize(
    "change", FORGERIES, ids=["auc", "ks", "brier", "cell", "group", "interval", "calibration"]
)
def test_a_forged_figure_is_found_by_the_transcript(run: Path, change: Change) -> None:
    assert "evaluation-figures" in told_alike(run, change)


def test_a_forged_sum_of_cells_is_found(run: Path) -> None:
    number = load(run / "plan.toml").last_round
    parts = parts_of(run, number)
    other = bytes(reversed(parts.total))
    forged(run, number, lambda _: type(parts)(parts.heading, parts.start, parts.opened, parts.uploads, other))
    assert "sum-unproven" in ids(audit(run), "critical")


IMPOSSIBLE: Mapping[str, Change] = {
    "edges": lambda told: told["histogram"].update(edges=[0.0, 0.5, 1.0]),
    "threshold": lambda told: told["histogram"].update(threshold=0.4),
    "noise": lambda told: told["histogram"].update(deviation=told["histogram"]["deviation"] / 2),
    "no group": lambda told: told["histogram"].update(groups={}),
    "another group": lambda told: told["histogram"]["groups"]["ward"].update(d={}),
    "a group that is none": lambda told: told["histogram"]["groups"]["ward"].update({"= a": 3}),
    "no histogram": lambda told: told.update(histogram=None),
    "a text": lambda told: told["histogram"].update(cells="many"),
    "one more cell": lambda told: told["histogram"]["cells"][0].append(80.0),
    "a cell that noise hides": lambda told: told["histogram"]["cells"][0].__setitem__(0, 0.5),
    "outside of its interval": lambda told: told["histogram"]["metrics"].update(
        auc={"value": 0.9, "low": 0.1, "high": 0.2}
    ),
    "above 1": lambda told: told["histogram"]["metrics"].update(ks={"value": 1.9, "low": 0.1, "high": 2.2}),
    "an unknown figure": lambda told: told["histogram"]["metrics"].update(mae=None),
    "other records": lambda told: told["histogram"].update(records=12345.0),
}


@pytest.mark.parametrize("change", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_histogram_that_cannot_be_is_found_without_its_sum(unmasked: Path, change: Change) -> None:
    plan, told = load(unmasked / "plan.toml"), told_of(unmasked)
    cells, deviation = blocks_of(plan), told["histogram"]["deviation"]
    assert isinstance(cells, Cells)
    assert wrong_with(told["histogram"], told, cells, deviation) is None
    change(told)
    assert wrong_with(told["histogram"], told, cells, deviation)


def test_an_audit_finds_it_without_any_transcript(unmasked: Path, tmp_path: Path) -> None:
    assert "evaluation-figures" in told_alike(copytree(unmasked, tmp_path / "run"), IMPOSSIBLE["noise"])


def test_a_cohort_that_cannot_be_is_a_finding_and_no_crash(unmasked: Path, tmp_path: Path) -> None:
    run = copytree(unmasked, tmp_path / "run")
    with receipts(run) as lines:
        for line in lines:
            if "evaluation" in line:
                line["cohort"] = line["survivors"] = []
    assert audit(run).verdict == "fail"


def test_all_figures_follow_where_the_noise_hides_no_cell() -> None:
    told = histogram(CELLS, COUNTS, 2.0)
    beside = headline(told, CELLS, 2.0)
    assert wrong_with(told, beside, CELLS, 2.0) is None
    for name in told["metrics"]:
        other = json.loads(json.dumps(told))
        other["metrics"][name]["value"] = (
            other["metrics"][name]["low"] + other["metrics"][name]["value"]
        ) / 2
        assert wrong_with(other, beside, CELLS, 2.0), name
    for place in ("accuracy", "loss", "records"):
        assert wrong_with(told, {**beside, place: 0.3}, CELLS, 2.0), place
    other = json.loads(json.dumps(told))
    other["groups"]["sex"]["1"]["cells"][1][3] += 1
    assert wrong_with(other, beside, CELLS, 2.0)


EXACT: Mapping[str, Any] = {
    "intervals": {"pooled": {"auc": [0.1, 0.2]}},
    "confusion": [[1, 2], [3, 4]],
    "calibration": {"predicted": 0.1, "observed": 0.2, "bands": []},
    "clipped": {"first": 0.5, "last": 0.4, "units": 40},
    "pooled": {"accuracy": 0.9},
    "sites": {"ash": {"n": 3}},
    "local_only": {"ash": {"accuracy": 0.5}},
    "baselines": {"majority": {"accuracy": 0.5}},
    "mean_of_sites": {"accuracy": 0.5},
    "groups": {"sex": {"0": {"n": 12, "positives": 6, "metrics": {}}}},
    "beside_alone": {"metric": "auc", "sites": {"ash": {"gain": 0.1, "low": 0.0, "high": 0.2}}},
    "beside_shared": {"metric": "auc", "sites": {"ash": {"gain": 0.1, "low": 0.0, "high": 0.2}}},
    "personal": {"ash": {"accuracy": 0.9}},
}


def test_every_field_of_an_evaluation_but_what_was_paid_for_is_tried_here() -> None:
    texts = {"mean_of_sites_n", "missing", "threshold"}
    assert set(Evaluation.model_fields) - set(PAID) - texts == set(EXACT)


def test_a_real_run_s_report_does_not_say_what_its_computing_took(real: Path, run: Path) -> None:
    taken = {"cpu_seconds": 1.5, "joules": None, "sites": {}, "method": "clock"}
    report = json.loads((real / "report.json").read_text("utf-8"))
    with pytest.raises(ValueError, match="simulat"):
        Report.model_validate(report | {"timing": {**report["timing"], "energy": taken}})
    assert "evaluation-unplanned" in ids(edited_report(run, lambda told: told["timing"].update(energy=taken)))


@pytest.mark.parametrize("name", EXACT)
def test_a_real_run_s_report_holds_no_exact_figure(real: Path, run: Path, name: str) -> None:
    report = json.loads((real / "report.json").read_text("utf-8"))
    assert not report["evaluation"].get(name)
    report["evaluation"][name] = EXACT[name]
    with pytest.raises(ValueError, match="simulat"):
        Report.model_validate(report)
    found = edited_report(run, lambda told: told["evaluation"].update({name: EXACT[name]}))
    assert "evaluation-unplanned" in ids(found)


@pytest.mark.parametrize(("part", "name"), [("sites", "records"), ("sites", "lines"), ("history", "metrics")])
def test_a_real_run_s_report_counts_no_site_s_records(run: Path, part: str, name: str) -> None:
    value: object = {"accuracy": 0.5} if name == "metrics" else 40
    report = json.loads((run / "report.json").read_text("utf-8"))
    report[part][0][name] = value
    with pytest.raises(ValueError, match="simulat"):
        Report.model_validate(report)
    found = edited_report(run, lambda told: told[part][0].update({name: value}))
    assert "evaluation-unplanned" in ids(found)
