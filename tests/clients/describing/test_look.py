"""A look at a site's files: what only two files, a plan and a site file together can show."""

from __future__ import annotations

from pathlib import Path

import pytest

from clients.data.sources.reading import read
from clients.describing import look as module
from clients.describing.look import look, look_at_site
from federation.errors import DataError
from federation.model.task import Dataset, Task, build_task
from tests.clients.data.test_load import own_plan, own_task
from tests.clients.sites import make_data, make_plan
from tests.clients.test_join import ROWS, SITE, write_site

WITH_TEST = SITE.replace('source = "berlin.csv"', 'source = "berlin.csv"\ntest = "test.csv"')


def write_test(folder: Path, rows: list[str]) -> None:
    (folder / "test.csv").write_text("\n".join(["age,pressure,sick", *rows]))


def test_a_site_with_ordinary_data_has_nothing_to_hear(tmp_path: Path) -> None:
    seen = look_at_site(make_plan(clipping_norm=1.0), write_site(tmp_path))
    assert [file.records for file in seen.files] == [30]
    assert seen.doubts == seen.hints == seen.files[0].doubts == ()


@pytest.mark.parametrize(
    ("size", "is_told"), [(6000, True), (30, False), (25, False), (36, False), (37, True), (10, True)]
)
def test_the_declared_size_is_held_against_the_file(tmp_path: Path, size: int, is_told: bool) -> None:
    seen = look_at_site(make_plan(), write_site(tmp_path, SITE.replace("size = 30", f"size = {size}")))
    assert (
        any(f"data.size declares {size}, the files hold 30 records" in line for line in seen.doubts)
        is is_told
    )


def test_patients_are_counted_where_the_plan_protects_them(tmp_path: Path) -> None:
    path = write_site(tmp_path, SITE.replace("size = 30", "size = 15"))
    who = ["who,age,pressure,sick", *(f"P{number // 2},{row}" for number, row in enumerate(ROWS))]
    (tmp_path / "berlin.csv").write_text("\n".join(who))
    assert look_at_site(make_plan("patient"), path).doubts == ()
    (line,) = look_at_site(make_plan(), path).doubts
    assert "hold 30 records" in line


@pytest.mark.parametrize(("common", "is_told"), [(0, False), (2, False), (3, True), (8, True)])
def test_a_test_file_that_repeats_records_of_the_training_file(
    tmp_path: Path, common: int, is_told: bool
) -> None:
    path = write_site(tmp_path, WITH_TEST)
    others = [f"{60 + number},{90 + number},no" for number in range(10)]
    write_test(tmp_path, [*ROWS[:common], *others])
    seen = look_at_site(make_plan(), path)
    assert [file.records for file in seen.files] == [30, 10 + common]
    assert any(f"{common} different records of" in line for line in seen.doubts) is is_told


def test_a_file_with_cells_that_cannot_be_used_is_looked_at_and_a_missing_one_is_an_error(
    tmp_path: Path,
) -> None:
    path = write_site(tmp_path, rows=["?,100,no", *ROWS])
    assert look_at_site(make_plan(), path).files[0].columns[0].missing == 1
    (tmp_path / "berlin.csv").unlink()
    with pytest.raises(DataError, match="no such file"):
        look_at_site(make_plan(), path)


def test_data_that_only_the_plans_code_can_read(tmp_path: Path) -> None:
    (tmp_path / "scans").write_bytes(b"\0")
    data = make_data(20, 1)
    seen = look(own_plan(), own_task(data), tmp_path / "scans", None, 20)
    assert (seen.files[0].records, seen.hints) == (20, ())
    copy = look(own_plan(), own_task(data), tmp_path / "scans", tmp_path / "scans", 20)
    assert any("20 different records" in line for line in copy.doubts)


def test_an_own_task_is_asked_once_for_each_file(tmp_path: Path) -> None:
    asked = list[Path]()
    (tmp_path / "scans").write_bytes(b"\0")

    def read(source: object) -> Dataset:
        asked.append(tmp_path)
        return make_data(20, 1)

    task = build_task(make_plan())
    look(own_plan(), Task("mine", task.model, task.loss, read), tmp_path / "scans", None, None)
    assert len(asked) == 1


def test_figures_of_quasi_identifiers_are_of_the_very_rows_that_are_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_site(tmp_path, WITH_TEST.replace("[data]", '[data]\nquasi_identifiers = ["age"]'))
    write_test(tmp_path, ["99,99,no"])
    asked = list[str]()
    monkeypatch.setattr(module, "read", lambda place: asked.append(str(place)) or read(place))
    assert "k-anonymity" in look_at_site(make_plan(), path).summary
    assert asked == [str(tmp_path / "berlin.csv"), str(tmp_path / "test.csv")]
