"""Cells that cannot be used: all at once, by column, in one line that never shows a value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.data.cells import codes, numbers
from clients.data.faults import Fault, refuse
from clients.data.load import read_csv
from clients.data.sources.numerals import parsed
from clients.data.sources.reading import read as read_from
from federation.errors import DataError
from federation.plan.columns.features import Numeric
from federation.plan.numerals import as_number
from federation.plan.tasks import Classification

TASK = Classification.model_validate(
    {
        "kind": "tabular-classification",
        "target": "sick",
        "patient": "mrn",
        "classes": ["0", "1"],
        "model": "logistic",
        "features": {
            "age": {"low": 20, "high": 90},
            "ca": {"low": 0, "high": 3},
            "cp": {"values": ["250.0", "a"]},
        },
    }
)


def test_every_bad_cell_of_a_file_is_told_at_once_and_no_value(tmp_path: Path) -> None:
    rows = [[f"P{n}", "40", "1", "a", "0"] for n in range(90)]
    for n in range(10, 69):
        rows[n][2] = "?"
    for n in (3, 4):
        rows[n][1] = "SECRET"
    rows[5][1] = ""
    rows[7][3] = "SECRET"
    rows[8][4] = "7"
    rows[9][0] = "NA"
    path = tmp_path / "site.csv"
    path.write_text("mrn,age,ca,cp,sick\n" + "\n".join(map(",".join, rows)) + "\n")
    with pytest.raises(DataError) as caught:
        read_csv(path, TASK)
    assert str(caught.value) == (
        f'{path}: row 5, column "age": is not a finite number (2 rows: 5, 6), also row 7, column "age": is empty, '
        'also row 12, column "ca": is not a finite number: a mark for missing (59 rows: 12, 13, 14, ...), '
        'also row 9, column "cp": is not one of the plan\'s values, '
        'also row 10, column "sick": is not one of the plan\'s values, '
        'also row 11, column "mrn": names nobody: a mark for missing, 65 of 90 rows in all; '
        "drop or fill such rows at the site, or agree on a plan with a rule for missing, and "
        "correct the cell, or the plan's list"
    )


def test_a_line_is_of_bounded_length_however_much_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "site.csv"
    path.write_text("a\n" + "1\n" * 5000)
    faults = [Fault("c" * 500, f"is wrong {n}", f"mend {n}", tuple(range(5000))) for n in range(900)]
    with pytest.raises(DataError) as caught:
        refuse(read_from(path), faults)
    assert len(str(caught.value).removeprefix(str(path))) < 1200
    told = f', and 894 more: "{"c" * 60}..." (5000 rows), 5000 of 5000 rows in all; mend 0, and mend 1'
    assert told in str(caught.value)


def test_every_column_with_something_wrong_is_named_and_counted(tmp_path: Path) -> None:
    names = [f"c{n}" for n in range(20)]
    path = tmp_path / "site.csv"
    path.write_text(
        ",".join([*names, "sick"]) + "\n" + "x," * 20 + "7\n" + "1," * 20 + "0\n" + "?," * 20 + "0\n"
    )
    task = TASK.model_copy(
        update={"features": tuple(Numeric(name=name, low=0, high=2) for name in names), "patient": None}
    )
    with pytest.raises(DataError) as caught:
        read_csv(path, task)
    for name in names:
        assert f'"{name}"' in str(caught.value)
    assert '"c19" (2 rows), "sick" (1 row), 2 of 3 rows in all' in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("5,5", "a comma, or a mark between thousands"),
        ("1.234,5", "a comma, or a mark between thousands"),
        ("1,234.5", "a comma, or a mark between thousands"),
        ("1 234", "a comma, or a mark between thousands"),
        ("1\u202f234", "a comma, or a mark between thousands"),
        ("1'234", "a comma, or a mark between thousands"),
        ("<5", "a sign or a unit beside it"),
        ("\u2265 90", "a sign or a unit beside it"),
        ("5 mg", "a sign or a unit beside it"),
        ("5%", "a sign or a unit beside it"),
        ("?", "a mark for missing"),
        ("n/a", "a mark for missing"),
        ("NaN", "a mark for missing"),
        ("high", ""),
        ("1e999", ""),
        ("\u00ad5", ""),  # a soft hyphen may stand for a minus
    ],
)
def test_a_number_written_otherwise_is_named_by_its_kind(cell: str, kind: str) -> None:
    (fault,) = numbers(["1", cell], "age")[1]
    assert fault.message.startswith("is not a finite number") and kind in fault.message
    assert (
        fault.rows == (1,) and fault.hint and cell not in fault.message.removeprefix("is not a finite number")
    )


def test_a_code_that_is_not_the_plans_says_so_and_how_it_nearly_is() -> None:
    cells = ["250.0", "250.00", "250", "A", "b", "", "39733011000001104", "a\u200b"]
    found, faults, _ = codes(cells, "cp", ["250.0", "a", "39733011000001106"])
    assert found.tolist() == [0, -1, -1, -1, -1, -1, -1, 1]
    assert {
        fault.rows: fault.message.removeprefix("is not one of the plan's values") for fault in faults
    } == {
        (1, 2): ", though equal to one as a number: values are compared as text",
        (3,): ", but for capitals",
        (4, 6): "",
        (5,): "is empty",
    }


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("2024-01-31", "a date"), ("01-Feb", "a date"), ("1.2.2024", "a date"), ("####", "too narrow"),
        ("1.234.567", "a mark between thousands"), ("'44", "a quote"), ('="44"', "a quote or ="),
        ("\u221244", "a dash"),
        ("?", "a mark for missing"), ("#N/A", "a mark for missing"), ("-", "a mark for missing"),
        ("--", "a mark for missing"), ("\u2013", "a mark for missing"), ("'", "a mark for missing"),
        ("1,5", "a comma"), ("44 kg", "a unit"), ("12-34", "finite number"), ("nan", "a mark for missing"),
    ],
)  # fmt: skip
def test_what_a_cell_is_instead_of_a_number(cell: str, said: str) -> None:
    (fault,) = numbers([cell, "1"], "age")[1]
    assert said in fault.message and cell not in (fault.message, fault.hint)


def test_a_mark_for_missing_is_called_so_among_values_too() -> None:
    (fault,) = codes(["?", "0", "1"], "sex", ("0", "1"))[1]
    assert "a mark for missing" in fault.message


@given(st.lists(st.one_of(st.floats().map(repr), st.text(max_size=5), st.sampled_from(["1_0", "inf", " 1"]))))
def test_cells_are_numbers_together_as_they_are_one_by_one(cells: list[str]) -> None:
    alone = [as_number(cell) for cell in cells]
    assert [None if np.isnan(value) else value for value in parsed(cells)] == alone
