"""Reading TOML, finding the line of a key, replacing a value."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.config.toml import parse, read, with_value
from federation.errors import InputError, UnusableFile
from tests.plans import TEXT, line_of

NAMES = st.lists(st.from_regex(r"[a-z]{1,6}", fullmatch=True), min_size=1, max_size=6, unique=True)


@given(tables=NAMES, keys=NAMES, blanks=st.integers(0, 3))
def test_every_key_of_a_plain_file_is_found_on_its_own_line(
    tables: list[str], keys: list[str], blanks: int
) -> None:
    lines: list[str] = []
    expected = {}
    for table in tables:
        lines += [""] * blanks + [f"[{table}]"]
        expected[(table,)] = len(lines)
        for key in keys:
            lines.append(f"  {key} = 1  # {table}")
            expected[(table, key)] = len(lines)
    document = parse("\n".join(lines))
    assert {key: document.line_of(key) for key in expected} == expected


@given(st.text(max_size=200))
def test_any_text_is_a_document_or_a_plan_error(text: str) -> None:
    try:
        document = parse(text)
    except UnusableFile:
        return
    for key in document.data:
        document.line_of((key,))


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ('"odd key" = 1', ("odd key",), 1),
        ("a.b.c = 1", ("a", "b"), 1),
        ("[[a]]\nb = 1", ("a", "b"), 2),
        ("[[a]]\nb = 1\n[[a]]\nb = 2", ("a", "2", "b"), 4),
        ("[[a]]\nb = 1\n[c]\nb = 3\n [[a]]\nb = 2", ("a", "2"), 5),
        ("[[a]]\nb = 1\n[c]\nb = 3", ("c", "b"), 4),
        ("[ a . 'b' ]\nc = 1", ("a", "b", "c"), 2),
        ("a = { b = 1 }", ("a", "b"), 1),
        ('x = """\na = 1\n"""\na = 2', ("a",), 4),
        ("x = [\n 1,\n 2 ]\ny = 1", ("y",), 4),
        ("[a]\nb = 1", ("a", "missing"), 1),
        ("a = 1", ("missing",), None),
    ],
)
def test_lines_in_every_way_to_write_a_key(text: str, key: tuple[str, ...], line: int | None) -> None:
    assert parse(text).line_of(key) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\nb == 2", 2),
        ("a = 1\n[b", 2),
        ("a = 1\na = 2", 2),
        ("a = [1,\n2", 2),
        ("a = 1" + "0" * 5000, None),
    ],
)
def test_a_slip_of_the_pen_is_one_line_that_names_its_line(text: str, line: int | None) -> None:
    with pytest.raises(UnusableFile, match="is not TOML") as caught:
        parse(text, Path("plan.toml"))
    assert caught.value.line == line
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value", [r"C:\Users\x", r"C:\data", r"C:\uploads", r"\\server\share", "data\\", r"x\UFFFFFFFF"]
)
def test_a_path_of_windows_in_double_quotes_is_told_how_to_be_written(value: str) -> None:
    with pytest.raises(UnusableFile) as caught:
        parse(f'a = 1\nb = "{value}"\n', Path("site.toml"))
    assert str(caught.value).startswith(
        "site.toml:2: is not TOML: a backslash in double quotes begins an escape; write"
    )
    assert "forward slashes" in str(caught.value) and "single quotes" in str(caught.value)
    assert parse(f"b = '{value}'\n").at(("b",)) == value


def test_a_file_nested_beyond_reason_is_an_error_and_no_crash() -> None:
    with pytest.raises(UnusableFile, match="nested"):
        parse("a = " + "[" * 100_000)


def test_a_file_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    for content, line in ((b"\x89PNG\r\n\x1a\n\0\0", 1), (b'a = 1\nb = "\xff"', 2)):
        path.write_bytes(content)
        with pytest.raises(UnusableFile, match="not UTF-8") as caught:
            read(path)
        assert caught.value.line == line
    path.write_bytes(b"a = 1\0")
    with pytest.raises(UnusableFile, match="is not TOML"):
        read(path)
    path.write_bytes(b"#" * (1 << 20) + b"##")
    with pytest.raises(UnusableFile, match="1 MiB"):
        read(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match="no such file"):
        read(tmp_path / "absent.toml")
    with pytest.raises(UnusableFile, match="is a folder"):
        read(tmp_path)


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_bytes(b"\xef\xbb\xbf[a]\r\nb = 1\r\n")
    assert read(path).at(("a", "b")) == 1
    assert read(path).line_of(("a", "b")) == 2


def test_a_replaced_value_leaves_everything_else_as_it_was() -> None:
    text = with_value(TEXT, ("federation", "seed"), "11")
    before, after = TEXT.split("\n"), text.split("\n")
    number = line_of("seed = 7") - 1
    assert after[number].startswith("seed = 11") and after[number].endswith("# public")
    assert before[:number] + before[number + 1 :] == after[:number] + after[number + 1 :]
    assert parse(text).at(("federation", "seed")) == 11


@pytest.mark.parametrize("text", ["[a]\nc = 1", "a = { b = 1 }", "[a]\nb = [\n1 ]"])
def test_a_value_without_a_line_of_its_own_is_not_replaced(text: str) -> None:
    with pytest.raises(InputError):
        with_value(text, ("a", "b"), "2")
