"""Reads a table from wherever a site keeps it: one reader for each kind of source."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from clients.data.sources.archive import read_npz
from clients.data.sources.columnar import read_columnar
from clients.data.sources.delimited.csv_table import parsed_csv, read_csv
from clients.data.sources.excel import read_excel
from clients.data.sources.postgresql import read_postgresql
from clients.data.sources.sqlite import read_ndjson, read_sqlite
from clients.data.sources.table import Table, refuse_problems
from clients.rules.origin import Kind, Origin, Place

_READERS: Mapping[Kind, Callable[[Origin], Table]] = {
    "csv": read_csv,
    "own": read_csv,  # a table under another name; what is none is told so
    "parquet": read_columnar,
    "arrow": read_columnar,
    "excel": read_excel,
    "sqlite": read_sqlite,
    "ndjson": read_ndjson,
    "postgresql": read_postgresql,
    "npz": read_npz,
}


def read(place: Place) -> Table:
    """The table at a place. DataError if there is none, or if rows may be lost."""
    table = examined(place)
    refuse_problems(table.path, table.problems)
    return table


def examined(place: Place) -> Table:
    """The same with its problems, for who can tell more of them. DataError if there is no table at all."""
    origin = Origin.of(place)
    return _READERS[origin.kind](origin)


def parsed(place: Place) -> Table:
    """The same, of which no more is asked than that it can be parsed."""
    origin = Origin.of(place)
    return parsed_csv(origin) if origin.kind in ("csv", "own") else read(origin)
