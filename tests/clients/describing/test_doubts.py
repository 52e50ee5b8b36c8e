"""What is right by the plan and wrong in the data is told, and ordinary data are left alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from clients.describing.described import describe
from clients.describing.doubts import (
    doubts_of_size,
    doubts_of_sizes,
    hints_of_length,
    hints_of_metrics,
    percent,
)
from federation.plan.numerals import as_text
from federation.plan.tasks import Classification
from tests.clients.data.tables import table_of
from tests.plans import plan_of

RANGES = {
    "chol": (100, 600),
    "platelets": (500, 20000),
    "pain": (0, 9),
    "change": (-10, 10),
    "score": (0, 1000),
}


def doubts(name: str, cells: Sequence[object], labels: Sequence[object] | None = None) -> list[str]:
    """Doubts about one column of numbers; labels are of two classes unless given."""
    low, high = RANGES[name]
    task = plan_of(**{"task.features": {name: {"low": low, "high": high}}}).task
    assert isinstance(task, Classification)
    given = [place % 2 for place in range(len(cells))] if labels is None else labels
    rows = [[str(cell), str(label)] for cell, label in zip(cells, given, strict=True)]
    return list(map(str, describe(table_of((name, "num"), rows), task).doubts))


def ordinary(name: str, count: int = 100) -> list[float]:
    """Measurements well inside a column's range, no two alike."""
    low, high = RANGES[name]
    return [low + (high - low) * (0.1 + 0.8 * (37 * place % 101) / 101) for place in range(count)]


@pytest.mark.parametrize("name", RANGES)
def test_ordinary_data_are_left_alone(name: str) -> None:
    assert doubts(name, ordinary(name)) == []
    low, high = RANGES[name]
    assert doubts(name, [*ordinary(name, 90), *(low - 2.5 - place for place in range(5)), high + 12.5]) == []


def test_a_cholesterol_of_zero_in_all_rows() -> None:
    """The Swiss file of the UCI heart data."""
    found = doubts("chol", [0] * 123)
    assert any("every record holds the same number" in line for line in found)
    assert any(
        "100% of the records are below the range 100 to 600 and are clipped: is the unit the plan's?" in line
        for line in found
    )


@pytest.mark.parametrize(("clipped", "is_told"), [(20, False), (21, True)])
@pytest.mark.parametrize(("value", "side"), [(50.5, "below"), (700.5, "above")])
def test_more_than_a_fifth_clipped(clipped: int, is_told: bool, value: float, side: str) -> None:
    found = doubts(
        "chol", [*ordinary("chol", 100 - clipped), *(value + place / 10 for place in range(clipped))]
    )
    assert (
        found == [f'column "chol": 21.0% of the records are {side} the range 100 to 600 and are clipped']
    ) is is_told
    assert is_told or found == []


def test_in_another_unit_no_number_is_taken_for_a_code() -> None:
    """888 is then no mark for missing: it belongs to one person."""
    found = doubts("chol", [*range(860, 900), 1776])
    clipped = "100% of the records are above the range 100 to 600 and are clipped: is the unit the plan's?"
    assert found == [f'column "chol": {clipped}']
    assert any(
        "999 stands in 30 records" in line for line in doubts("chol", [*ordinary("chol", 20), *[999] * 30])
    )


def test_a_fifth_clipped_at_both_ends_together() -> None:
    ends = [*(50 + place / 10 for place in range(15)), *(700 + place / 10 for place in range(15))]
    assert doubts("chol", [*ordinary("chol", 70), *ends]) == [
        'column "chol": 30.0% of the records are clipped to the range 100 to 600'
    ]


@pytest.mark.parametrize(
    ("name", "code", "count"),
    [
        ("chol", -9, 1), ("chol", -1, 1), ("chol", -99, 2), ("chol", 9, 2), ("chol", 0, 2), ("chol", 9999, 1),
        ("chol", 999, 2), ("chol", "999.9", 2), ("chol", 99, 2), ("platelets", 0, 3), ("platelets", -999, 1),
        ("pain", 99, 1), ("pain", 9, 40), ("change", -9, 10), ("score", 999, 10), ("score", 99, 10),
    ],
)  # fmt: skip
def test_codes_for_missing_outside_at_the_border_and_within_the_range(
    name: str, code: object, count: int
) -> None:
    (line,) = doubts(name, [*ordinary(name, 100 - count), *[code] * count])
    assert f"{code} stands in {count} record{'s' * (count > 1)}, " in line
    assert line.endswith('does it mean "missing"?')


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("pain", [place % 10 for place in range(200)]),  # 9 is as frequent as every other answer
        ("change", [place % 21 - 10 for place in range(210)]),  # so is -9
        ("score", list(range(1000))),
        ("chol", [*range(101, 200), 99]),  # one value just outside
    ],
)
def test_a_code_that_is_an_ordinary_value_is_left_alone(name: str, values: list[int]) -> None:
    assert doubts(name, values) == []


def test_any_number_that_piles_up_outside_the_range_is_told_and_not_shown() -> None:
    (line,) = doubts("chol", [*ordinary("chol", 94), *[1234.5] * 6])
    assert "one and the same number outside the range 100 to 600 stands in 6 records" in line
    assert "1234" not in line


@pytest.mark.parametrize(
    ("cells", "is_told"),
    [
        (["1.250", "12.500", "3.000", "950"], True),
        (["1.250", "12.500", "3.001"], True),
        (["1.25", "12.500", "3.001"], False),  # other decimals
        (["1.250"], False),
        (["712.250", "912.500", "555.125"], False),  # a thousand times that is out of the range
        (["1250", "12500", "3000"], False),
    ],
)
def test_a_point_that_parts_thousands(cells: list[str], is_told: bool) -> None:
    found = [line for line in doubts("platelets", cells) if "part thousands" in line]
    assert (len(found) == 1) is is_told
    assert not [line for line in doubts("pain", cells) if "part thousands" in line]


def test_labels_of_one_class_and_classes_without_a_record() -> None:
    assert doubts("chol", ordinary("chol", 4), [1, 1, 1, 1]) == ['column "num": all records are of one class']
    assert doubts("chol", ordinary("chol", 4), [0, 1, 1, 1]) == []


def test_a_value_that_every_record_holds() -> None:
    task = plan_of(**{"task.features": {"cp": {"values": ["1", "2"]}}}).task
    assert isinstance(task, Classification)
    for cells, lines in ((["1", "1"], 1), (["1", "2"], 0), (["1", "?"], 0), (["1"], 0)):
        rows = [[cell, str(place % 2)] for place, cell in enumerate(cells)]
        found = describe(table_of(("cp", "num"), rows), task).doubts
        assert len([doubt for doubt in found if "the same value" in doubt.text]) == lines


@pytest.mark.parametrize(
    ("declared", "is_told"),
    [
        (6000, True),
        (60, False),
        (48, False),
        (72, False),
        (73, True),
        (38, True),
        (39, False),
        (None, False),
        (1, True),
    ],
)
def test_a_declared_size_that_is_off_by_more_than_a_fifth(declared: int | None, is_told: bool) -> None:
    """Whether it counts the records that are held out is the site's choice."""
    assert bool(list(doubts_of_size(declared, fewest=48, most=60, unit="record"))) is is_told


def test_sizes_far_apart() -> None:
    assert not list(doubts_of_sizes([100, 300, 499]))
    (line,) = doubts_of_sizes([1509, 31424])
    assert "1509 to 31424" in line
    assert not list(doubts_of_sizes([]))


def test_a_norm_that_cuts_off_most_of_a_gradient() -> None:
    wide = plan_of(clipping_norm=1.0)
    (line,) = hints_of_length(wide, 23**0.5)
    assert "4.8 long" in line and "3.5 long" in line and "keeps 28.9%" in line
    assert not list(hints_of_length(wide, 1.0))
    assert not list(hints_of_length(plan_of(clipping_norm=3.0), 23**0.5))
    assert not list(hints_of_length(plan_of(noise="none"), 23**0.5))
    assert not list(hints_of_length(plan_of(unit="client", clipping_norm=0.1), 23**0.5))


def test_numbers_and_shares_are_written_as_people_do() -> None:
    assert [as_text(value) for value in (100.0, -9.0, 99999.0, 0.05, 1e-7, 999.9)] == [
        "100", "-9", "99999", "0.05", "1e-07", "999.9",
    ]  # fmt: skip
    assert [percent(share) for share in (0, 1, 0.276, 0.0001, 0.99999)] == [
        "0%",
        "100%",
        "27.6%",
        "0.1%",
        "99.9%",
    ]


RARE = [("0", 890), ("1", 110)]


@pytest.mark.parametrize("metrics", [["accuracy"], ["accuracy", "loss", "specificity"]])
def test_metrics_that_cannot_show_a_rare_class_are_a_hint(metrics: list[str]) -> None:
    (line,) = hints_of_metrics(plan_of({"evaluation.metrics": metrics}), RARE)
    assert 'class "1"' in line and "11.0%" in line and "0.890" in line
    assert not list(hints_of_metrics(plan_of({"evaluation.metrics": [*metrics, "auc"]}), RARE))
    assert not list(hints_of_metrics(plan_of({"evaluation.metrics": metrics}), [("0", 70), ("1", 30)]))
    assert not list(hints_of_metrics(plan_of({"evaluation.metrics": metrics}), [("0", 890), ("1", 0)]))


def test_answers_of_a_rare_class_without_threshold_or_weights_are_a_hint() -> None:
    asked: dict[str, object] = {"evaluation.metrics": ["auc", "recall"]}
    for moved in ({}, {"evaluation.threshold": 0.5}):
        (line,) = hints_of_metrics(plan_of(asked | moved), RARE)
        assert "recall" in line and "evaluation.threshold" in line
    for moved in ({"evaluation.threshold": 0.1}, {"task.class_weights": {"1": 5.0}}):
        assert not list(hints_of_metrics(plan_of(asked | moved), RARE))
