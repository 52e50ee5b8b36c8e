"""A site's own table of its columns is what one counts by hand, and is printed on its own terminal alone."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from clients.data.sources.reading import read
from clients.describing.described import describe
from clients.describing.shapes import Shape
from federation.cli.showing.shaped import shape_lines
from federation.plan.plan import parse
from federation.plan.tallies.tasks import Statistics
from tests.plans import text_of

FEATURES = {
    "age": {"low": 0, "high": 100, "bins": 4, "missing": "indicator"},
    "sex": {"values": ["f", "m"], "missing": "category"},
    "seen": {"date": "%Y-%m-%d", "since": "2020-01-01", "until": "2020-12-31", "bins": 2},
}
ROWS = [
    ("10", "f", "2020-01-01"),
    ("30", "m", "2020-03-01"),
    ("30", "x", "2020-12-31"),
    ("?", "", "2020-12-01"),
    ("130", "f", "2020-12-30"),
]


def shapes_of(folder: Path) -> tuple[Shape, ...]:
    with (folder / "site.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([list(FEATURES), *ROWS])
    plan = parse(
        text_of(
            {
                "task": {"kind": "table-statistics", "features": FEATURES},
                "training": None,
                "server": None,
                "evaluation": None,
                "rounds": None,
                "clipping_norm": None,
            }
        )
    )
    assert isinstance(plan.task, Statistics)
    return describe(read(folder / "site.csv"), plan.task).shapes


def test_the_figures_are_those_that_one_counts_by_hand(tmp_path: Path) -> None:
    age, sex, seen = shapes_of(tmp_path)
    assert (age.counts, age.missing) == ((1, 2, 0, 1), 1)
    assert age.figures is not None
    assert age.figures[0] == pytest.approx(50)
    assert age.figures[4] == 30
    assert dict(zip(sex.labels, sex.counts, strict=True)) == {"f": 2, "m": 1, "is another": 1}
    assert (sex.missing, sex.figures) == (1, None)
    assert (seen.counts, seen.is_date) == ((2, 3), True)


def test_the_table_has_a_row_and_bars_for_each_column_and_the_values_in_order(tmp_path: Path) -> None:
    table, *values = shape_lines(shapes_of(tmp_path))
    assert not isinstance(table, str)
    assert table.row_count == 3
    assert list(table.columns[-1].cells) == ["▄█ ▄", "█▄▄", "▆█"]
    assert list(table.columns[6].cells)[2] == "2020-12-01"
    assert values == ["sex: f: 2, m: 1, is another: 1"]


def test_what_is_exact_has_no_repr(tmp_path: Path) -> None:
    assert "130" not in repr(shapes_of(tmp_path))
    assert "counts" not in repr(shapes_of(tmp_path)[0])
