"""What a file holds: figures that can be counted by hand, for any cells, without changing or refusing anything."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.data.sources.reading import read as read_from
from clients.describing.described import Column, Description, describe, describe_dataset
from federation.errors import DataError
from federation.model.task import Dataset
from federation.plan.tasks import Classification
from tests.clients.data.tables import table_of
from tests.plans import plan_of

PLAN = plan_of(**{"task.features": {"chol": {"low": 100, "high": 600}, "cp": {"values": ["1", "2", "3"]}}})
TASK = PLAN.task
assert isinstance(TASK, Classification)


def described(folder: Path, rows: Sequence[Sequence[object]]) -> Description:
    path = folder / "site.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["chol", "cp", "num"], *rows])
    assert isinstance(TASK, Classification)
    return describe(read_from(path), TASK)


def column(description: Description, name: str) -> Column:
    (found,) = [column for column in description.columns if column.name == name]
    return found


def test_the_figures_are_those_that_one_counts_by_hand(tmp_path: Path) -> None:
    rows = [
        (50, 1, 0),
        (99.5, 1, 1),
        (100, "1.0", 0),
        (600, 3, 0),
        (601, 3, 0),
        (250, 1, 0),
        ("250.0", 1, 0),
        (300, 1, 0),
    ]
    seen = described(tmp_path, rows)
    chol, cp, num = seen.columns
    assert (chol.name, chol.public, chol.below, chol.above) == ("chol", "100 to 600", 2 / 8, 1 / 8)
    assert (chol.distinct, chol.missing, chol.unread) == (7, 0, 0)
    assert (cp.public, cp.below, cp.above, cp.distinct) == ("3 values", None, None, 2)
    assert (num.name, num.distinct) == ("num", 2)
    assert seen.records == 8
    assert seen.classes == (("0", 7), ("1", 1))
    assert seen.patients is None


def test_cells_that_cannot_be_used_are_counted_and_not_refused(tmp_path: Path) -> None:
    rows = [
        ("", 1, 0),
        ("?", "", 0),
        ("NA", 2, "n/a"),
        ("12,5", 9, 0),
        ("inf", 1, 7),
        ("1_000", 1, 1),
        (200, 1, 0),
    ]
    seen = described(tmp_path, rows)
    figures = [(found.distinct, found.missing, found.unread) for found in seen.columns]
    assert figures == [(1, 3, 3), (2, 1, 1), (2, 1, 1)]
    assert seen.classes == (("0", 4), ("1", 1))


def test_what_the_plan_fills_in_and_what_is_not_listed_is_counted(tmp_path: Path) -> None:
    ruled = {
        "chol": {"low": 100, "high": 600, "missing": "indicator"},
        "cp": {"values": ["1", "2"], "missing": "category", "other": True},
        "icd": {"hash": 4, "missing": "category"},
        "seen": {"date": "%Y-%m-%d", "since": "2000-01-01", "until": "2009-12-31", "missing": "indicator"},
    }
    task = plan_of(**{"task.features": ruled}).task
    assert isinstance(task, Classification)
    path = tmp_path / "site.csv"
    path.write_text(
        "chol,cp,icd,seen,num\n?,1,E1,1999-01-01,0\n,9,E2,2004-01-01,1\n200,?,,2010-01-01,0\nx,8,E1,soon,0\n"
    )
    seen = describe(read_from(path), task)
    figures = {c.name: (c.distinct, c.missing, c.unread, c.filled, c.other) for c in seen.columns}
    assert figures == {
        "chol": (1, 2, 1, 2, 0),
        "cp": (1, 1, 0, 1, 2),
        "icd": (2, 1, 0, 1, 0),
        "seen": (3, 0, 1, 0, 0),
        "num": (2, 0, 0, 0, 0),
    }
    assert (column(seen, "seen").below, column(seen, "seen").above) == (1 / 4, 1 / 4)
    assert [doubt.column for doubt in seen.doubts if doubt.kind == "clipped"] == ["seen"]
    path.write_text("chol,cp,icd,seen,num\n?,1,,,0\nNA,2,-,?,1\n")
    told = [str(doubt) for doubt in describe(read_from(path), task).doubts]
    assert told == [
        f'column "{name}": no record says anything here: no model can learn from it'
        for name in ("chol", "icd", "seen")
    ]


def test_a_typical_record_is_as_long_as_the_model_sees_it(tmp_path: Path) -> None:
    seen = described(
        tmp_path, [(350, 1, 0), (600, 1, 0), (9999, 2, 1)]
    )  # 0, 1 and 1 on [-1, 1], and a one-hot
    assert seen.length == pytest.approx(2**0.5)


def test_patients_are_counted_where_the_plan_names_their_column(tmp_path: Path) -> None:
    path = tmp_path / "site.csv"
    path.write_text("mrn,chol,cp,num\nB7,200,1,0\nA1,200,2,1\nB7,210,3,0\n")
    assert isinstance(TASK, Classification)
    assert describe(read_from(path), TASK.model_copy(update={"patient": "mrn"})).patients == 2


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "site.csv"
    path.write_text("chol,num\n200,0\n")
    assert isinstance(TASK, Classification)
    with pytest.raises(DataError, match='has no column "cp"'):
        describe(read_from(path), TASK)


def test_no_repr_shows_a_figure(tmp_path: Path) -> None:
    seen = described(tmp_path, [(123, 1, 0)] * 77)
    for thing in (seen, *seen.columns, *seen.doubts):
        shown = re.sub("0x[0-9a-f]+", "", repr(thing))  # an address may hold any digits
        assert not any(figure in shown for figure in ("123", "77", "chol"))


_CHARACTERS = st.characters(exclude_characters="\0")  # with which no table has a cell


@settings(max_examples=150)
@given(
    st.lists(st.tuples(*(st.text(_CHARACTERS, max_size=size) for size in (6, 3, 3))), min_size=1, max_size=6)
)
def test_any_table_can_be_described(rows: list[tuple[str, ...]]) -> None:
    table = table_of(("chol", "cp", "num"), rows)
    assert isinstance(TASK, Classification)
    seen = describe(table, TASK)
    assert len(seen.marks) == seen.records == len(rows)
    for found in seen.columns:
        assert 0 <= found.distinct <= len(rows)
        assert found.missing + found.unread <= len(rows)
        assert all(0 <= share <= 1 for share in (found.below, found.above) if share is not None)


def test_data_of_an_own_task_are_described_as_far_as_they_can_be() -> None:
    features = torch.tensor([[3.0, 4.0, 0.0], [0.0, 4.0, 3.0], [6.0, 4.0, 0.0]])
    data = Dataset(features, torch.tensor([2, 0, 2]), torch.tensor([0, 0, 1]))
    seen = describe_dataset(Path("scans"), data)
    assert (seen.records, seen.patients, seen.classes) == (3, 2, (("0", 1), ("2", 2)))
    assert seen.length == 5.0
    (same,) = map(str, seen.doubts)
    assert same == "1 of 3 inputs are the same in every record: no model can learn from them"
    assert len(np.unique(seen.marks)) == 3
    one = describe_dataset(Path("scans"), Dataset(features, torch.tensor([1, 1, 1])))
    assert "all records are of one class" in map(str, one.doubts)
    images = Dataset(torch.rand(5, 1, 4, 4), torch.arange(5) % 2)
    assert describe_dataset(Path("scans"), images).inputs == 16


def test_many_rows_take_seconds_and_no_memory_beside_the_table() -> None:
    """A fifth of a million: the work and the memory grow in proportion."""
    import tracemalloc

    rows = 200_000
    numbers = [f"{7919 * place % 700_001 / 1000:.3f}" for place in range(rows)]
    cells = [[number, "123"[place % 3], "01"[place % 2]] for place, number in enumerate(numbers)]
    table = table_of(("chol", "cp", "num"), cells)
    assert isinstance(TASK, Classification)
    tracemalloc.start()
    seen = describe(table, TASK)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen.records == rows
    assert peak < 200 * rows  # a column's cells, and a few numbers for each row
