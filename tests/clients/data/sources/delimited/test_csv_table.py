"""Tables as they are in files: no row gets lost without a word, and every line is counted."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.data.sources.reading import read as read_from
from clients.data.sources.table import Table
from clients.rules.origin import Origin
from federation.errors import DataError
from tests.patience import within

HEADER = "id,note,age,sick"
ROWS = [f"{number},fine,{40 + number},no" for number in range(12)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "site.csv"


def read(path: Path, text: str, end: str = "\n") -> Table:
    path.write_bytes(text.replace("\n", end).encode())
    return read_from(path)


def refused(path: Path, text: str | bytes) -> str:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(DataError) as caught:
        read_from(path)
    line = str(caught.value)
    assert "\n" not in line and "; " in line
    return line.removeprefix(f"{path}: ")


def quoted(first: int, last: int, column: int) -> str:
    """The table with a stray quote in a column of row `first` and another in the same column of row `last`."""
    rows = [row.split(",") for row in ROWS]
    rows[first][column] = '"' + rows[first][column]
    rows[last][column] += '"'
    return "\n".join([HEADER, *map(",".join, rows)]) + "\n"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("column", range(4))
@pytest.mark.parametrize(("first", "last"), [(0, 1), (3, 4), (3, 9), (0, 11)])
def test_a_stray_pair_of_quotes_never_swallows_rows(
    path: Path, first: int, last: int, column: int, end: str
) -> None:
    text = quoted(first, last, column).replace("\n", end)
    assert len(list(csv.reader(io.StringIO(text, newline="")))) < 13, (
        "the control: it is legal CSV with fewer rows"
    )
    line = refused(path, text)
    assert line.startswith(
        f"row {first + 2}: a quote opens a cell whose lines look like rows; close the quote"
    )


def test_a_stray_quote_in_the_header_or_after_a_note_of_several_lines_is_named_by_its_line(
    path: Path,
) -> None:
    line = refused(path, 'id,"note,age,sick\n1,a,2,no\n2,b",age,sick\n3,c,4,no\n')
    assert line.startswith("row 1: a quote opens")
    line = refused(path, f'{HEADER},other\n1,"two\nlines",40,no,"x\n2,fine,41,no,y"\n')
    assert line.startswith("row 3: a quote opens")
    line = refused(path, quoted(3, 4, 0) + '"12,fine,40,no\n13",fine,41,no\n')
    assert "(2 such rows: 5, 14)" in line


def test_a_note_may_span_lines(path: Path) -> None:
    table = read(path, f'{HEADER}\n1,"feels well,\n\nslept badly; ""fine"", she says",40,no\n2,x,41,no\n')
    assert (len(table), table.line_count, list(table.lines), table.blank) == (2, 5, [2, 5], 0)


NOTES = f"{HEADER}\n" + "".join(f"{n},fine,{30 + n},{('no', 'yes')[n % 2]}\n" for n in range(12))


@pytest.mark.parametrize(
    "note",
    [
        "slept badly, coughs, sweats\nno fever",
        "pale, cold, tired\npulse 90, regular, full, no pain\nhome",
        "no fever, 40, says she\nand, no, pain",
        "1, sleeps, 40, perhaps",
    ],
)
def test_a_note_with_as_many_commas_as_a_row_is_none_where_other_columns_tell(path: Path, note: str) -> None:
    table = read(path, f'{NOTES}13,"{note}\nthat is all",41,no\n')
    assert len(table) == 13


@pytest.mark.parametrize("slip", ["no", "nO", ""])
def test_swallowed_rows_are_told_by_other_columns_though_one_has_a_slip(path: Path, slip: str) -> None:
    line = refused(path, f'{NOTES}13,"open,41,{slip}\n14,fine,42,no\n15,shut",43,yes\n')
    assert line.startswith("row 14: a quote opens")


def test_in_a_file_of_one_column_no_cell_spans_lines(path: Path) -> None:
    assert refused(path, 'id\n1\n"2\n3"\n').startswith("row 3: a quote opens")


def test_blank_rows_are_counted(path: Path) -> None:
    table = read(path, f"\n{HEADER}\n1,a,40,no\n,,,\n   \n\n2,b,41,no\n\x0c\n , ,,\n")
    assert (len(table), table.blank, table.line_count) == (2, 6, 9)


@settings(max_examples=100)
@given(
    rows=st.lists(
        st.lists(st.sampled_from(["", "a", 'b "c"', "d\ne", "f\r\n\n", "1,5", " "]), min_size=4, max_size=4)
    ),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_every_row_written_is_read_or_counted_or_the_file_is_refused(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], end: str
) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator=end).writerows([HEADER.split(","), *rows])
    path = tmp_path_factory.mktemp("rows") / "site.csv"
    path.write_bytes(buffer.getvalue().encode())
    try:
        table = read_from(path)
    except DataError:
        return
    assert list(map(list, zip(*table.columns, strict=True))) == [
        row for row in rows if any(map(str.strip, row))
    ]
    assert len(table) + table.blank == len(rows)


REFUSED = [
    (
        f"{HEADER}\n{ROWS[0]}\n{HEADER}\n{ROWS[1]}\n",
        "row 3 is the header once more; remove that row: two files",
    ),
    (f"{HEADER}\n{ROWS[0]}\n\ufeff id ,note,age,sick\n{ROWS[1]}\n", "row 3 is the header once more"),
    (
        f"{HEADER}\n{ROWS[0]},\n{ROWS[1]},\n",
        "row 2 has 5 cells, the header has 4 (2 such rows: 2, 3); rows end with",
    ),
    (f"{HEADER}\n{ROWS[0]}\n1,fine,4", "row 3 has 3 cells, the header has 4; is the file cut off there?"),
    (f'{HEADER}\n{ROWS[0]}\n1,"fine,4,no\n', "row 3 is not CSV: a quote opens there and never closes"),
    (
        f"{HEADER}\n" + "1,5\n" * 9,
        "row 2 has 2 cells, the header has 4 (9 such rows: 2, 3, 4, ...); look for a comma",
    ),
    (f"{HEADER}\n1,{'x' * 200_000},4,no\n", "row 2 is not CSV: it has a cell of over 131,072 characters"),
    (
        f'{HEADER}\n1,"' + "1,fine,4,no\n" * 20_000,
        "row 2 is not CSV: a quote does not close within 131,072 characters",
    ),
    (f"{HEADER}\n1,\0,4,no\n", "row 2 holds a NUL byte; take it out"),
    (f"{HEADER}\n" + "1,fine,4,no\n" * 999 + "1,\0,4,no\n", "row 1001 holds a NUL byte; take it out"),
    ("id,note,age\u200b,age\n1,a,2,3\n", 'has two columns "age"'),
]


@pytest.mark.parametrize(("text", "expected"), REFUSED)
def test_what_may_be_lost_or_doubled_is_refused(path: Path, text: str, expected: str) -> None:
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_from(path).column("age")
    assert expected in str(caught.value)


def test_a_column_is_found_by_what_its_name_looks_like(path: Path) -> None:
    table = read(path, "\u200bid,gro\u0308\u00dfe,Age,age\n1,2,3,4\n")
    assert (
        table.column("gr\u00f6\u00dfe") == ["2"]
        and table.column("id") == ["1"]
        and table.column("age") == ["4"]
    )
    (note,) = table.twins(["id", "age"])
    assert 'another column is called "age" in other capitals, and is not read' in str(note)


def test_the_line_that_is_not_utf8_is_named_whatever_ends_the_lines(path: Path) -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        content = end.join([HEADER.encode(), b"1,a,2,no", b"2,M\xfcller,3,no", b"3,b,4,no"])
        line = refused(path, content)
        assert (
            line == "row 3 is not UTF-8 text; save it as CSV, UTF-8, or set data.encoding in site.toml "
            '(it may be "windows-1252" or "iso-8859-1" now)'
        )


def test_a_line_of_many_columns_and_a_cell_of_twenty_megabytes_are_seconds_at_most(path: Path) -> None:
    most = 300_000  # if each were compared with each, hours
    with within(10):
        assert f"has {most} cells" in refused(path, f"{HEADER}\n" + "1," * (most - 1) + "1\n")
        assert "a cell of over" in refused(path, f"{HEADER}\n1," + "x" * 20_000_000 + ",4,no\n")
        table = read(path, ",".join(f"c{n}" for n in range(most)) + "\n" + "1," * (most - 1) + "1\n")
        with pytest.raises(DataError, match='has no column "age"'):
            table.column("age")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (f"Export of 2024\n{HEADER}\n1,a,40,no\n", "must be the columns' names"),
        (f'{HEADER}\n"1,a,40,no"\n"2,b,41,no"\n', "take those around the whole row away"),
        (f"{HEADER}\n1,a,40,no\nby the clinic\n", "a note below the table"),
    ],
)
def test_rows_of_another_length_are_explained(path: Path, text: str, hint: str) -> None:
    path.write_text(text)
    with pytest.raises(DataError) as raised:
        read_from(path)
    assert hint in str(raised.value)


def test_a_table_whose_rows_are_all_in_quotes(path: Path) -> None:
    with pytest.raises(DataError, match="take those away"):
        read(path, f'"{HEADER}"\n"1,a,40,no"\n').column("age")


def test_a_large_table_is_read_without_a_list_for_each_row(path: Path) -> None:
    table = read(path, HEADER + "\n" + "1,a,40,no\n" * 1000)
    assert [len(column) for column in table.columns] == [1000] * 4
    assert not any(isinstance(cell, list) for column in table.columns for cell in column)


def test_a_file_without_a_header_is_read_by_the_names_that_are_declared(tmp_path: Path) -> None:
    path = tmp_path / "raw.data"
    path.write_text("63, 1\n\n67, ?\n")
    table = read_from(Origin("own", path, columns=("age", "sex")))
    assert table.header == ("age", "sex")
    assert (table.column("age"), table.column("sex")) == (["63", "67"], ["1", "?"])
    assert (list(table.lines), table.line_count, table.blank) == ([1, 3], 3, 1)
    with pytest.raises(DataError, match="row 1 has 2 cells, the header has 3"):
        read_from(Origin("own", path, columns=("age", "sex", "num")))
