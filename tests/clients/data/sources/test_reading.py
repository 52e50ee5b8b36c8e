"""One table gives the same records, and is known again as the same, wherever and however it is kept."""

from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.data.load import read_table
from clients.data.populations import fingerprints_under
from clients.data.sources.reading import read
from clients.rules.origin import Origin
from federation.errors import DataError
from federation.plan.columns.numeric import MISSING
from federation.plan.layout import layout
from tests.clients.data.sources.stores import COLUMNS, RULED, SOME, STAGES, STORES, TASK, Rows, Store, csv

SECRET = bytes(32)
EXTRA = [pytest.param(each, id=name, marks=pytest.mark.extras) for name, each in STORES.items() if each.needs]
EVERY = [*(pytest.param(each, id=name) for name, each in STORES.items() if not each.needs), *EXTRA]


def stored(store: Store, folder: Path, rows: Rows = SOME) -> Origin:
    """The rows in that store, or the test skipped where the library that reads it is not installed."""
    if store.needs:
        pytest.importorskip(store.needs, reason="needs the extra: make test-extras")
    return store.origin(folder, rows)


def same(one: Origin, other: Origin) -> None:
    """Assert that two places hold one table, for training, for the registry of pools and for a look."""
    first, second = read_table(one, TASK), read_table(other, TASK)
    assert torch.equal(first.data.features, second.data.features)
    assert torch.equal(first.data.labels, second.data.labels)
    assert first.data.patients is not None and second.data.patients is not None
    assert torch.equal(first.data.patients, second.data.patients)
    assert first.table is not None and second.table is not None
    prints = [fingerprints_under(SECRET, table, "mrn") for table in (first.table, second.table)]
    assert prints[0] == prints[1] and len(prints[0]) > 1


@pytest.mark.parametrize("store", EVERY)
def test_one_table_is_the_same_however_it_is_kept(tmp_path: Path, store: Store) -> None:
    (tmp_path / "plain").mkdir()
    same(csv(tmp_path / "plain" / "clinic.csv"), stored(store, tmp_path))


@pytest.mark.parametrize("store", EVERY)
def test_what_is_not_there_and_what_is_a_date_are_the_same_however_they_are_kept(
    tmp_path: Path, store: Store
) -> None:
    gaps = [
        tuple(None if (number + place) % 4 == 0 and place < 7 else value for place, value in enumerate(row))
        for number, row in enumerate(SOME)
    ]
    (tmp_path / "plain").mkdir()
    first = read_table(csv(tmp_path / "plain" / "clinic.csv", gaps), RULED).data
    second = read_table(stored(store, tmp_path, gaps), RULED).data
    assert torch.equal(first.features, second.features)
    marks = [column.part == MISSING for column in layout(RULED)]
    assert sum(marks) == 7 and bool((first.features[:, marks].sum(dim=0) == 10).all())


ROWS = st.lists(
    st.tuples(
        st.integers(0, 120),
        st.floats(-1e18, 1e18).map(lambda value: value + 0.0),
        st.decimals(0, 300, places=2).map(Decimal),
        st.integers(1, 4),
        st.booleans(),
        st.sampled_from(STAGES),
        st.dates(date(1950, 1, 1), date(2050, 1, 1)),
        st.integers(0, 9).map(lambda number: f"P{number}"),
        st.integers(0, 1),
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize("store", EVERY)
def test_any_table_is_the_same_however_it_is_kept(tmp_path: Path, store: Store) -> None:
    @settings(max_examples=8, deadline=None)
    @given(ROWS)
    def holds(rows: Rows) -> None:
        for kept in tmp_path.iterdir():
            kept.unlink()
        same(csv(tmp_path / "plain.csv", rows), stored(store, tmp_path, rows))

    holds()


@pytest.mark.parametrize("store", EVERY)
def test_what_is_missing_is_an_empty_cell_in_the_row_where_its_people_find_it(
    tmp_path: Path, store: Store
) -> None:
    rows = [list(row) for row in SOME]
    rows[3][0] = rows[5][5] = rows[6][5] = None
    place = stored(store, tmp_path, rows)
    first = (
        2 if store.suffix in (".csv", ".csv.gz", ".tsv", ".xlsx") else 1
    )  # below a header, or of an answer
    with pytest.raises(DataError) as caught:
        read_table(place, TASK)
    line = str(caught.value)
    assert line.startswith(f'{place}: row {3 + first}, column "age": is empty, ')
    assert f'row {5 + first}, column "stage": is empty (2 rows: {5 + first}, {6 + first})' in line
    assert "early" not in line


@pytest.mark.parametrize("store", EVERY)
def test_columns_that_are_not_there_are_named_together(tmp_path: Path, store: Store) -> None:
    task = TASK.model_copy(update={"target": "outcome", "patient": "person"})
    with pytest.raises(DataError, match='has no columns "outcome", "person"'):
        read_table(stored(store, tmp_path), task)


@pytest.mark.parametrize("store", EVERY)
def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, store: Store) -> None:
    if store.needs:
        pytest.importorskip(store.needs, reason="needs the extra: make test-extras")
    place = replace(Origin.of(tmp_path / f"absent{store.suffix}"), query="select 1")
    with pytest.raises(DataError, match=r"absent\..*: cannot be read: there is no such file"):
        read(place)


@pytest.mark.parametrize("store", EVERY)
@pytest.mark.parametrize(
    "content", [b"", b"hello\n", b"PAR1" * 9, b"ARROW1\0\0" * 9, b"PK\x03\x04" * 9], ids=range(5)
)
def test_a_file_that_is_something_else_is_one_line(tmp_path: Path, store: Store, content: bytes) -> None:
    place = stored(store, tmp_path)
    place.file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(place)
    assert str(caught.value).startswith(str(place)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("store", EVERY)
def test_a_file_cut_off_is_never_a_shorter_table(tmp_path: Path, store: Store) -> None:
    place = stored(store, tmp_path)
    if place.kind in ("csv", "ndjson") and place.file.suffix != ".gz":
        return  # a text cut between two lines is a text; whoever cut it has to know
    whole = place.file.read_bytes()
    for part in (len(whole) // 3, len(whole) // 2, len(whole) - 9):
        place.file.write_bytes(whole[:part])
        with pytest.raises(DataError):
            read(place)


@pytest.mark.parametrize("store", EVERY)
def test_a_table_without_rows_is_one_line(tmp_path: Path, store: Store) -> None:
    if store.suffix in (".parquet", ".arrow"):
        pytest.skip("a table of Arrow without rows has no types")
    with pytest.raises(DataError, match="no rows"):
        read(stored(store, tmp_path, []))


@pytest.mark.parametrize("store", EVERY)
def test_rows_without_a_cell_are_counted_and_left_out(tmp_path: Path, store: Store) -> None:
    if store.suffix == ".ndjson":
        pytest.skip("an object of nulls is no row of any clinic's export")
    empty = [None] * len(COLUMNS)
    table = read(stored(store, tmp_path, [*SOME[:5], empty, *SOME[5:], empty]))
    assert len(table) == len(SOME) and table.blank in (1, 2)  # a sheet ends where nothing follows


def test_a_decimal_comma_is_read_where_it_is_declared_and_refused_where_not(tmp_path: Path) -> None:
    place = csv(tmp_path / "clinic.csv", separator=";", decimal=",")
    with pytest.raises(DataError, match=r"mark between thousands.*data\.decimal = \",\""):
        read_table(replace(place, decimal="."), TASK)
    pointed = csv(tmp_path / "pointed.csv", separator=";")
    with pytest.raises(DataError, match=r"it has a point, or a mark between thousands.*like 1234,5"):
        read_table(replace(pointed, decimal=","), TASK)


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("1,5", "1.5"),
        ("-0,5e3", "-0.5e3"),
        (" ,5 ", ".5"),
        ("1.500", "1,500"),
        ("1.234,5", "1,234.5"),
        ("7", "7"),
    ],
)
def test_point_and_comma_change_places_in_numbers_and_nowhere_else(
    tmp_path: Path, cell: str, number: str
) -> None:
    (tmp_path / "a.csv").write_text(f"n;code\n{cell};{cell}\n1;E11.9\n2;a,b\n")
    table = read(replace(Origin.of(tmp_path / "a.csv"), separator=";", decimal=","))
    assert table.numerals("n")[0] == number
    plain = number if "," in cell and "." not in cell else cell
    assert table.column("code") == [plain.strip(), "E11.9", "a,b"]


@pytest.mark.parametrize(
    ("declared", "written", "expected"),
    [
        (",", ";", 'separated by semicolons; set data.separator = ";" in site.toml'),
        (",", "\t", 'separated by tabs; set data.separator = "tab" in site.toml'),
        (";", ",", "separated by commas; take data.separator out of site.toml"),
        ("\t", ";", 'separated by semicolons; set data.separator = ";" in site.toml'),
    ],
)
def test_another_separator_than_declared_says_which_key_to_set(
    tmp_path: Path, declared: str, written: str, expected: str
) -> None:
    place = csv(tmp_path / "clinic.csv", separator=written)
    with pytest.raises(DataError) as caught:
        read(replace(place, separator=declared))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("declared", "written", "expected"),
    [
        ("utf-8", "iso-8859-2", "row 3 is not UTF-8 text (13 such rows: 3, 6, 9, ...); save it as CSV"),
        ("cp1252", "utf-8", "is UTF-8 text, and data.encoding says cp1252"),
        ("cp1252", "utf-8-sig", "is UTF-8 text, and data.encoding says cp1252"),
        ("utf-8", "utf-16", "is UTF-16 text; set data.encoding"),
        ("utf-16", "utf-8", "is no utf-16 text; set data.encoding"),
        ("ascii", "utf-8", "is UTF-8 text, and data.encoding says ascii"),
    ],
)
def test_another_encoding_than_declared_says_which_key_to_set(
    tmp_path: Path, declared: str, written: str, expected: str
) -> None:
    place = csv(tmp_path / "clinic.csv", encoding=written)
    with pytest.raises(DataError) as caught:
        read(replace(place, encoding=declared))
    assert expected in str(caught.value)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "clinic.csv.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(b"age,num\n")
        for _ in range(900):
            file.write(b"x" * 100_000 + b",0\n")
    with pytest.raises(DataError, match="unpacks to more than 400 times its size"):
        read(path)


def test_a_line_without_an_end_is_not_taken_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "clinic.csv"
    with path.open("wb") as file:
        file.write(b"age,num\n")
        for _ in range(40):
            file.write(b"x" * (1 << 20))
    with pytest.raises(DataError, match="row 2: a line of over 32 MiB"):
        read(path)


@pytest.mark.parametrize("end", ["", "  "], ids=["plain", "blanks-at-the-end"])
def test_cells_parted_by_blanks_are_read_however_many_there_are(tmp_path: Path, end: str) -> None:
    path = tmp_path / "statlog.data"
    path.write_text(f'  A11   6 A34 1169{end}\nA12 48 A32 "5 951"\n\n')
    declared = replace(Origin.of(path), separator=" ", columns=("status", "months", "history", "amount"))
    table = read(declared)
    assert [table.column(name) for name in table.header[:2]] == [["A11", "A12"], ["6", "48"]]
    assert table.column("amount") == ["1169", "5 951"]
    assert list(table.lines) == [1, 2]


def test_a_table_parted_by_blanks_is_told_so_and_a_column_of_sentences_is_none(tmp_path: Path) -> None:
    path = tmp_path / "statlog.data"
    path.write_text("A11 6 A34 1169\nA12 48 A32 5951\n")
    with pytest.raises(DataError, match=r'separated by blanks; set data\.separator = "space" in site\.toml'):
        read(path)
    path.write_text("what was seen there\nno pain at all\n")
    assert read(path).header == ("what was seen there",)
