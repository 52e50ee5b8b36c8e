"""What is said of one column: nothing is guessed of what may tell people apart."""

from __future__ import annotations

import datetime
import math
from hashlib import blake2b
from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.drafting.columns import judged, outwards
from federation.plan.columns.features import Categorical, Hashed, Numeric
from federation.plan.numerals import as_text

MANY = 40
AGES = [str(20 + 2 * (number % 31)) for number in range(MANY)]


@pytest.mark.parametrize(
    ("cells", "low", "high"),
    [
        (AGES, 20, 80),
        ([f"{0.0512 + 0.0007 * number:.4f}" for number in range(MANY)], 0.05, 0.08),
        ([str(-1.5 * number) for number in range(MANY)], -60, 0),
        ([f"{11.3 + number % 20}e5" for number in range(MANY)], 1.1e6, 3.1e6),
        (["1.0", "2.5"] * MANY, 1, 2.5),
    ],
    ids=["whole", "small", "negative", "exponents", "two"],
)
def test_numbers_get_a_plain_range_around_them(cells: list[str], low: float, high: float) -> None:
    feature = judged("x", cells).feature
    assert isinstance(feature, Numeric)
    assert (feature.low, feature.high) == (low, high)


@pytest.mark.parametrize(
    ("cells", "low", "high", "scale"),
    [
        (["0"] * 90 + [str(3000 + 40 * number) for number in range(9)] + ["99999"], 0, 100000, "symlog"),
        ([f"{-0.5 + number / 40:.3f}" for number in range(39)] + ["74.5"], -1, 100, "symlog"),
        ([f"{-0.5 + number / 40:.3f}" for number in range(39)] + ["-74.5"], -100, 1, "symlog"),
        ([f"{0.5 + number / 40:.3f}" for number in range(39)] + ["740.5"], 0.1, 1000, "log"),
        ([f"{(number - 20) / 9:.3f}" for number in range(MANY)], -2.5, 2.5, None),
    ],
    ids=["mostly nothing", "both signs", "to below", "above nothing", "as many on both sides"],
)
def test_a_long_tail_gets_the_scale_of_its_logarithm(
    cells: list[str], low: float, high: float, scale: str | None
) -> None:
    feature = judged("x", cells).feature
    assert isinstance(feature, Numeric)
    assert (feature.low, feature.high, feature.scale) == (low, high, scale)


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["b", "a", "10", "9"], ("9", "10", "a", "b")),
        (["1", "2", "3"], ("1", "2", "3")),
        (["1.0", "0.0"], ("0", "1")),
        (["1.0", "2"], ("1", "2")),
        (["01", "02", "10"], ("01", "02", "10")),
        (["yes", "no", "unknown"], ("no", "yes")),
    ],
    ids=["numbers first", "codes", "of pandas", "both spellings", "padded", "a mark"],
)
def test_few_texts_and_few_whole_numbers_are_values(cells: list[str], values: tuple[str, ...]) -> None:
    feature = judged("x", cells * MANY).feature
    assert isinstance(feature, Categorical)
    assert feature.values == values


DAYS = [datetime.date(2019, 3, 2) + datetime.timedelta(9 * number) for number in range(MANY)]
MONEY = [str(round(10 ** (number % 60 / 10), 2)) for number in range(300)]


@pytest.mark.parametrize(
    ("cells", "shape"),
    [
        (["?", "", *AGES], {"low": 20, "high": 80, "missing": "indicator"}),
        (["a", "b", "NA"] * MANY, {"values": ("a", "b"), "missing": "category"}),
        (["7", ""] * MANY, {"values": ("7",), "missing": "category"}),
        ([f"code {number % 30}" for number in range(90)], {"values": 30, "other": True}),
        ([f"E{number % 200}.1" for number in range(900)], {"hash": 8}),
        ([f"V{number % 90}" if number % 9 else "?" for number in range(900)] + ["250", "7"],
         {"hash": 8, "missing": "category"}),
        ([f"{day} 09:00:00" for day in DAYS], {"date": "%Y-%m-%d", "since": "2019-01-01", "until": "2020-12-31"}),
        ([f"{day:%d.%m.%Y}" for day in DAYS] + [""], {"date": "%d.%m.%Y", "missing": "indicator"}),
        ([f"{day:%m/%d/%Y}" for day in DAYS], {"date": "%m/%d/%Y"}),
        (MONEY, {"low": 1, "high": 1000000, "scale": "log"}),
        (["0", *MONEY], {"low": 0, "high": 1000000, "scale": "symlog"}),
    ],
    ids=["numbers", "values", "one value", "others", "codes", "codes and numbers", "moments", "german", "american",
         "money", "money and nothing"],
)  # fmt: skip
def test_what_cells_are_is_proposed_as_a_rule(cells: list[str], shape: dict[str, object]) -> None:
    feature = judged("x", cells).feature
    assert feature is not None
    said = feature.model_dump(exclude_none=True)
    if isinstance(shape.get("values"), int):
        said["values"] = len(said["values"])
    assert {key: said.get(key) for key in shape} == shape
    assert set(said) - {"name", "take", "since", "until"} <= set(shape)


def test_a_code_of_something_else_is_no_identifier_though_it_is_called_id() -> None:
    feature = judged("admission_type_id", [str(number % 8) for number in range(900)]).feature
    assert isinstance(feature, Categorical)
    assert judged("patient_id", [str(number % 8) for number in range(900)]).feature is None


@pytest.mark.parametrize(
    "name",
    ["id", "ID", "patient_id", "PatientID", "patientId", "patient no", "MRN", "mrn", "row_id", "study.id", "Name",
     "first name", "lastname", "e-mail", "phone", "ZIP", "postal_code", "ssn", "Unnamed: 0", "case_number",
     "nhs_number", "patient_nbr"],
)  # fmt: skip
def test_a_column_that_is_called_as_identifiers_are_is_left_out(name: str) -> None:
    column = judged(name, AGES)
    assert column.feature is None
    assert "identifier" in column.why


@pytest.mark.parametrize(
    "name", ["age", "num", "bmi", "idle", "nrs", "bad", "mean_radius", "video", "naming", "codeine"]
)
def test_a_name_that_only_looks_alike_is_none(name: str) -> None:
    assert judged(name, AGES).feature is not None


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ([f"P{number:04}" for number in range(MANY)], "possible identifier"),
        ([str(5000 + 37 * number) for number in range(MANY)], "possible identifier"),
        ([str(number) for number in range(7)], "possible identifier"),
        ([str(10**16 + number % 30) for number in range(MANY)], "possible identifier"),
        ([f"note {number % 30}" for number in range(MANY)], "free text"),
        (["a long story " * 8, "short"] * MANY, 'free text; to learn from it, write { text = "words"'),
        ([f"{1 + number % 12}/3/2020" for number in range(MANY)], "dates, and nothing says whether they are"),
        (["2020-01-31", "31.1.2020", "in May"] * MANY, "dates in several ways"),
        ([""] * MANY, "is empty"),
        (["7"] * MANY, "the same in every row"),
        (["?", *["7", "7"] * MANY, "about 8"], "1 of 81 cells are no numbers"),
        (["1,5", *AGES], "1 of 41 cells are no numbers"),
        (["-1.7e308", "1.7e308"] * MANY, "more than 15 digits"),
    ],
    ids=["codes", "numbers", "in a row", "digits", "many texts", "long", "dates", "mixed dates", "empty",
         "constant", "words", "comma", "infinite"],
)  # fmt: skip
def test_what_is_not_guessed_is_left_out_and_said_why(cells: list[str], why: str) -> None:
    column = judged("x", cells)
    assert column.feature is None
    assert why in column.why


def test_a_column_of_people_is_suggested_where_it_recurs_and_never_used() -> None:
    assert judged("patient_id", ["7", "8"] * MANY).names_people
    assert not judged("patient_id", [str(number) for number in range(MANY)]).names_people
    assert not judged("row_id", ["7", "8"] * MANY).names_people
    assert judged("subject", [f"S{number // 2}" for number in range(80)]).names_people


def drawn(count: int, low: int, high: int) -> list[int]:
    """Numbers as if by chance, the same each time."""
    found = (blake2b(f"{place} of {count}".encode(), digest_size=8).digest() for place in range(count))
    return [low + int.from_bytes(one, "big") % (high - low) for one in found]


def amounts(count: int) -> list[int]:
    """As skewed as the amounts of the German credit data: half below 2,320, a quarter above 3,970."""
    usual = NormalDist(7.75, 0.77)
    return [round(math.exp(usual.inv_cdf((place + 0.5) / count))) for place in range(count)]


ONCE = drawn(570, 10**5, 10**7)
GIVEN = {
    "in a row": list(range(17, 617)),
    "in a row, by tens": list(range(1000, 7000, 10)),
    "one in five": drawn(600, 0, 3000),
    "one in a hundred": drawn(600, 0, 60_000),
    "as long as each other": drawn(600, 10**6, 10**7),
    "of any length": drawn(600, 1, 10**7),
    "two offices": drawn(300, 100_000, 120_000) + drawn(301, 500_000, 520_000),
    "some twice": ONCE + ONCE[:30],
}
MEASURED = {
    "amounts": amounts(1000),
    "some of them": amounts(200),
    "waits": [round(-2500 * math.log(1 - (place + 0.5) / 500)) for place in range(500)],
    "debts": [-amount for amount in amounts(1000)],
    "both": amounts(300) + [-amount for amount in amounts(301)],
    "rounded": [500 * place for place in sorted(set(drawn(110, 60, 180)))],
}


@pytest.mark.parametrize("numbers", GIVEN.values(), ids=GIVEN)
def test_whole_numbers_that_were_given_out_tell_people_apart(numbers: list[int]) -> None:
    column = judged("x", [str(number) for number in numbers])
    assert column.feature is None and "possible identifier" in column.why


@pytest.mark.parametrize("numbers", MEASURED.values(), ids=MEASURED)
def test_whole_numbers_that_were_measured_do_not(numbers: list[int]) -> None:
    assert isinstance(judged("x", [str(number) for number in numbers]).feature, Numeric)


def test_an_amount_is_one_by_its_name_unless_it_counts_the_rows() -> None:
    even = [str(30_000 + 97 * number + number % 3) for number in range(300)]
    assert isinstance(judged("monthly_income", even).feature, Numeric)
    assert judged("x", even).feature is None
    assert judged("amount", [str(number) for number in range(300)]).feature is None


@settings(max_examples=200)
@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_a_range_goes_outwards_and_not_far(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    if low == high:
        return
    ends = tuple(map(float, outwards(low, high)))
    assert ends[0] <= low and high <= ends[1]
    width = high / 2 - low / 2
    if width > 1e-300 and not math.isinf(ends[1] / 2 - ends[0] / 2):
        assert ends[1] / 2 - ends[0] / 2 <= 1.3 * width
    assert all(float(as_text(end)) == end for end in ends)


@settings(max_examples=200)
@given(st.text(max_size=8), st.lists(st.text(max_size=5), min_size=1, max_size=30))
def test_any_cells_are_judged_and_cells_of_another_order_alike(name: str, cells: list[str]) -> None:
    column = judged(name, cells)
    assert column.why
    assert judged(name, cells[::-1]) == column


@pytest.mark.parametrize(
    ("records", "wide"), [(None, 8), (740, 8), (30_000, 8), (32_000, 16), (101_766, 32), (10**6, 64)], ids=str
)
def test_codes_get_as_many_columns_as_there_are_records_for(records: int | None, wide: int) -> None:
    """By how many records all sites have, and by nothing that is in them."""
    for codes in (200, 700):
        column = judged("x", [f"E{number % codes}.1" for number in range(1500)], records=records)
        assert isinstance(column.feature, Hashed) and column.feature.hash == wide
        assert f"each in one of {wide} columns" in column.why
