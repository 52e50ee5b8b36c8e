"""Cells as numbers: the same whether a source has them as text or as numbers, and however they are cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.data.sources.numerals import Numerals, parsed
from clients.data.sources.packed import BLOCK, Cells, HoldsNul, Packer, pack
from federation.plan.numerals import as_number

CELL = st.floats().map(repr) | st.sampled_from(["", " 5 ", "1_000", "?", "inf", "1e999", "-0.0", "12"])


@given(st.lists(CELL, min_size=1, max_size=30))
def test_a_cell_is_the_number_that_it_is_by_itself(cells: list[str]) -> None:
    expected = [np.nan if (number := as_number(cell.strip())) is None else number for cell in cells]
    for found in (parsed(cells), parsed(Numerals([pack(cells)], len(cells)))):
        assert np.array_equal(found, np.array(expected), equal_nan=True)


@given(st.lists(st.floats() | st.just(-0.0), min_size=1, max_size=30))
def test_doubles_are_the_cells_that_they_would_be_as_text(values: list[float]) -> None:
    texts = ["" if np.isnan(value) else repr(value) for value in values]
    as_numbers, as_texts = Numerals([np.array(values)], len(values)), Numerals([pack(texts)], len(values))
    assert list(as_numbers) == list(as_texts) == texts
    assert [as_numbers[row] for row in range(len(values))] == [as_texts[row] for row in range(len(values))]
    assert np.array_equal(as_numbers.numbers(), as_texts.numbers(), equal_nan=True)


def test_parts_of_a_column_that_are_numbers_and_texts_by_turns_are_one_column() -> None:
    packer = Packer(["x", "y"])
    packer.add(
        [np.array([1.0, np.nan, np.nan]), ["a", "b", " "]], [1, 2, 3]
    )  # of the third nothing is filled in
    packer.add([["?"], ["c"]], [4])
    packer.add([np.array([7], np.int64), ["d"]], [5])
    x, y = packer.done()
    assert (list(x), list(y)) == (["1.0", "", "?", "7"], ["a", "b", "c", "d"])
    assert (list(packer.lines), packer.blank) == ([1, 2, 4, 5], 1)


def test_rows_are_found_across_blocks_whatever_these_are() -> None:
    whole = np.arange(BLOCK + 5)
    packer = Packer(["x"])
    packer.add([whole], range(len(whole)))
    (column,) = packer.done()
    assert [column.at(row) for row in (0, BLOCK - 1, BLOCK + 4)] == ["0", str(BLOCK - 1), str(BLOCK + 4)]
    assert len(column) == len(whole) and Numerals(column.blocks, len(column))[-1] == str(BLOCK + 4)
    assert Cells.of(list(column)) == Cells.of(list(map(str, whole.tolist())))


def test_a_cell_with_a_nul_is_named_beside_numbers() -> None:
    packer = Packer(["x", "y"])
    packer.add([np.array([1.0, 2.0]), ["a", "b\0c"]], [8, 9])
    with pytest.raises(HoldsNul) as error:
        packer.done()
    assert (error.value.line, error.value.column) == (9, "y")
