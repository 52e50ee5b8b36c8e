"""One simulation: its files, its report, and taking it up again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch

from clients.data.load import Reading, read_file
from clients.rules.origin import Place
from federation.audit.examine import audit
from federation.errors import CheckpointError, DataError, TrainingDiverged
from federation.identity.roster_file import load_roster
from federation.ledger.export import load_entries
from federation.model.params import params_bytes, params_digest
from federation.model.task import Task
from federation.plan.plan import Plan, parse
from federation.report import wording
from federation.report.receipt import Receipt
from federation.report.report import Report, metrics_of
from federation.sums.optimizers import ServerOptimizer, build
from privacy.accounting.pld import epsilon
from privacy.ledger.heads import head_from_json
from privacy.ledger.state import fold
from privacy.roster import Roster
from server.run_folder import RunFolder
from simulations import baseline
from simulations.simulate import Engine, Study, simulate
from simulations.sums.adding import Adding
from simulations.tried import uses_of
from tests.worlds import HERE, load_params, text_of, write_sites

TEXT = text_of()
PRIVATE = text_of(noise="distributed", rounds=50)


def nothing(_: Receipt, __: Mapping[str, float | None]) -> None:
    pass


def simulated(text: str, sites: Path, out: Path, engine: Engine = "vectorized") -> Report:
    return simulate(parse(text), sites, out, engine=engine, progress=nothing)


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sites(tmp_path_factory.mktemp("world") / "sites")


@pytest.fixture(scope="module")
def private(sites: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """A private run's folder and its report."""
    out = tmp_path_factory.mktemp("private") / "run"
    return out, simulated(PRIVATE, sites, out)


class Killed(BaseException):
    pass


def stop(report: Receipt, _: Mapping[str, float | None]) -> None:
    if report.round == 2:
        raise Killed


@pytest.fixture(scope="module")
def stopped(sites: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a private run that was killed after its second round."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(Killed):
        simulate(parse(PRIVATE), sites, out, engine="vectorized", progress=stop)
    return out


def test_a_run_folder_holds_what_the_manual_says(private: tuple[Path, Report]) -> None:
    out, report = private
    assert sorted(entry.name for entry in out.iterdir()) == [
        "journals",
        "params.safetensors",
        "plan.toml",
        "receipts.jsonl",
        "report.html",
        "report.json",
        "roster.toml",
    ]
    assert {path.name for path in (out / "journals").glob("*.sqlite")} == {
        f"{site.id}.sqlite" for site in report.sites
    }
    assert json.loads((out / "report.json").read_text()) == report.to_json()
    assert "<html" in (out / "report.html").read_text()


def test_the_report_has_the_fields_of_the_manual(private: tuple[Path, Report]) -> None:
    report = private[1].to_json()
    assert report["schema"] == "federation.report/1"
    assert report["plan_digest"] == parse(PRIVATE).digest
    assert (report["engine"], report["simulated"], report["seed"]) == ("vectorized", True, 7)
    assert {
        "unit",
        "noise",
        "epsilon",
        "delta",
        "noise_multiplier",
        "accountant",
        "cross_check",
        "private",
    } <= set(report["privacy"])
    for site in report["sites"]:
        assert {"id", "epsilon", "steps", "bytes_up", "bytes_down"} <= set(site)
    for entry in report["rounds"]:
        assert {"round", "cohort", "survivors", "seconds"} <= set(entry)
    assert {"pooled", "sites", "baselines"} <= set(report["evaluation"])
    assert {"majority", "without_privacy", "local_only"} == set(report["evaluation"]["baselines"])
    clocks = {"total_seconds", "training_seconds", "client_rounds_per_second"}
    assert set(report["timing"]) == clocks | {"energy"}
    assert set(report["timing"]["energy"]["sites"]) == set(report["evaluation"]["beside_alone"]["sites"])


def test_the_report_agrees_with_the_journals_and_the_receipts(private: tuple[Path, Report]) -> None:
    out, report = private
    receipts = RunFolder(out, parse(PRIVATE)).receipts()
    assert [entry.round for entry in report.rounds] == [entry.round for entry in receipts]
    for site in report.sites:
        entries = load_entries(out / "journals" / f"{site.id}.sqlite")
        kinds = [entry.kind for entry in entries]
        assert kinds.count("begin") == kinds.count("release") == site.rounds == site.steps == 50
        assert kinds.count("reserve") == 1
        spent = epsilon(fold(entries).charged("record"), 1e-5)
        assert spent == site.epsilon == report.privacy.epsilon
    assert report.privacy.epsilon is not None
    assert 2.98 < report.privacy.epsilon <= 3.0
    assert report.history[-1].epsilon == pytest.approx(report.privacy.epsilon, rel=1e-3)


def test_the_report_s_evaluation_is_that_of_the_params_in_the_folder(
    sites: Path, private: tuple[Path, Report]
) -> None:
    from clients.data.folders import find_sites
    from simulations.summary import model_of, pooled_metrics
    from simulations.world import read_world

    out, report = private
    world = read_world(parse(PRIVATE), find_sites(sites).sites)
    pooled = metrics_of(report.evaluation.pooled)
    assert pooled_metrics(world, model_of(world, load_params(out))) == pooled
    assert report.history[-1].metrics == pooled


def test_a_run_without_privacy_says_so(sites: Path, tmp_path: Path) -> None:
    report = simulated(TEXT, sites, tmp_path / "run")
    assert report.privacy.private is False
    assert report.privacy.epsilon is None
    assert {site.epsilon for site in report.sites} == {None}
    assert "without_privacy" not in report.evaluation.baselines
    assert "NOT PRIVATE" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize("engine", HERE)
@pytest.mark.parametrize(
    ("noise", "published"), [("none", False), ("distributed", False), ("distributed", True)]
)
def test_a_report_reads_back_as_it_was_written(
    sites: Path, tmp_path: Path, engine: Engine, noise: str, published: bool
) -> None:
    text = text_of(noise=noise, rounds=2)
    if published:
        text = text.replace("[evaluation]", "[evaluation]\nepsilon = 1.0")
    report = simulated(text, sites, tmp_path / "run", engine)
    written = json.loads((tmp_path / "run" / "report.json").read_text("utf-8"))
    assert Report.from_json(report.to_json()) == report == Report.from_json(written)
    assert report.to_json() == written == Report.from_json(written).to_json()
    assert ("published" in written["evaluation"]) == published
    assert all(site["records"] > 0 for site in written["sites"])
    assert [site["lines"] for site in written["sites"]] == [
        path.read_text().count("\n") for path in sorted(sites.glob("*.csv"))
    ]


def test_the_same_seed_gives_the_same_params_and_another_seed_others(sites: Path, tmp_path: Path) -> None:
    text = text_of(sample_rate=0.5)
    simulated(text, sites, tmp_path / "a")
    simulated(text, sites, tmp_path / "b")
    simulated(text_of(sample_rate=0.5, seed=8), sites, tmp_path / "c")
    params = [load_params(tmp_path / name) for name in "abc"]
    assert torch.equal(params[0], params[1])
    assert not torch.equal(params[0], params[2])


def test_noise_is_never_that_of_the_seed(sites: Path, tmp_path: Path, private: tuple[Path, Report]) -> None:
    simulated(PRIVATE, sites, tmp_path / "again")
    assert not torch.equal(load_params(private[0]), load_params(tmp_path / "again"))


def test_progress_hears_of_every_round(sites: Path, tmp_path: Path) -> None:
    heard: list[tuple[int, set[str]]] = []
    simulate(
        parse(TEXT), sites, tmp_path / "run", engine="protocol",
        progress=lambda report, metrics: heard.append((report.round, set(metrics))),
    )  # fmt: skip
    assert heard == [(number, {"accuracy", "auc"}) for number in (1, 2, 3)]


def test_a_complete_run_only_reads_its_report(
    sites: Path, private: tuple[Path, Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, report = private
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}

    def never(*_: object) -> None:
        raise AssertionError("a complete run opens no journal")

    monkeypatch.setattr("simulations.world.open_journal", never)
    monkeypatch.setattr("simulations.accounts.file.AccountFile.open", never)
    assert simulated(PRIVATE, sites, out) == report
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == times


def test_a_complete_run_without_its_report_is_an_error(sites: Path, tmp_path: Path) -> None:
    simulated(TEXT, sites, tmp_path / "run")
    (tmp_path / "run" / "report.json").unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        simulated(TEXT, sites, tmp_path / "run")


@pytest.mark.parametrize("change", [{"seed": 8}, {"rounds": 4}])
def test_the_folder_of_another_plan_or_seed_is_refused_and_left_alone(
    sites: Path, tmp_path: Path, change: dict[str, int]
) -> None:
    simulated(TEXT, sites, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match="another plan or seed") as caught:
        simulated(text_of(**change), sites, tmp_path / "run")
    assert caught.value.exit_code == 2
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("engine", ["vectorized", "protocol"])
def test_a_run_stopped_after_any_round_goes_on_to_the_same_params(
    sites: Path, tmp_path: Path, engine: Engine
) -> None:
    with pytest.raises(Killed):
        simulate(parse(TEXT), sites, tmp_path / "run", engine=engine, progress=stop)
    report = simulated(TEXT, sites, tmp_path / "run", engine)
    assert [entry.round for entry in report.rounds] == [1, 2, 3]
    assert {site.rounds for site in report.sites} == {3}
    simulated(TEXT, sites, tmp_path / "whole", engine)
    assert torch.equal(load_params(tmp_path / "run"), load_params(tmp_path / "whole"))


@pytest.mark.parametrize("engine", HERE)
def test_journals_that_are_spent_end_a_second_run_on_every_engine(
    sites: Path, tmp_path: Path, stopped: Path, engine: Engine
) -> None:
    for name in ("journals", "checkpoint/keys"):  # the same sites; what they are asked is another run
        copytree(stopped / name, tmp_path / "run" / name)
    (tmp_path / "run" / "plan.toml").write_text(PRIVATE)
    with pytest.raises(CheckpointError, match="tells of a run that was begun here"):
        simulated(PRIVATE, sites, tmp_path / "run", engine)
    assert not (tmp_path / "run" / "params.safetensors").exists()
    assert not (tmp_path / "run" / "receipts.jsonl").exists()


def test_bad_data_leaves_no_run_folder(tmp_path: Path) -> None:
    folder = write_sites(tmp_path / "sites")
    (folder / "ash.csv").write_text("")
    with pytest.raises(DataError, match="is empty"):
        simulated(TEXT, folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_that_diverges_says_so(sites: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match=r"lower training\.learning_rate"):
        simulated(text_of().replace("learning_rate = 0.5", "learning_rate = 1e5"), sites, tmp_path / "run")


WILD = {
    "noise": "distributed",
    "rounds": 4,
    "sample_rate": 0.5,
    "clipping_norm": 0.01,
    "training.learning_rate": 200.0,
}
DIVERGING = {
    "average": {},
    "mlp": {"model": "mlp"},
    "site noise": {"noise": "site"},
    "a whole site": {"noise": "site", "unit": "client", "epsilon": 100.0},
}


def check_complete(out: Path) -> None:
    """All that was paid for is there, and an auditor has nothing against it."""
    assert {"params.safetensors", "report.json", "report.html"} <= {path.name for path in out.iterdir()}
    assert not (out / "checkpoint").exists()
    assert audit(out).verdict == "pass"


@pytest.mark.parametrize("values", DIVERGING.values(), ids=DIVERGING)
def test_a_comparison_that_diverges_is_na_and_the_run_is_whole(
    values: dict[str, Any], sites: Path, tmp_path: Path
) -> None:
    report = simulated(text_of(**{**WILD, **values}), sites, tmp_path / "run")
    assert report.evaluation.baselines["without_privacy"] == {"accuracy": None, "auc": None}
    assert report.evaluation.missing.pop("baselines.without_privacy") == "diverged"
    assert set(report.evaluation.missing.values()) <= {"diverged"}
    assert report.evaluation.pooled["accuracy"] is not None
    assert "n/a (diverged)" in (tmp_path / "run" / "report.html").read_text()
    check_complete(tmp_path / "run")


@pytest.mark.parametrize("when", ["at once", "late"])
def test_a_site_whose_code_raises_in_the_comparison_ends_nothing_and_the_same_command_tries_again(
    sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    original, left = baseline.adding_of, [0 if when == "at once" else 20]

    class Failing(Adding):
        def __call__(self, *arguments: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise ZeroDivisionError("patient 987654")
            return super().__call__(*arguments)

    def failing(*arguments: Any) -> Adding:
        adding = original(*arguments)
        return Failing(adding.works, adding.own, adding.tally, adding.begins)

    with monkeypatch.context() as patch:
        patch.setattr(baseline, "adding_of", failing)
        report = simulated(PRIVATE, sites, tmp_path / "run")
    assert report.evaluation.missing == {"baselines.without_privacy": "ZeroDivisionError"}
    assert "n/a (ZeroDivisionError)" in (tmp_path / "run" / "report.html").read_text()
    assert "987654" not in (tmp_path / "run" / "report.json").read_text()
    assert audit(tmp_path / "run").verdict == "pass"
    with pytest.raises(CheckpointError, match="began with site cedar, which is not there now"):
        moved = copytree(sites, tmp_path / "moved")
        (moved / "cedar.csv").rename(moved / "dogwood.csv")
        simulated(PRIVATE, moved, tmp_path / "run")
    before = journals_of(tmp_path / "run")
    again = simulated(PRIVATE, sites, tmp_path / "run")
    assert again.evaluation.missing == {}
    assert again.evaluation.baselines["without_privacy"]["accuracy"] is not None
    assert "n/a (" not in (tmp_path / "run" / "report.html").read_text().replace("n/a (diverged):", "")
    assert charges_in(journals_of(tmp_path / "run")) == charges_in(before), (
        "nothing is trained or charged for it"
    )
    check_complete(tmp_path / "run")


def journals_of(out: Path) -> dict[str, tuple[Any, ...]]:
    return {path.name: load_entries(path) for path in (out / "journals").glob("*.sqlite")}


def charges_in(journals: Mapping[str, tuple[Any, ...]]) -> dict[str, list[Any]]:
    """Without the rosters of a simulation that begins anew, which cost nothing."""
    return {
        name: [entry for entry in entries if entry.kind != "roster"] for name, entries in journals.items()
    }


def test_no_comparison_where_none_is_wanted(sites: Path, tmp_path: Path) -> None:
    report = simulate(parse(PRIVATE), sites, tmp_path / "run", baseline=False)
    assert set(report.evaluation.baselines) == {"majority"}
    assert report.evaluation.missing == {}
    assert not (tmp_path / ".baselines").exists()
    assert simulate(parse(PRIVATE), sites, tmp_path / "run", baseline=False) == report
    later = simulated(PRIVATE, sites, tmp_path / "run")
    assert later == report, "a finished run keeps nothing by which its data could be told from others"
    other = simulated(PRIVATE, sites, tmp_path / "other")
    assert set(other.evaluation.local_only) == set(other.evaluation.sites)
    assert "own model, without privacy" in (tmp_path / "other" / "report.html").read_text()
    assert set(other.evaluation.baselines) == {"majority", "without_privacy", "local_only"}
    assert "with its own it may do better" in (tmp_path / "other" / "report.html").read_text()


def test_the_report_is_on_disk_before_the_comparison_begins(
    sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("simulations.simulate.without_privacy", killed)
        simulated(PRIVATE, sites, tmp_path / "run")
    written = json.loads((tmp_path / "run" / "report.json").read_text())
    assert written["evaluation"]["missing"] == {"baselines.without_privacy": "not made yet"}
    assert audit(tmp_path / "run").verdict == "pass"
    assert simulated(PRIVATE, sites, tmp_path / "run").evaluation.missing == {}
    check_complete(tmp_path / "run")


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), ZeroDivisionError("patient 987654")]
)
def test_a_page_that_cannot_be_made_is_said_and_made_by_the_same_command_later(
    sites: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("federation.report.page.render", failing)
        report = simulated(TEXT, sites, tmp_path / "run")
    told = caplog.messages[-1]
    assert "report.html: n/a (" in told
    assert ("No space left on device" in told) == isinstance(error, OSError)
    assert "987654" not in told
    assert not (tmp_path / "run" / "report.html").exists()
    assert audit(tmp_path / "run").verdict == "pass"
    assert simulated(TEXT, sites, tmp_path / "run") == report
    check_complete(tmp_path / "run")


def test_files_without_a_header_are_simulated_and_audited_like_those_with_one(
    sites: Path, tmp_path: Path
) -> None:
    expected = simulated(TEXT, sites, tmp_path / "run")
    for path in sites.glob("*.csv"):
        header, rows = path.read_text().split("\n", 1)
        path.write_text(rows.replace(",", ";"))
    (sites / "reading.toml").write_text(f"separator = ';'\ncolumns = {header.split(',')}\n")
    found = simulated(TEXT, sites, tmp_path / "raw")
    assert found.evaluation == expected.evaluation
    assert audit(tmp_path / "raw").verdict == "pass"


def test_metrics_that_cannot_be_computed_are_na_and_the_run_goes_on(
    sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise ZeroDivisionError("patient 987654")

    monkeypatch.setattr("simulations.summary._measured", failing)
    report = simulated(PRIVATE, sites, tmp_path / "run")
    assert set(metrics_of(report.evaluation.pooled).values()) == {None}
    assert report.evaluation.pooled["n"] == 36
    assert {line.metrics.get("accuracy") for line in report.history} == {None}
    assert (
        report.evaluation.missing["pooled"] == report.evaluation.missing["sites.ash"] == "ZeroDivisionError"
    )
    assert audit(tmp_path / "run").verdict == "pass"


@pytest.mark.parametrize("engine", ["vectorized", "protocol"])
@pytest.mark.parametrize("factor", [1e10, 1e30])
def test_params_that_are_no_numbers_any_more_are_kept_if_they_are_the_last_and_else_cost_no_more(
    sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine, factor: float
) -> None:
    def exploding(state: Any, params: torch.Tensor, *_: object) -> Any:
        return state, params * factor

    rule = ServerOptimizer(build("average", 1.0).init, exploding)
    monkeypatch.setattr("federation.sums.state.optimizer", lambda _: rule)
    text, out = text_of(noise="distributed", rounds=4, sample_rate=0.5), tmp_path / "run"
    if factor > 1e20:  # the second of four rounds
        for _ in range(2):
            with pytest.raises(TrainingDiverged, match="not finite after round 2"):
                simulated(text, sites, out, engine)
        kinds = [entry.kind for entry in load_entries(out / "journals" / "ash.sqlite")]
        assert kinds.count("begin") == 2
        return
    report = simulated(text, sites, out, engine)
    assert report.evaluation.missing["pooled"] == "diverged"
    assert not load_params(out).isfinite().all()
    check_complete(out)


@pytest.mark.parametrize("file", ["params.safetensors", "report.json", "state.safetensors", "roster.toml"])
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(
    sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    original, text = Path.replace, text_of(noise="distributed", rounds=4, sample_rate=0.5)

    def full(path: Path, target: Path) -> Path:
        if target.name == file:
            raise OSError(28, "No space left on device")
        return original(path, target)

    with monkeypatch.context() as patch, pytest.raises(CheckpointError, match="No space left on device"):
        patch.setattr(Path, "replace", full)
        simulated(text, sites, tmp_path / "run")
    simulated(text, sites, tmp_path / "run")
    check_complete(tmp_path / "run")
    for entries in journals_of(tmp_path / "run").values():
        kinds = [entry.kind for entry in entries]
        assert (kinds.count("reserve"), kinds.count("begin")) == (1, 4)


def test_long_work_is_told_stage_by_stage(sites: Path, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    simulate(parse(PRIVATE), sites, tmp_path / "run", stage=lambda *what: heard.append(what))
    assert list(dict.fromkeys(what for what, _, _ in heard)) == [
        "working out the noise",
        "reading the data",
        "counting what was spent",
        "comparison without privacy",
        "each site by itself",
        "drawing the report",
    ]
    assert {(done, total) for what, done, total in heard if what.startswith("comparison")} == {
        (number, 50) for number in range(1, 51)
    }


def closings(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "receipts.jsonl").read_text().splitlines()]
    return [line for line in lines if line.get("closed")]


@pytest.mark.parametrize("engine", HERE)
def test_a_run_is_closed_in_its_receipts_and_at_every_site(
    sites: Path, tmp_path: Path, engine: Engine
) -> None:
    simulated(TEXT, sites, tmp_path / "run", engine)
    (closing,) = closings(tmp_path / "run")
    roster = Roster.from_bytes(load_roster(tmp_path / "run" / "roster.toml").roster)
    assert closing["params"] == params_digest(params_bytes(load_params(tmp_path / "run"))).hex()
    assert set(closing["heads"]) == {entry.site for entry in roster.entries}
    for name, data in closing["heads"].items():
        entries, head = load_entries(tmp_path / "run" / "journals" / f"{name}.sqlite"), head_from_json(data)
        assert entries[0].body["simulated"] is True
        assert entries[-1].body == {"run": closing["run"], "params": closing["params"]}
        assert (entries[-1].kind, entries[-1].seq, entries[-1].hash) == ("close", head.seq, head.hash)
        assert head.is_signed_by(roster.by_site[name].key)


@pytest.mark.parametrize("engine", ["vectorized", "protocol"])
@pytest.mark.parametrize(
    "instant",
    [
        "server.run_folder.RunFolder.store_closing",
        "server.run_folder.RunFolder.write_params",
        "server.checkpoint.remove",
    ],
)
def test_a_run_that_was_killed_while_it_closed_is_closed_once(
    sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine, instant: str
) -> None:
    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(instant, killed)
        simulated(TEXT, sites, tmp_path / "run", engine)
    simulated(TEXT, sites, tmp_path / "run", engine)
    told = closings(tmp_path / "run")
    assert len({(line["run"], line["plan"], line["params"]) for line in told}) == 1
    for name, head in told[-1]["heads"].items():
        entries = load_entries(tmp_path / "run" / "journals" / f"{name}.sqlite")
        kinds = [entry.kind for entry in entries]
        assert kinds.count("close") == 1
        assert set(kinds[kinds.index("close") + 1 :]) <= {"roster"}  # whoever resumes signs the next one
        assert entries[-1].hash == head_from_json(head).hash
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_the_keys_of_a_run_are_its_own_and_go_with_its_checkpoint(sites: Path, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        simulate(parse(TEXT), sites, tmp_path / "run", engine="vectorized", progress=stop)
    keys = tmp_path / "run" / "checkpoint" / "keys"
    assert sorted(path.name for path in keys.iterdir()) == ["inputs", "sites"]
    assert {path.stat().st_mode & 0o077 for path in (keys, *keys.iterdir())} == {0}
    (keys / "sites").unlink()
    with pytest.raises(CheckpointError, match="the key of site ash changed"):  # nobody goes on in its ledger
        simulated(TEXT, sites, tmp_path / "run")


def test_a_site_by_itself_is_compared_by_its_own_records(sites: Path, tmp_path: Path) -> None:
    report = simulated(PRIVATE, sites, tmp_path / "run")
    told = report.evaluation
    held = {name: of["n"] or 0 for name, of in told.sites.items()}
    right = sum(held[name] * (of["accuracy"] or 0) for name, of in told.local_only.items())
    assert told.baselines["local_only"]["accuracy"] == pytest.approx(right / sum(held.values()))
    assert told.local_only != {name: metrics_of(of) for name, of in told.sites.items()}


def test_a_run_of_a_study_says_so_and_has_no_page(sites: Path, tmp_path: Path) -> None:
    read: list[str] = []

    def once(place: Place, plan: Plan, task: Task) -> Reading:
        read.append(str(place))
        return read_file(place, plan, task)

    study = Study(runs=12, read=once, uses=uses_of)
    report = simulate(parse(PRIVATE), sites, tmp_path / "run", baseline=False, study=study)
    assert report.privacy.tried is not None
    assert report.privacy.tried.study == 12
    assert len(read) == len(report.sites)
    assert not (tmp_path / "run" / "report.html").exists()
    assert "one of 12 of a trade-off" in " ".join(wording.tried(report.privacy))
    assert audit(tmp_path / "run").verdict == "pass"
