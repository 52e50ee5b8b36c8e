"""Sheets of an Excel workbook (.xlsx), read by python-calamine: what the cells hold, not how they are formatted."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from clients.data.sources.collecting import table_of_rows
from clients.data.sources.extra import library
from clients.data.sources.opened import opened, require_proportion
from clients.data.sources.table import Table
from clients.data.sources.values import as_a_sheet_shows, written
from clients.rules.origin import Origin
from federation.errors import DataError
from federation.words import some


def read_excel(place: Origin) -> Table:
    """The table of a sheet, whose first row names the columns. Rows are numbered as the sheet numbers them."""
    _require_bounded(place)
    rows = iter(_sheet(place).iter_rows())
    line, names = 1, next(rows, None)
    while names is not None and not any(map(written, names)):
        line, names = line + 1, next(rows, None)
    if names is None:
        raise DataError(f"{place}: the sheet is empty", hint="it needs a header and rows")
    width = max(place for place, name in enumerate(names) if written(name).strip()) + 1
    return table_of_rows(
        place, names[:width], _rows(place, rows, width, line + 1), first=line + 1, write=as_a_sheet_shows
    )


def _require_bounded(place: Origin) -> None:
    """DataError for what is no workbook, or would unpack to many times its size."""
    try:
        with opened(place.file) as file, zipfile.ZipFile(file) as archive:
            size = sum(part.file_size for part in archive.infolist())
    except zipfile.BadZipFile:
        raise DataError(
            f"{place}: is no Excel workbook (.xlsx), or is damaged", hint="save it again"
        ) from None
    require_proportion(place.file, size, place.file.stat().st_size, "save it again")


def _sheet(place: Origin) -> Any:
    calamine = library(place)
    try:
        book = calamine.load_workbook(str(place.file))
        names = book.sheet_names
        hint = f"set data.sheet in site.toml to one of: {some(names)}"
        if place.sheet is None and len(names) > 1:
            raise DataError(f"{place}: has {len(names)} sheets", hint=hint)
        if place.sheet is not None and place.sheet not in names:
            raise DataError(f'{place}: has no sheet "{place.sheet}"', hint=hint)
        return book.get_sheet_by_name(place.sheet or names[0])
    except calamine.CalamineError as error:
        message = f"{place}: is no Excel workbook that can be read, or is damaged ({type(error).__name__})"
        raise DataError(message, hint="save it again, without a password") from None


def _rows(
    place: Origin, rows: Iterator[Sequence[object]], width: int, line: int
) -> Iterator[Sequence[object]]:
    """The rows, each as wide as the header. DataError if cells stand beside the table."""
    for number, row in enumerate(rows, line):
        if any(written(cell).strip() for cell in row[width:]):
            message = f"{place}: row {number} has a cell to the right of the last column with a name"
            raise DataError(message, hint="name the column, or move notes to another sheet")
        yield row[:width]
