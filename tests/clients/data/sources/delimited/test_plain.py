"""A row is known by the same bytes in every version, however they are made: registries hold them for years."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.data.populations import fingerprints_under
from clients.data.sources.delimited.plain import plain_rows
from clients.data.sources.packed import Cells, unpack
from clients.data.sources.table import Table
from federation.plan.identifiers import MAX_DIGITS, cleaned
from federation.plan.numerals import as_number
from privacy.mechanism.noise import Stream


def plain(cell: str) -> str:
    """One cell after the other, as the first version had it."""
    cell = cleaned(cell)
    number = as_number(cell) if len(cell) <= MAX_DIGITS else None
    return cell if number is None else repr(number + 0.0)


def table_of(columns: dict[str, Cells], decimal: str = ".") -> Table:
    rows = len(next(iter(columns.values())))
    return Table(Path("t.csv"), tuple(columns), tuple(columns.values()), range(rows), decimal=decimal)


def expected(table: Table) -> list[bytes]:
    order = sorted(range(len(table.header)), key=table.header.__getitem__)
    names = repr([table.header[place] for place in order])
    rows = ([plain(cell) for cell in row] for row in table.rows(order))
    return [f"{names}{row!r}".encode("utf-8", "surrogatepass") for row in rows]


def found(table: Table) -> list[bytes]:
    names, rows = plain_rows(table)
    return [names + row for row in rows]


ODD = [
    "", " ", "0", "-0", "-0.0", "0.0", "1.0", "1.50", "1.5", "01.5", "+1.5", "1e3", "1E5", "0.0001", "0.00001",
    "-0.05", "0.00012", "1_000", "nan", "inf", "-inf", "1e999", ".5", "5.", "123456789012345", "1234567890123456",
    "-12345678901234", "-123456789012345", "1234567890123.5", "1.2345678901234567", "12345678901234.5",
    "it's", '"', "a'\"b", "\\", "a\tb", "a\nb", "M\u00fcller", "Mu\u0308ller", "P\u200b1", "\u0665",
    "\u00a05", "\ud800", "code 1", "1,5", "-2,25",
]  # fmt: skip
NUMERALS = st.from_regex(r"\A-?[0-9]{1,17}(\.[0-9]{0,17})?(e-?[0-9])?\Z")
CELLS = st.one_of(
    st.sampled_from(ODD), NUMERALS, st.floats().map(repr), st.integers().map(str), st.text(max_size=6)
)
CELL = CELLS.map(lambda cell: cell.replace("\0", ""))


@given(cells=st.lists(CELL, min_size=1, max_size=40), decimal=st.sampled_from([".", ","]))
@settings(max_examples=120, deadline=None)
def test_a_row_of_texts_is_that_of_its_cells_one_by_one(cells: list[str], decimal: str) -> None:
    table = table_of({"b": Cells.of(cells), "a": Cells.of(cells[::-1])}, decimal)
    assert found(table) == expected(table)


@pytest.mark.parametrize("kind", ["few", "many", "written", "whole", "gaps", "mixed"])
def test_long_columns_of_each_kind_are_too(kind: str) -> None:
    """More than a block, and more different cells than are looked at one by one."""
    draws = (Stream(bytes(32)).words(9000) >> np.uint64(11)).astype(np.float64) / 2.0**52 - 1
    texts = {
        "few": [ODD[place % len(ODD)] for place in range(9000)],
        "many": [f"{ODD[place % len(ODD)]}{place}" for place in range(9000)],
        "written": [repr(round(value, 12)) for value in draws.tolist()],
        "whole": [str(int(value * 1e9)) for value in draws.tolist()],
        "gaps": ["" if value > 0.9 else repr(round(value, 4)) for value in draws.tolist()],
        "mixed": [repr(value) if place % 3 else f"{value:.3f}" for place, value in enumerate(draws.tolist())],
    }[kind]
    table = table_of({"x": Cells.of(texts)})
    assert found(table) == expected(table)


FLOATS = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1e15, 1e16, -1e14, float("nan"), float("inf")]))
EDGES = [10**15, 10**15 - 1, -(10**14), 1 - 10**14, 10**16, -(2**63), 0]


@given(
    floats=st.lists(FLOATS, min_size=1, max_size=30),
    whole=st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from(EDGES)), min_size=1),
)
@settings(max_examples=80, deadline=None)
def test_numbers_of_a_source_that_has_them_are_the_texts_that_a_file_would_have(
    floats: list[float], whole: list[int]
) -> None:
    for numbers in (np.array(floats), np.array(whole, np.int64)):
        table, written = table_of({"x": Cells((numbers,))}), table_of({"x": Cells.of(unpack(numbers))})
        assert found(table) == found(written) == expected(table)


def test_the_fingerprints_of_a_table_are_those_of_every_version_before() -> None:
    table = table_of({"b": Cells.of(["1.50", "it's", ""]), "a": Cells.of(["x", "\u0665", "-0"])})
    assert sorted(mark.hex() for mark in fingerprints_under(b"k" * 32, table)) == VECTOR


VECTOR = [
    "44e7c44dbcb46871f5cd91530c52e79b",
    "472f779d3bf6a89f3412d424cec8f9c1",
    "b77203f1a02a49cb2c9174c8ffbbd254",
]
