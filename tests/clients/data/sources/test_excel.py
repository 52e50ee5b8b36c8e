"""A sheet is read as its people see it: row numbers, whole numbers, dates; one sheet, and no notes beside it."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from clients.data.sources.reading import read
from federation.errors import DataError
from tests.clients.data.sources.stores import SOME, excel

pytestmark = pytest.mark.extras
pytest.importorskip("python_calamine", reason="needs the extra: make test-extras")


def test_numbers_and_dates_are_as_the_sheet_shows_them(tmp_path: Path) -> None:
    table = read(excel(tmp_path / "a.xlsx"))
    assert table.column("cp")[:4] == ["1", "2", "3", "4"]
    assert table.column("seen")[0] == "2024-01-01"
    assert (table.lines[0], table.line_count) == (2, None)


def test_of_several_sheets_one_has_to_be_named(tmp_path: Path) -> None:
    place = excel(tmp_path / "a.xlsx", sheets=("notes", "clinic"))
    with pytest.raises(
        DataError, match=r"has 2 sheets; set data\.sheet in site\.toml to one of: notes, clinic"
    ):
        read(place)
    with pytest.raises(
        DataError, match=r'has no sheet "Sheet9"; set data\.sheet in site\.toml to one of: notes'
    ):
        read(replace(place, sheet="Sheet9"))
    with pytest.raises(DataError, match="the sheet is empty"):
        read(replace(place, sheet="notes"))
    assert len(read(replace(place, sheet="clinic"))) == len(SOME)


def test_a_cell_beside_the_table_is_not_dropped(tmp_path: Path) -> None:
    rows = [list(row) for row in SOME]
    rows[4] = [*rows[4], "a note"]
    with pytest.raises(DataError, match="row 6 has a cell to the right of the last column with a name"):
        read(excel(tmp_path / "a.xlsx", rows))


def test_a_workbook_that_unpacks_to_many_times_its_size_is_refused(tmp_path: Path) -> None:
    excel(tmp_path / "a.xlsx")
    with zipfile.ZipFile(tmp_path / "a.xlsx", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/media/bomb", b"\0" * (1 << 27))
    with pytest.raises(DataError, match="unpacks to more than 400 times its size"):
        read(tmp_path / "a.xlsx")
