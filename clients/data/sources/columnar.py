"""Parquet files and Arrow files, batch by batch, read by pyarrow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from clients.data.sources.collecting import Texts, table_of_batches
from clients.data.sources.extra import library
from clients.data.sources.opened import opened
from clients.data.sources.packed import BLOCK, Numbers
from clients.data.sources.table import Table
from clients.data.sources.values import of_floats, stamped, written
from clients.rules.origin import Origin
from federation.errors import DataError
from federation.plan.identifiers import cleaned

Column = Callable[[Any], Sequence[object] | Numbers]
"""From an Arrow array to the values, the texts or the numbers of its cells."""


def read_columnar(origin: Origin) -> Table:
    """The table in a Parquet or Arrow file. DataError if it is damaged, or holds no rows.

    Columns of lists, structs and bytes are no cells: they are left aside, and refused when a plan asks for one.
    """
    with opened(origin.file) as file, _explained(origin, arrow := library(origin)):
        schema, batches = _batches(origin, file)
        readers = [(place, _reader(arrow, field.type)) for place, field in enumerate(schema)]
        kept = [(place, reader) for place, reader in readers if reader is not None]
        no_cells = [schema.field(place) for place, reader in readers if reader is None]
        aside = {cleaned(field.name): f"values of the type {_named(field.type)}" for field in no_cells}
        names = [schema.field(place).name for place, _ in kept]
        read = ([reader(batch.column(place)) for place, reader in kept] for batch in batches)
        return table_of_batches(origin, names, read, aside=aside)


def _batches(place: Origin, file: IO[bytes]) -> tuple[Any, Iterator[Any]]:
    """Schema and batches of a file."""
    if place.kind == "parquet":
        parquet = library(place, "parquet").ParquetFile(file, pre_buffer=False, buffer_size=1 << 16)
        return parquet.schema_arrow, parquet.iter_batches(BLOCK, use_threads=False)
    is_file = file.read(6) == b"ARROW1"
    file.seek(0)
    ipc = library(place, "ipc")
    if is_file:
        reader = ipc.open_file(file)
        found = (reader.get_batch(number) for number in range(reader.num_record_batches))
    else:
        reader = ipc.open_stream(file)
        found = iter(reader)
    return reader.schema, (piece for batch in found for piece in _pieces(batch))


def _pieces(batch: Any) -> Iterator[Any]:
    return (batch.slice(start, BLOCK) for start in range(0, batch.num_rows, BLOCK))


def _reader(arrow: Any, kind: Any) -> Column | None:
    """How the cells of a column of this type are read; None if it holds no cells."""
    types = arrow.types
    if types.is_dictionary(kind):
        inner = _reader(arrow, kind.value_type)
        return None if inner is None else _decoded(inner)
    if any(is_of(kind) for is_of in (types.is_timestamp, types.is_time, types.is_date)):
        return _times(arrow, kind)
    if types.is_float32(
        kind
    ):  # the shortest text of a float of 32 bits, not that of the double it would become
        return lambda column: of_floats(_texts(arrow, column))
    known: tuple[tuple[Callable[[Any], bool], Column], ...] = (
        (types.is_float64, _doubles),
        (types.is_uint64, lambda column: _texts(arrow, column)),  # it may be beyond int64
        (
            types.is_integer,
            lambda column: _texts(arrow, column) if column.null_count else _whole(arrow, column),
        ),
        (types.is_boolean, lambda column: _texts(arrow, column)),
        *((is_of, _strings) for is_of in (types.is_string, types.is_large_string, types.is_string_view)),
        *((is_of, _values) for is_of in (types.is_floating, types.is_decimal, types.is_null)),
    )
    return next((column for is_of, column in known if is_of(kind)), None)


def _decoded(inner: Column) -> Column:
    return lambda column: inner(column.dictionary_decode())


def _times(arrow: Any, kind: Any) -> Column:
    """Dates, times of day, and moments, in UTC where it is known in which zone they are."""
    if arrow.types.is_date(kind):
        return lambda column: _texts(arrow, column.cast(arrow.date32()))
    has_zone = arrow.types.is_timestamp(kind) and kind.tz is not None
    plain = arrow.timestamp(kind.unit, "UTC") if has_zone else kind
    return lambda column: list(map(stamped, _texts(arrow, column.cast(plain))))


def _doubles(column: Any) -> Numbers:
    """Doubles as they are, and NaN for NULL."""
    return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)


def _whole(arrow: Any, column: Any) -> Numbers:
    return np.asarray(column.cast(arrow.int64()).to_numpy())


def _strings(column: Any) -> Texts:
    return Texts(text or "" for text in column.to_pylist())


def _values(column: Any) -> Sequence[object]:
    found: Sequence[object] = column.to_pylist()
    return found


def _texts(arrow: Any, column: Any) -> Texts:
    return Texts(text or "" for text in column.cast(arrow.string()).to_pylist())


def _named(kind: Any) -> str:
    return written(str(kind).partition("<")[0])


@contextmanager
def _explained(place: Origin, arrow: Any) -> Iterator[None]:
    """What a library says of a damaged file may quote it, so only that it is damaged is told."""
    name = "Parquet" if place.kind == "parquet" else "Arrow"
    try:
        yield
    except (OSError, arrow.ArrowException) as error:
        again = "write it again"
        hint = again if place.kind == "parquet" else f"{again}; Feather of version 1 as version 2"
        message = f"{place}: is no {name} file that can be read, or is damaged ({type(error).__name__})"
        raise DataError(message, hint=hint) from None
