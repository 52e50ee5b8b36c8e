"""Equal records of two files are found, in any order and however numbers are written; chance is not reported."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from clients.data.rows import Marks, marks_of_rows, marks_of_texts, shared
from clients.data.sources.reading import read as read_from
from clients.describing.described import describe
from federation.plan.tasks import Classification
from tests.worlds import plan_of, rows_of

TASK = plan_of().task
assert isinstance(TASK, Classification)
HEADER = ["age", "dose", "ward", "sick"]


def marks(folder: Path, rows: list[list[str]], header: list[str] = HEADER) -> Marks:
    path = folder / "rows.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    assert isinstance(TASK, Classification)
    return describe(read_from(path), TASK).marks


def test_a_mark_is_of_the_record_and_not_of_its_place_or_spelling(tmp_path: Path) -> None:
    rows = rows_of(0, 40)
    mine = marks(tmp_path, rows)
    assert len(np.unique(mine)) == 40
    spelled = [[f"{age}.0", f" {float(dose):.4f}", ward, sick] for age, dose, ward, sick in rows]
    assert np.array_equal(marks(tmp_path, spelled), mine)
    turned = [[sick, ward, "note", age, dose] for age, dose, ward, sick in rows]
    assert np.array_equal(marks(tmp_path, turned, ["sick", "ward", "remark", "age", "dose"]), mine)
    assert np.array_equal(np.sort(marks(tmp_path, rows[::-1])), np.sort(mine))
    zeros = [["20", zero, "a", "no"] for zero in ("0", "-0", "0.0", "-0.00")]
    assert len(np.unique(marks(tmp_path, zeros))) == 1


@pytest.mark.parametrize("place", range(4))
def test_a_mark_depends_on_every_column(tmp_path: Path, place: int) -> None:
    row, other = ["20", "0.5", "a", "no"], ["21", "0.25", "b", "yes"]
    changed = [*row[:place], other[place], *row[place + 1 :]]
    assert len(np.unique(marks(tmp_path, [row, changed]))) == 2


def test_values_do_not_change_places(tmp_path: Path) -> None:
    """A sum over columns must tell (1, 0) from (0, 1)."""
    assert len(np.unique(marks(tmp_path, [["1", "0", "a", "no"], ["0", "1", "a", "no"]]))) == 2
    assert len(np.unique(marks_of_rows(np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]])))) == 2


def test_a_copy_and_a_part_are_found_and_two_hospitals_are_not(tmp_path: Path) -> None:
    whole, copy, part, other = (
        marks(tmp_path, rows)
        for rows in (rows_of(0, 40), rows_of(0, 40)[::-1], rows_of(0, 40)[:6], rows_of(1, 40))
    )
    found = [
        (pair.first, pair.second, pair.records, pair.is_same) for pair in shared([whole, other, copy, part])
    ]
    assert found == [(0, 2, 40, True), (0, 3, 6, False), (2, 3, 6, False)]
    assert shared([whole, other]) == shared([whole]) == shared([]) == []


def test_few_possible_records_agree_by_chance_and_are_not_reported() -> None:
    first, second = (
        marks_of_texts("answer", [str(place * place * seed % 11) for place in range(200)]) for seed in (1, 3)
    )
    assert shared([first, second]) == []
    (same,) = shared([first, first[::-1]])
    assert same.is_same  # the same records throughout are told whatever they are


def test_a_hundred_sites_are_compared_at_once() -> None:
    sites = [np.arange(1000 * site, 1000 * site + 900, dtype=np.uint64) for site in range(100)]
    sites[77] = np.concatenate([sites[77][:800], sites[5][:100]])
    (pair,) = shared(sites)
    assert (pair.first, pair.second, pair.records) == (5, 77, 100)
