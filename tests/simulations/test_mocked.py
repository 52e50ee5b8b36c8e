"""Folders of made-up sites: check and simulate take them as they are, and nothing is ever replaced."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from clients.data.images.png import write_pictures
from clients.data.load import read_file
from federation.errors import DataError, InputError, UnusableFile
from federation.files import write_new
from federation.model.task import build_task
from federation.plan.made_up.mock import README, mock_table
from federation.plan.plan import Plan
from federation.plan.tabular import TabularTask
from simulations.mocked import mock_names, sites_for, write_mock_sites
from simulations.simulate import simulate
from simulations.survey import survey
from tests import plans
from tests.random_plans import random_plans

FAST: plans.Changes = {"rounds": 1, "sample_rate": 1.0, "delta": 1e-5}


def header_twice(plan: Plan, names: tuple[str, ...], rows: int) -> bool:
    """Whether a record is the header once more, as no file may have it."""
    tables = [mock_table(plan, name, rows) for name in names]
    return any(table.header in set(zip(*table.columns, strict=True)) for table in tables)


@settings(max_examples=15, deadline=None)
@given(plan=random_plans(FAST), rows=st.integers(30, 80))
def test_check_finds_nothing_to_refuse_in_made_up_sites_whatever_the_plan(plan: Plan, rows: int) -> None:
    assume(not header_twice(plan, names := mock_names(sites_for(plan)), rows))
    with TemporaryDirectory() as folder:
        write_mock_sites(plan, Path(folder), names, rows, 0)
        found = survey(plan, Path(folder))
    assert not found.errors
    assert {site.name for site in found.sites} == set(names)
    assert not any("passed over" in doubt for doubt in found.doubts), "our own note is no surprise"
    assert any("made up by federation mock; take no figure" in doubt for doubt in found.doubts)


@settings(max_examples=4, deadline=None)
@given(plan=random_plans(FAST))
def test_a_simulation_begins_and_ends_with_made_up_sites(plan: Plan) -> None:
    assume(not header_twice(plan, names := mock_names(sites_for(plan)), 60))
    with TemporaryDirectory() as folder:
        write_mock_sites(plan, Path(folder, "sites"), names, 60, 0)
        path = Path(folder, "plan.toml")
        path.write_text(plan.to_toml(), "utf-8")
        report = simulate(path, Path(folder, "sites"), Path(folder, "run"), baseline=False)
    assert len(report.rounds) == 1


@pytest.mark.parametrize(
    ("changes", "sites"),
    [({}, 3), ({"cohort.size": 7}, 7), ({"cohort.size": None, "cohort.sample_rate": 0.25}, 12)],
    ids=["all", "a number", "sampled"],
)
def test_as_many_sites_as_a_round_needs(changes: plans.Changes, sites: int, tmp_path: Path) -> None:
    plan = plans.plan_of(FAST, changes)
    assert sites_for(plan) == sites
    write_mock_sites(plan, tmp_path, mock_names(sites), 40, 0)
    survey(plan, tmp_path).require()


def test_names_sort_as_they_count() -> None:
    names = mock_names(120)
    assert (names[0], names[-1]) == ("mock-001", "mock-120")
    assert list(names) == sorted(names)


def test_a_plan_that_holds_nothing_out_gets_files_to_evaluate_on(tmp_path: Path) -> None:
    plan = plans.plan_of(FAST, holdout=0.0)
    paths = write_mock_sites(plan, tmp_path, mock_names(3), 40, 0)
    assert [str(path.relative_to(tmp_path)) for path in paths][:2] == ["mock-1/train.csv", "mock-1/test.csv"]
    assert len((tmp_path / "mock-1" / "test.csv").read_text().splitlines()) == 11
    survey(plan, tmp_path).require()


@pytest.mark.parametrize("there", ["file", "link to nowhere", "folder"])
def test_no_file_is_replaced_and_none_is_written_beside_it(there: str, tmp_path: Path) -> None:
    taken = tmp_path / "b.csv"
    if there == "file":
        taken.write_text("real records")
    elif there == "folder":
        taken.mkdir()
    else:
        taken.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UnusableFile, match=r"b\.csv: exists already") as error:
        write_mock_sites(plans.plan_of(), tmp_path, ("a", "b"), 40, 0)
    assert error.value.exit_code == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["b.csv"]
    assert there != "file" or taken.read_text() == "real records"


def test_the_folder_says_that_it_is_made_up_and_a_second_site_joins_it(tmp_path: Path) -> None:
    write_mock_sites(plans.plan_of(), tmp_path, ("a",), 40, 0)
    write_mock_sites(plans.plan_of(), tmp_path, ("b",), 40, 0)
    assert "MADE UP" in (tmp_path / README).read_text()
    assert (tmp_path / "a.csv").read_text() != (tmp_path / "b.csv").read_text()


@pytest.mark.parametrize(
    ("changes", "rows", "told"),
    [
        (
            {"delta": 0.01},
            200,
            "200 records are too many for the plan's privacy.delta = 0.01; ask for fewer than 100",
        ),
        ({"delta": 0.01, "unit": "patient", "task.patient": "who"}, 400, "patients are too many"),
        ({"delta": 0.4, "unit": "client"}, 10, "3 clients are too many"),
    ],
    ids=["records", "patients", "clients"],
)
def test_more_than_a_simulation_takes_is_told_at_once(
    changes: plans.Changes, rows: int, told: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=told):
        write_mock_sites(plans.plan_of(FAST, changes), tmp_path, mock_names(3), rows, 0)


@pytest.mark.parametrize("name", ["", "../a", "a/b", ".a", "a b", "a" * 65])
def test_a_name_that_is_no_sites_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be a site's name"):
        write_mock_sites(plans.plan_of(), tmp_path, (name,), 40, 0)
    assert not list(tmp_path.iterdir())


@pytest.mark.extras
@pytest.mark.parametrize("holdout", [0.2, 0.0])
def test_parquet_holds_the_same_records(holdout: float, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs the extra: make test-extras")
    plan = plans.plan_of(FAST, holdout=holdout)
    names = mock_names(3)
    texts = write_mock_sites(plan, tmp_path / "csv", names, 40, 0)
    tables = write_mock_sites(plan, tmp_path / "parquet", names, 40, 0, ".parquet")
    for text, table in zip(texts, tables, strict=True):
        one, other = (read_file(path, plan, build_task(plan)).data for path in (text, table))
        assert one.features.equal(other.features) and one.labels.equal(other.labels)
    survey(plan, tmp_path / "parquet").require()


def test_parquet_without_its_library_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'private-federation\[tables\]'"):
        write_mock_sites(plans.plan_of(FAST), tmp_path, ("a",), 40, 0, ".parquet")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("beside", [False, True], ids=["a new folder", "beside others"])
def test_what_was_written_is_taken_back_where_the_disk_is_full(
    beside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, plan = tmp_path / "mock", plans.plan_of()
    if beside:
        write_mock_sites(plan, out, ["first"], 20, 0)
    known = sorted(tmp_path.rglob("*"))

    def full(path: Path, content: str | bytes) -> None:
        if "mock-2" in path.as_posix():
            raise UnusableFile("cannot be written (No space left on device)", path=path)
        write_new(path, content)

    monkeypatch.setattr("simulations.mocked.write_new", full)
    with pytest.raises(UnusableFile, match="No space"):
        write_mock_sites(plan, out, ["mock-1", "mock-2"], 20, 0)
    assert sorted(tmp_path.rglob("*")) == known


SCAN = '{ image = "%s", height = 8, width = 8, channels = %d, low = 0, high = 255%s }'


def plan_of_images(scan: str, model: str, **changes: object) -> Plan:
    """Open, so that the engines can be compared."""
    text = plans.text_of({"noise": "none", "rounds": 2, "server.optimizer": "average"}, changes)
    columns = f"scan = {scan}\nage = {{ low = 20, high = 90 }}"
    return plans.parse(
        text.replace("age = { low = 20, high = 90 }", columns)
        .replace('age = {"low" = 20, "high" = 90}', columns)
        .replace('model = "logistic"', f'model = "{model}"')
    )


@pytest.mark.parametrize(
    ("scan", "model"),
    [(SCAN % ("hog", 1, ", cell = 2"), "logistic"), (SCAN % ("pixels", 3, ', missing = "indicator"'), "cnn")],
    ids=["hog", "cnn"],
)
def test_made_up_images_train_alike_on_every_engine_and_are_never_replaced(
    tmp_path: Path, scan: str, model: str
) -> None:
    plan = plan_of_images(scan, model)
    assert isinstance(plan.task, TabularTask)
    assert plan.task.features[0].name == "scan"
    names = mock_names(sites_for(plan))
    write_mock_sites(plan, tmp_path / "sites", names, 40, 0)
    assert len(list((tmp_path / "sites" / names[0] / "images").glob("*.png"))) == 40
    with pytest.raises(UnusableFile, match="exists already"):
        write_mock_sites(plan, tmp_path / "sites", names, 40, 0)
    path = tmp_path / "plan.toml"
    path.write_text(plan.to_toml(), "utf-8")
    found = []
    for engine in ("vectorized", "protocol"):
        out = tmp_path / engine
        simulate(path, tmp_path / "sites", out, engine=engine, baseline=False)  # type: ignore[arg-type]
        found.append(load_file(out / "params.safetensors"))
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-5) for name in found[0])
    survived = survey(plan, tmp_path / "sites")
    assert not survived.errors


def test_what_was_begun_of_made_up_images_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of_images(SCAN % ("hog", 1, ", cell = 2"), "logistic")

    def full(folder: Path, pictures: dict[str, object]) -> None:
        write_pictures(folder, dict(list(pictures.items())[:3]))  # type: ignore[arg-type]
        raise OSError("no space left")

    monkeypatch.setattr("simulations.mocked.write_pictures", full)
    with pytest.raises(OSError, match="no space"):
        write_mock_sites(plan, tmp_path / "sites", mock_names(3), 10, 0)
    assert not (tmp_path / "sites").exists()
