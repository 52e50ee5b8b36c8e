"""Parquet files and Arrow files, batch by batch, read by pyarrow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from clients.data.sources.collecting import table_of_batches
from clients.data.sources.extra import library
from clients.data.sources.packed import BLOCK
from clients.data.sources.table import Table
from clients.data.sources.values import of_floats, stamped, written
from clients.rules.origin import Origin
from federation.errors import DataError
from federation.plan.identifiers import cleaned

Column = Callable[[Any], Sequence[object]]
"""From an Arrow array to the values, or the texts, of its cells."""


def read_columnar(place: Origin) -> Table:
    """The table in a Parquet or Arrow file. DataError if it is damaged, or holds no rows.

    Columns of lists, structs and bytes are no cells: they are left aside, and refused when a plan asks for one.
    """
    arrow = library(place)
    with _explained(place, arrow), _opened(place) as (schema, batches):
        readers = [_reader(arrow, field.type) for field in schema]
        kept = [position for position, reader in enumerate(readers) if reader is not None]
        aside = {
            cleaned(field.name): f"values of the type {_named(field.type)}"
            for field, reader in zip(schema, readers, strict=True)
            if reader is None
        }
        read = ([readers[position](batch.column(position)) for position in kept] for batch in batches)
        return table_of_batches(place, [schema.field(position).name for position in kept], read, aside=aside)


@contextmanager
def _opened(place: Origin) -> Iterator[tuple[Any, Iterator[Any]]]:
    """Schema and batches of a file."""
    with open(str(place.file), "rb") as file:
        if place.kind == "parquet":
            parquet = library(place, "parquet").ParquetFile(file, pre_buffer=False, buffer_size=1 << 16)
            yield parquet.schema_arrow, parquet.iter_batches(BLOCK, use_threads=False)
            return
        is_file = file.read(6) == b"ARROW1"
        file.seek(0)
        ipc = library(place, "ipc")
        if is_file:
            reader = ipc.open_file(file)
            found = (reader.get_batch(number) for number in range(reader.num_record_batches))
        else:
            reader = ipc.open_stream(file)
            found = iter(reader)
        yield reader.schema, (piece for batch in found for piece in _pieces(batch))


def _pieces(batch: Any) -> Iterator[Any]:
    return (batch.slice(start, BLOCK) for start in range(0, batch.num_rows, BLOCK))


def _reader(arrow: Any, kind: Any) -> Column | None:
    """How the cells of a column of this type are read; None if it holds no cells."""
    types = arrow.types
    if types.is_dictionary(kind):
        inner = _reader(arrow, kind.value_type)
        return None if inner is None else lambda column: inner(column.dictionary_decode())
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return lambda column: column.to_pylist()
    if types.is_float32(
        kind
    ):  # the shortest text of a float of 32 bits, not that of the double it would become
        return lambda column: of_floats(_texts(arrow, column))
    if types.is_integer(kind) or types.is_boolean(kind):
        return lambda column: _texts(arrow, column)
    if types.is_date(kind):
        return lambda column: _texts(arrow, column.cast(arrow.date32()))
    if types.is_timestamp(kind) or types.is_time(kind):
        utc = kind if types.is_time(kind) or kind.tz is None else arrow.timestamp(kind.unit, "UTC")
        return lambda column: list(map(stamped, _texts(arrow, column.cast(utc))))
    if types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind):
        return lambda column: column.to_pylist()
    return None


def _texts(arrow: Any, column: Any) -> list[str]:
    return [text or "" for text in column.cast(arrow.string()).to_pylist()]


def _named(kind: Any) -> str:
    return written(str(kind).partition("<")[0])


@contextmanager
def _explained(place: Origin, arrow: Any) -> Iterator[None]:
    """What a library says of a damaged file may quote it, so only that it is damaged is told."""
    name = "Parquet" if place.kind == "parquet" else "Arrow"
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{place}: cannot be read: there is no such file", hint="check the path") from None
    except (OSError, arrow.ArrowException) as error:
        hint = "write the file again; a Feather file of version 1 is written anew as version 2"
        message = f"{place}: is no {name} file that can be read, or is damaged ({type(error).__name__})"
        raise DataError(message, hint=hint) from None
