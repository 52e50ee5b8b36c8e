"""A table is read as the call says it, and the site file says the same."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from clients.check import preflight
from clients.data.sources.reading import read
from clients.drafting.answers import drafted
from clients.drafting.plans import propose
from clients.drafting.sites import made
from clients.drafting.sources import Reading, in_folder
from clients.policy import load_site
from federation.errors import DataError, InputError
from federation.plan.columns.features import Numeric
from federation.plan.made_up.mock import mock_table
from federation.plan.tasks import Classification
from tests import plans
from tests.clients.drafting.drafts import FAST, given_in

PLAN = plans.plan_of(
    FAST, {"task.features": {"dose": {"low": 0, "high": 1}, "cp": {"values": ["1", "2", "3"]}}}
)
TABLE = mock_table(PLAN, "a", 60)


def semicolons(folder: Path) -> Reading:
    path = folder / "semi.csv"
    rows = [TABLE.header, *zip(*TABLE.columns, strict=True)]
    path.write_bytes("\n".join(";".join(row).replace(".", ",") for row in rows).encode("utf-16"))
    return Reading(str(path), separator=";", decimal=",", encoding="utf-16")


def database(folder: Path) -> Reading:
    path = folder / "clinic.sqlite"
    with sqlite3.connect(path) as store:
        store.execute("create table seen (dose real, cp text, num text)")
        store.executemany("insert into seen values (?, ?, ?)", zip(*TABLE.columns, strict=True))
    store.close()
    return Reading(str(path), query="select * from seen")


@pytest.mark.parametrize("kind", [semicolons, database], ids=["text", "database"])
def test_a_plan_and_a_site_are_drafted_from_any_source(kind: object, tmp_path: Path) -> None:
    reading = kind(tmp_path)  # type: ignore[operator]
    task = propose(read(reading.origin()), "num", "x").plan.task
    assert isinstance(task, Classification)
    dose, cp = task.features
    assert isinstance(dose, Numeric) and (dose.low, dose.high) == (0, 1)
    assert cp.name == "cp" and not isinstance(cp, Numeric)
    draft = drafted(given_in(tmp_path, PLAN, data=reading), None)
    with made(draft):
        assert preflight(PLAN, draft.path)["site"]["records_read"] == 60
        found = load_site(draft.path).data.model_dump(exclude_defaults=True)
    assert {key: found[key] for key in reading.content} == reading.content


def test_points_between_thousands_are_no_numbers_where_a_comma_marks_decimals(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x;num\n" + "\n".join(f"{1 + n % 7}.{250 + n:03};{n % 2}" for n in range(60)))
    with pytest.raises(InputError, match="no column is left"):
        propose(read(Reading(str(path), separator=";", decimal=",").origin()), "num", "x")


@pytest.mark.parametrize(
    ("reading", "told"),
    [
        (Reading("a.db"), "data.query: is missing"),
        (Reading("a.csv", query="select 1"), "data.query: is for a database"),
        (Reading("a.csv", separator="xx"), "data.separator: cannot part cells"),
        (Reading("a.csv", encoding="nonsense"), "is no encoding"),
        (Reading("ftp://x/a.csv"), "is no source that can be read here"),
        (Reading("postgresql://u:secret@h/d", query="select 1"), "has a password in the URL"),
    ],
    ids=["query", "no query", "separator", "encoding", "scheme", "password"],
)
def test_a_reading_that_fits_no_source_is_told_in_one_line_before_anything_is_made(
    reading: Reading, told: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=told) as error:
        drafted(given_in(tmp_path, data=reading), None)
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)
    assert not (tmp_path / "site").exists()


def test_only_what_was_said_is_written(tmp_path: Path) -> None:
    (line,) = Reading(str(tmp_path / "a.csv")).lines(tmp_path)
    assert line.startswith('source = "a.csv"  # ')
    lines = Reading("sqlite:////srv/a.db", query="select 1", password_file="credential:x").lines(tmp_path)  # noqa: S106
    assert lines[0].startswith('source = "sqlite:////srv/a.db"')
    assert lines[2].startswith('password_file = "credential:x"')


def test_a_folder_stands_for_its_one_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no table; images need one beside them"):
        in_folder(str(tmp_path))
    only = tmp_path / "scans.CSV"
    only.write_text("a\n1\n")
    assert in_folder(str(tmp_path)) == str(only)
    (tmp_path / "more.parquet").touch()
    with pytest.raises(DataError, match=r"holds more.parquet, scans.CSV; name one"):
        in_folder(str(tmp_path))
    (tmp_path / "train.csv.gz").touch()
    assert in_folder(str(tmp_path)) == str(tmp_path / "train.csv.gz")
    assert in_folder(str(only)) == str(only) and in_folder("sqlite:///a.db") == "sqlite:///a.db"
