"""Cells become inputs by public rules alone: of one cell, whatever stands beside it."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clients.data.encoding.encoded import Encoded, of_numbers, of_texts
from clients.data.load import read_csv, read_table
from clients.rules.origin import Origin
from federation.errors import DataError
from federation.plan.columns.features import Categorical, Date, Feature, Hashed, Numeric, Words
from federation.plan.tasks import Classification

MARKS = ("", "?", "NA", "-", "null", "n/a")
AGE = Numeric(name="age", low=20, high=90, missing="indicator")
SEEN = Date(
    name="seen",
    date="%d.%m.%Y",
    since="2000-01-01",
    until="2010-12-31",
    take=("days", "month", "weekday"),
    missing="indicator",
)
KINDS: tuple[Feature, ...] = (
    AGE,
    Numeric(name="age", low=20, high=90, missing=30),
    Numeric(name="pay", low=1, high=1e6, scale="log", missing="indicator"),
    Numeric(name="net", low=-10, high=1e6, scale="symlog"),
    Categorical(name="cp", values=("1", "2", "?"), missing="category"),
    Categorical(name="cp", values=("1", "2"), missing="2", other=True),
    Hashed(name="icd", hash=8, missing="category"),
    SEEN,
    Words(name="note", text="words", width=16, missing="indicator"),
)


def looked(feature: Feature, cells: Sequence[str]) -> Encoded:
    return of_numbers(feature, cells) if isinstance(feature, Numeric) else of_texts(feature, cells)


def rows(feature: Feature, cells: Sequence[str]) -> NDArray[np.float32]:
    found = looked(feature, cells)
    block = np.zeros((len(cells), len(feature.parts)), np.float32)
    found.write(block)
    assert np.allclose((block**2).sum(axis=1), found.squares, atol=1e-6)
    return block


@settings(max_examples=100)
@given(
    feature=st.sampled_from(KINDS),
    cells=st.lists(
        st.sampled_from(
            ["1", "2", "1.0", "25", "1e5", "-3", "E11", "7.2.2004", "2004-02-07 09:00:00", "x", *MARKS]
        ),
        min_size=1,
        max_size=12,
    ),
)
def test_what_a_cell_becomes_depends_on_no_other_cell(feature: Feature, cells: list[str]) -> None:
    together, found = rows(feature, cells), looked(feature, cells)
    faulty = {row for fault in found.faults for row in fault.rows}
    assert np.isfinite(together).all() and np.abs(together).max(initial=0) <= 1
    for row, cell in enumerate(cells):
        assert np.array_equal(together[row], rows(feature, [cell])[0])
        assert (row in faulty) == bool(looked(feature, [cell]).faults)


@pytest.mark.parametrize("mark", MARKS)
def test_a_missing_number_is_the_middle_of_the_range_and_a_mark_beside_it(mark: str) -> None:
    assert rows(AGE, ["20", mark, "90"]).tolist() == [[-1, 0], [0, 1], [1, 0]]
    assert looked(AGE, ["20", mark]).filled.tolist() == [False, True]
    filled = Numeric(name="age", low=20, high=90, missing=90)
    assert rows(filled, [mark]).tolist() == [[1]]


@pytest.mark.parametrize("cell", ["<5", "1,5", "abc", "###", "1.2.2004", "inf", "5 mg"])
def test_what_is_no_number_is_never_filled_in(cell: str) -> None:
    assert looked(AGE, [cell]).faults


def test_scales_are_of_the_number_clipped_to_its_range() -> None:
    log = Numeric(name="pay", low=1, high=10000, scale="log")
    assert rows(log, ["1", "100", "10000", "0", "-5", "1e9"])[:, 0].tolist() == [-1, 0, 1, -1, -1, 1]
    symlog = Numeric(name="net", low=-99, high=99, scale="symlog")
    assert np.allclose(rows(symlog, ["-99", "-9", "0", "9", "99"])[:, 0], [-1, -0.5, 0, 0.5, 1])


def test_values_others_and_missing_each_have_their_column() -> None:
    feature = Categorical(name="cp", values=("1", "?"), other=True, missing="category")
    assert feature.parts == ("= 1", "= ?", "is another", "is missing")
    found = rows(feature, ["1", "1.0", "?", "7", "", "NA", "--"])
    assert found.argmax(axis=1).tolist() == [0, 0, 1, 2, 3, 3, 3]
    assert looked(feature, ["7", "", "?"]).other.tolist() == [True, False, False]  # type: ignore[union-attr]
    assert looked(feature, ["7", "", "?"]).filled.tolist() == [False, True, False]


@pytest.mark.parametrize(
    "feature",
    [Categorical(name="x", values=("1",), other=True), Hashed(name="x", hash=4), Numeric(name="x", low=0, high=9),
     SEEN.model_copy(update={"missing": None})],
    ids=["values", "codes", "numbers", "dates"],
)  # fmt: skip
@pytest.mark.parametrize("mark", MARKS)
def test_without_a_rule_a_cell_that_says_nothing_is_refused(feature: Feature, mark: str) -> None:
    (fault,) = looked(feature, [mark, mark]).faults
    assert fault.rows == (0, 1)
    assert "rule for missing" in fault.hint
    assert not rows(feature, [mark]).any()


def test_a_column_in_which_nothing_is_known_is_read_where_the_plan_has_a_rule() -> None:
    assert rows(AGE, ["?"] * 3).tolist() == [[0, 1]] * 3
    assert rows(SEEN, ["", ""]).sum(axis=1).tolist() == [1, 1]
    assert rows(Hashed(name="icd", hash=4, missing="category"), ["NA"]).tolist() == [[0, 0, 0, 0, 1]]


@given(st.dates(datetime.date(1990, 1, 1), datetime.date(2020, 1, 1)))
def test_a_date_is_its_days_its_month_and_its_weekday_however_it_came(day: datetime.date) -> None:
    forms = [f"{day.day}.{day.month}.{day.year}", f"{day:%d.%m.%Y}", day.isoformat(), f"{day} 00:00:00",
             f"{day} 09:00:00.5+00:00", f"{day}T09:00:00Z"]  # fmt: skip
    found = rows(SEEN, forms)
    assert (found == found[0]).all()
    known = (min(max(day, SEEN.first), SEEN.last) - SEEN.first) / (SEEN.last - SEEN.first)
    assert found[0, 0] == pytest.approx(2 * known - 1, abs=1e-6)
    assert np.flatnonzero(found[0, 1:]).tolist() == [day.month - 1, 12 + day.weekday()]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("31.2.2004", "is no date as %d.%m.%Y has it"),
        ("45322", "a spreadsheet's number of a day"),
        ("1.2.04", "is no date"),
        ("2004/02/01", "is no date"),
    ],
)
def test_what_is_no_date_is_told_by_its_kind_and_not_shown(cell: str, said: str) -> None:
    (fault,) = looked(SEEN, [cell]).faults
    assert said in fault.message and cell not in fault.message + fault.hint


def task_of(*features: Feature) -> Classification:
    shape = {"kind": "tabular-classification", "target": "sick", "classes": ["0", "1"], "model": "logistic"}
    listed = {feature.name: feature.model_dump(exclude_none=True, exclude={"name"}) for feature in features}
    return Classification.model_validate({**shape, "features": listed})


def test_a_decimal_comma_goes_with_every_kind(tmp_path: Path) -> None:
    path = tmp_path / "site.csv"
    path.write_text("age;pay;icd;seen;sick\n55,0;?;1,5;1.1.2000;0\n?;100,5;?;;1\n")
    pay = Numeric(name="pay", low=0.5, high=100.5, scale="symlog", missing=0.5)
    data = read_table(
        Origin("csv", path, separator=";", decimal=","),
        task_of(AGE, pay, Hashed(name="icd", hash=2, missing="category"), SEEN),
    ).data
    assert data.features[:, :3].tolist() == [[0, 0, -1], [0, 1, 1]]
    assert data.features[0, 3:6].argmax() == Hashed(name="icd", hash=2).place_of("1.5")
    assert data.features[1, 5] == 1 and data.features[1, -1] == 1


def test_the_target_is_never_filled_in(tmp_path: Path) -> None:
    path = tmp_path / "site.csv"
    path.write_text("age,sick\n?,0\n?,?\n?,\n")
    with pytest.raises(DataError) as caught:
        read_csv(path, task_of(AGE))
    assert 'row 3, column "sick"' in str(caught.value) and 'row 4, column "sick"' in str(caught.value)
    assert "no plan says what they mean" in str(caught.value)


def test_a_file_without_rows_has_nothing_to_fill_in(tmp_path: Path) -> None:
    path = tmp_path / "site.csv"
    path.write_text("age,sick\n")
    with pytest.raises(DataError, match="has a header and no rows"):
        read_csv(path, task_of(AGE))


def test_many_cells_of_which_half_say_nothing_take_a_second_at_most() -> None:
    cells = [mark for number in range(100_000) for mark in (str(20 + number % 70), "?")]
    began = process_time()
    for feature in (AGE, Categorical(name="x", values=("20",), other=True, missing="category"),
                    Hashed(name="x", hash=64, missing="category")):  # fmt: skip
        rows(feature, cells)
    assert process_time() - began < 3
