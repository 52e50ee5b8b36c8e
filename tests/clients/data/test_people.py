"""The people of a table: one person is not two and many are not one, as far as their names can tell."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from clients.data.faults import refuse
from clients.data.people import people
from clients.data.sources.reading import read as read_from
from federation.errors import DataError


def named(folder: Path, *names: str) -> tuple[list[int], list[str]]:
    """The number of each row's patient, and the notes as lines."""
    path = folder / "site.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["mrn", "age"], *([name, "40"] for name in names)])
    table = read_from(path)
    found = people(table, "mrn")
    refuse(table, found.faults)
    assert [found.names.index(name) for name in dict.fromkeys(found.names)] == [
        found.numbers.tolist().index(number) for number in range(len(set(found.names)))
    ]
    return found.numbers.tolist(), list(map(str, found.notes))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", "is empty; every row needs the patient"),
        ("\u200b", "is empty"),
        *(
            (name, "names nobody: a mark for missing")
            for name in ("NA", "n/a", "NaN", "NULL", "none", "Unknown")
        ),
        *(
            (name, "names nobody: a mark for missing")
            for name in ("?", "-", "--", ".", "\u2014", "***", "#REF!", "\\N")
        ),
        *(
            (
                name,
                "is an identifier turned into a number with an exponent; export the identifiers again as text",
            )
            for name in ("1.23457E+11", "1.23457e+11", "1E+16", "1,23457E+11", "9.9E15")
        ),
    ],
)
def test_what_names_nobody_is_refused_by_its_place(tmp_path: Path, name: str, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        named(tmp_path, "SECRET1", name, "SECRET2")
    line = str(caught.value)
    assert 'row 3, column "mrn": ' + expected in line
    assert "SECRET" not in line and (len(name) < 5 or name not in line)


@pytest.mark.parametrize("name", ["12E4", "1e5", "7e12", "NAOMI", "N-A-1", "0x1F", "P?1", "none-1", "E11"])
def test_what_may_be_a_code_is_a_name(tmp_path: Path, name: str) -> None:
    assert named(tmp_path, "P1", name) == ([0, 1], [])


def test_all_rows_without_a_name_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        named(tmp_path, "P1", *["NA"] * 59, "", "")
    assert "row 3" in str(caught.value) and "(59 rows: 3, 4, 5, ...)" in str(caught.value)
    assert 'row 62, column "mrn": is empty (2 rows: 62, 63)' in str(caught.value)


def test_one_person_who_looks_the_same_is_one(tmp_path: Path) -> None:
    numbers, notes = named(tmp_path, "P1", "P\u200b1", "\ufeffP1", " P1\u00a0", "Mu\u0308", "M\u00fc", "P2")
    assert (numbers, notes) == ([0, 0, 0, 0, 1, 1, 2], [])


@pytest.mark.parametrize("other", ["07", "7.0", "\uff17", "0007"])
def test_two_spellings_are_two_people_and_noted(tmp_path: Path, other: str) -> None:
    numbers, notes = named(tmp_path, "7", "8", other, "7")
    assert numbers == [0, 1, 2, 0], "the number of patients is not guessed"
    assert 'column "mrn": 1 patient may be here in several spellings (rows 2 and 4)' in notes[0]


def test_capitals_and_blanks_are_noted_and_distinct_people_are_not(tmp_path: Path) -> None:
    numbers, (note,) = named(tmp_path, "P1", "p1", "A 1", "a1", "B1", "b 1", "C1", "c1", "D")
    assert numbers == list(range(9))
    assert "4 patients may be here in several spellings (rows 2 and 3, 4 and 5, 6 and 7, ...)" in note
    assert named(tmp_path, "P1", "P10", "P2", "Q1", "1P", "P100") == ([0, 1, 2, 3, 4, 5], [])


def test_names_that_a_program_has_changed_are_noted(tmp_path: Path) -> None:
    assert "identifiers end in .0 (2, first at row 2, 3)" in named(tmp_path, "7.0", "8.0")[1][0]
    rounded = ("3973301100000110000", "3973301100000220000")
    assert (
        "all identifiers of more than 15 digits end in zeros (rows 2, 3)" in named(tmp_path, *rounded)[1][0]
    )
    assert named(tmp_path, "39733011000001104", "39733011000001106") == ([0, 1], [])
    assert "has several rows (first at 2)" in named(tmp_path, "999", "7", "999")[1][0]
    assert named(tmp_path, "999", "7") == ([0, 1], [])


def test_one_identifier_that_has_most_rows_may_stand_for_many_people(tmp_path: Path) -> None:
    (line,) = named(tmp_path, *["ward"] * 20, "1", "2", "1")[1]
    assert "one identifier has 20 rows (first at 2), the next has 2" in line and "ward" not in line
    assert "there is no other" in named(tmp_path, *["7"] * 10)[1][0]
    assert named(tmp_path, *["7"] * 19, "8", "8")[1] == named(tmp_path, *["7"] * 9)[1] == []


def test_words_for_unknown_name_nobody(tmp_path: Path) -> None:
    for word in ("unbekannt", "Anonymous", "XXXX", "inconnu"):
        with pytest.raises(DataError, match="names nobody"):
            named(tmp_path, "1", word)
