"""A cross-validation: a whole simulation for each fold, resumed, counted as tries, and what it would cost."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path

import pytest

from federation.audit.examine import audit
from federation.errors import CheckpointError, InputError
from federation.plan.plan import parse
from federation.report.files import read_report
from federation.report.receipt import Receipt
from privacy.accounting.events import GaussianEvent
from privacy.accounting.pld import epsilon
from simulations.folds.crossing import cross_validate
from simulations.folds.result import CrossValidation, folds_cost, spreads
from simulations.simulate import simulate
from tests.federation.command import Command
from tests.worlds import plan_of, rows_of, text_of, write_csv, write_sites

PLAN = plan_of(noise="distributed", rounds=2, sample_rate=0.5)
BARE = plan_of(rounds=2)


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sites(tmp_path_factory.mktemp("world") / "sites")


@pytest.fixture(scope="module")
def made(sites: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CrossValidation]:
    out = tmp_path_factory.mktemp("made") / "cv"
    return out, cross_validate(PLAN, sites, out, folds=2)


def test_each_fold_is_a_run_that_an_audit_passes_and_every_record_is_tested_once(
    made: tuple[Path, CrossValidation],
) -> None:
    out, found = made
    reports = [read_report(out / line.run) for line in found.folds]
    for number, report in enumerate(reports, 1):
        assert report.fold is not None and (report.fold.number, report.fold.of) == (number, 2)
        assert report.plan_digest == PLAN.digest
        assert audit(out / f"fold-{number}").verdict == "pass"
        page = (out / f"fold-{number}" / "report.html").read_text("utf-8")
        assert f"fold {number} of 2 of a cross-validation" in page
        trained = sum(site.records or 0 for site in report.sites)
        assert trained + int(report.evaluation.pooled["n"] or 0) == 40 + 48 + 56
    assert sum(int(line.pooled["n"] or 0) for line in found.folds) == 40 + 48 + 56
    assert found.tried is not None and found.tried.runs is not None and found.tried.runs >= 2


def test_the_figures_are_mean_and_deviation_over_the_folds(made: tuple[Path, CrossValidation]) -> None:
    out, found = made
    told = json.loads((out / "folds.json").read_text("utf-8"))
    assert told["schema"] == "federation.folds/1"
    for name in ("accuracy", "auc"):
        values = [line["pooled"][name] for line in told["folds"]]
        spread = told["metrics"][name]
        assert spread["mean"] == pytest.approx(statistics.fmean(values))
        assert spread["deviation"] == pytest.approx(statistics.stdev(values))
    assert set(told["baselines"]) == {"majority", "without_privacy", "local_only"}
    assert CrossValidation.from_json(told) == found


def test_a_figure_that_some_folds_lack_is_over_the_others_and_says_over_how_many() -> None:
    found = spreads([{"auc": 0.5}, {"auc": None}, {"auc": 0.7}])["auc"]
    assert (found.mean, found.folds) == (pytest.approx(0.6), 2)
    assert spreads([{"auc": None}])["auc"].mean is None


@pytest.mark.parametrize(("unit", "trainings"), [("record", 5), ("client", 6)])
def test_it_costs_what_the_trainings_of_one_unit_compose_to(unit: str, trainings: int) -> None:
    plan = plan_of(noise="distributed", rounds=4, sample_rate=0.5, unit=unit)
    found, event = folds_cost(plan, 5), plan.kind.event
    assert found is not None and isinstance(event, GaussianEvent) and plan.privacy.delta is not None
    assert found.trainings == trainings
    assert found.epsilon == pytest.approx(epsilon([event] * trainings, plan.privacy.delta))
    assert found.together is None


def test_an_evaluation_is_paid_for_once_by_each_record() -> None:
    plan = plan_of({"evaluation.epsilon": 1.0}, noise="distributed", rounds=4, sample_rate=0.5)
    found = folds_cost(plan, 5)
    assert found is not None and found.evaluation is not None and found.together is not None
    events = [charge.event for charge in plan.charges]
    assert found.together.epsilon == pytest.approx(epsilon([events[0]] * 5 + events[1:], 1e-5))
    assert found.evaluation.epsilon == pytest.approx(1.0, abs=0.01)
    assert folds_cost(BARE, 5) is None


class Killed(BaseException):
    """The process is over."""


def test_it_goes_on_where_it_was_on_the_same_records_only(sites: Path, tmp_path: Path) -> None:
    ended: list[str] = []

    def stop(fold: int, receipt: Receipt, _: Mapping[str, float | None]) -> None:
        if (fold, receipt.round) == (2, 1):
            raise Killed

    def end(folder: Path, _: object) -> None:
        ended.append(folder.name)

    with pytest.raises(Killed):
        cross_validate(BARE, sites, tmp_path / "cv", folds=3, progress=stop, ended=end, baseline=False)
    other = write_sites(tmp_path / "sites")
    write_csv(other / "ash.csv", [*rows_of(0, 40)[1:], ["30", "0.5", "a", "no"]])
    with pytest.raises(CheckpointError, match="the records changed since"):
        cross_validate(BARE, other, tmp_path / "cv", folds=3)
    with pytest.raises(CheckpointError, match="holds 3 folds, not 4"):
        cross_validate(BARE, sites, tmp_path / "cv", folds=4)
    found = cross_validate(BARE, sites, tmp_path / "cv", folds=3, ended=end, baseline=False)
    assert ended == ["fold-1", "fold-2", "fold-3"], "no fold is trained twice"
    whole = cross_validate(BARE, sites, tmp_path / "whole", folds=3, baseline=False)
    assert found.metrics == whole.metrics
    assert {path.name for path in (tmp_path / "cv").iterdir()} >= {"fold-1", "fold-3", "folds.json"}
    assert not (tmp_path / "cv" / "checkpoint").exists()
    lines: list[str] = []
    assert cross_validate(BARE, sites, tmp_path / "cv", folds=3, notice=lines.append) == found
    assert lines[0].startswith("nothing was run") and lines[0].endswith("of these records")
    with pytest.raises(CheckpointError, match="the records changed since") as caught:
        cross_validate(BARE, other, tmp_path / "cv", folds=3)
    assert caught.value.exit_code == 2
    with pytest.raises(CheckpointError, match="holds a fold of a cross-validation"):
        simulate(BARE, sites, tmp_path / "cv" / "fold-1", baseline=False)


def test_folds_with_faults_are_no_folds_without_them(sites: Path, tmp_path: Path) -> None:
    plan, faults = plan_of(rounds=2, dropouts=1), "dropouts=0.1, seed=3"
    found = cross_validate(plan, sites, tmp_path / "cv", folds=2, faults=faults, baseline=False)
    assert found.faults is not None and found.faults["dropouts"] == 0.1
    assert cross_validate(plan, sites, tmp_path / "cv", folds=2, faults=faults) == found
    with pytest.raises(CheckpointError, match="with the faults"):
        cross_validate(plan, sites, tmp_path / "cv", folds=2)


def test_a_plan_whose_sites_keep_layers_leaves_no_whole_model_to_judge(sites: Path, tmp_path: Path) -> None:
    own = '\n[personal]\nsteps = 1\nlearning_rate = 0.1\nlayers = ["2"]\nkept = 130\n'
    plan = parse(text_of({"unit": "client", "task.model": "mlp"}) + own)
    with pytest.raises(InputError, match="leaves no whole model to compare"):
        cross_validate(plan, sites, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["plan.toml", "notes.txt"])
def test_a_folder_of_something_else_is_left_alone(sites: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(CheckpointError, match="name a new folder"):
        cross_validate(BARE, sites, tmp_path, folds=3)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_test_files_are_left_alone_and_a_ledger_is_not_spent_on_folds(tmp_path: Path) -> None:
    sites = write_sites(tmp_path / "sites")
    (sites / "ash.csv").unlink()
    write_csv(sites / "ash" / "train.csv", rows_of(0, 40))
    write_csv(sites / "ash" / "test.csv", rows_of(1, 12))
    lines: list[str] = []
    found = cross_validate(BARE, sites, tmp_path / "cv", folds=2, notice=lines.append, baseline=False)
    assert sum(int(line.pooled["n"] or 0) for line in found.folds) == 40 + 48 + 56
    assert any("test files of 1 sites are left alone" in line for line in lines)
    (sites / "ash" / "site.toml").write_text("")
    with pytest.raises(InputError, match="site ash has a ledger"):
        cross_validate(BARE, sites, tmp_path / "other", folds=2)
    assert not (tmp_path / "other").exists()


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def test_the_command_prints_the_folds_their_spread_and_the_cost(
    command: Command, sites: Path, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(text_of(noise="distributed", rounds=2, sample_rate=0.5))
    words = ["simulate", str(plan), "--sites", str(sites), "--folds", "2", "--out", str(tmp_path / "cv")]
    done = command(*words, "--no-baseline")
    assert done.code == 0, done.err
    for part in ("fold 2", "±", "As a real run, 2 folds and the final training would cost epsilon"):
        assert part in done.out
    again = command(*words, "--json")
    assert json.loads(again.out)["cost"]["trainings"] == 2
    assert command(*words[:-3], "1").code == 2
