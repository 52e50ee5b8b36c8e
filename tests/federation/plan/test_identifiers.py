"""Identifiers are texts: which spellings stand for a value, and that no code is ever taken for another."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import PlanError
from federation.plan.identifiers import are_told_apart, cleaned, folded, spellings
from federation.plan.plan import parse
from tests.plans import TEXT

CODES = [  # each pair: a plan's value and the cell of another code
    ("39733011000001106", "39733011000001104"),  # SNOMED CT: one float
    ("250.0", "250.00"),
    ("250.00", "250.0"),
    ("250", "250.00"),
    ("1234", "01234"),
    ("01234", "1234"),
    ("100", "1E2"),
    ("1E2", "100"),
    ("1", "+1"),
    ("1", "1."),
    ("0", "-0"),
    ("0", "-0.0"),
    ("0", "00"),
    ("7", "\u0667"),
    ("1000", "1_000"),
    ("1000", "1,000"),
    ("1234567890123456", "1234567890123456.0"),
    ("true", "True"),
    ("a", "A"),
    ("²", "2"),
]


@pytest.mark.parametrize(("value", "cell"), CODES)
def test_a_code_is_never_another_that_is_equal_as_a_number(value: str, cell: str) -> None:
    assert cleaned(cell) not in spellings([value])
    both = spellings([value, cell])
    assert both[cleaned(value)] == 0 and both[cleaned(cell)] == 1
    assert are_told_apart([value, cell])


@pytest.mark.parametrize("text", ["0", "1", "-9", "123456789012345"])
def test_a_whole_number_is_known_with_the_zero_that_pandas_adds(text: str) -> None:
    assert spellings(["x", text])[f"{text}.0"] == 1
    assert text not in spellings([f"{text}.0"]), "the plan's own .0 is text"
    assert f"{text}.0" not in spellings([text, "0.5"]), "a list with decimals may hold both"
    assert f"{text}.0" not in spellings([text, "E11.9"])
    assert f"{text}.0" not in spellings([text, "250.0"])


def test_a_plan_may_hold_codes_that_are_one_number_and_none_that_a_cell_cannot_tell_apart() -> None:
    for values in (
        '"250.0", "250.00"',
        '"01", "1"',
        '"1E2", "100"',
        '"39733011000001104", "39733011000001106"',
    ):
        assert parse(TEXT.replace('"1", "2", "3", "4"', values))
    for values in ('"1", "1.0"', '"a", "a\u200b"', '"\u00fc", "u\u0308"', '"a", "\u200b"', '"a", " b"'):
        with pytest.raises(PlanError, match="names a value twice, by nothing"):
            parse(TEXT.replace('"1", "2", "3", "4"', values))


def test_what_looks_the_same_is_the_same() -> None:
    for text in (
        "P1",
        "\ufeffP1",
        "P\u200b1",
        " P1\u00a0",
        "P1\u200d",
        "\u202aP1\u202c",
        "P\u2060\ufe0f1",
        "\tP1\r",
    ):
        assert cleaned(text) == "P1"
    assert cleaned("Mu\u0308ller") == cleaned("M\u00fcller") == cleaned("Mu\u200b\u0308ller")
    assert cleaned("a\u00a0b") == cleaned("a b") != cleaned("ab")
    assert cleaned("\u200b\ufeff ") == ""


@settings(max_examples=200)
@given(st.text(max_size=12))
def test_cleaning_twice_is_cleaning_once_and_leaves_nothing_invisible(text: str) -> None:
    once = cleaned(text)
    assert cleaned(once) == once
    assert not any(unicodedata.category(character) == "Cf" for character in once)
    assert folded(once) == folded(text)


@settings(max_examples=200)
@given(st.lists(st.one_of(st.text(max_size=4), st.integers().map(str), st.floats().map(str)), max_size=6))
def test_every_value_of_a_plan_stands_for_itself(values: list[str]) -> None:
    if are_told_apart(values):
        assert [spellings(values)[cleaned(value)] for value in values] == list(range(len(values)))


@pytest.mark.parametrize(
    "alike",
    [
        ("7", "07", "7.0", " 7", "\uff17", "0007", "\u0667"),
        ("P1", "p1", "P01", "P 1", "p\u200b1"),
        ("0", "00"),
    ],
)
def test_spellings_that_may_be_one_person_fold_together(alike: tuple[str, ...]) -> None:
    assert len(set(map(folded, alike))) == 1


@pytest.mark.parametrize(
    ("one", "other"), [("7", "70"), ("1.05", "1.5"), ("10", "1"), ("P1", "P2"), ("7", "7.1")]
)
def test_spellings_of_two_people_do_not(one: str, other: str) -> None:
    assert folded(one) != folded(other)
