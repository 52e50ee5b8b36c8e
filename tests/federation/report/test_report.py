"""`Report` reads what it writes, and whatever else it is given is refused by one error."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.report.receipt import Receipt
from federation.report.report import PrivacyClaim, Report
from privacy.ledger.heads import Head
from tests.federation.report.pages import a_report

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def places(content: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield (*place, key)
        if isinstance(value, dict | list):
            yield from places(value, (*place, key))


PLACES = list(places(a_report()))


def edited(place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A report with another value in one place."""
    report = copy.deepcopy(a_report())
    inner: Any = report
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    return report


@given(JSON)
def test_plain_data_is_a_report_or_a_value_error(content: object) -> None:
    with pytest.raises(ValueError):
        Report.from_json(content)


@given(st.sampled_from(PLACES), JSON)
def test_any_value_anywhere_is_read_or_refused(place: tuple[Any, ...], value: object) -> None:
    try:
        report = Report.from_json(edited(place, value))
    except ValueError as error:
        assert "\n" not in str(error)
        return
    written = report.to_json()
    json.dumps(written, allow_nan=False)
    assert Report.from_json(written) == report


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        (("schema",), "federation.report/2", "schema"),
        (("simulated",), 1, "simulated"),
        (("seed",), True, "seed"),
        (("privacy", "unit"), "person", "privacy.unit"),
        (("privacy", "epsilon"), "2.99", "privacy.epsilon"),
        (("sites",), {}, "sites"),
        (("sites", 1, "steps"), 1.5, "sites.1.steps"),
        (("evaluation", "pooled", "auc"), [], "evaluation.pooled.auc"),
    ],
)
def test_the_error_names_the_field_and_not_its_value(place: tuple[Any, ...], value: Any, named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named}: ") as caught:
        Report.from_json(edited(place, value))
    assert "person" not in str(caught.value)
    assert "2.99" not in str(caught.value)


def test_a_missing_field_is_named() -> None:
    report = a_report()
    del report["privacy"]["delta"]
    with pytest.raises(ValueError, match=r"privacy\.delta: field required"):
        Report.from_json(report)


def test_fields_of_a_later_version_are_passed_over() -> None:
    later = edited(("privacy", "harm"), {"advantage": 0.1}) | {"together": 1}
    assert Report.from_json(later) == Report.from_json(a_report())


def test_a_report_cannot_be_changed() -> None:
    report = Report.from_json(a_report())
    with pytest.raises(ValueError, match="frozen"):
        report.privacy.epsilon = 0.1


def test_what_was_not_given_is_absent_and_what_is_infinite_is_null() -> None:
    claim = {**a_report()["privacy"], "epsilon": math.inf}
    written = PrivacyClaim.from_json(claim).to_json()
    assert written == {**claim, "epsilon": None}
    assert "clipping_norm" not in written


def test_a_receipt_reads_what_it_writes() -> None:
    head = Head("ash", bytes(32), 3, bytes([7]) * 32, bytes(64)).to_json()
    receipt = Receipt(
        round=1, attempts=2, cohort=("ash", "birch"), survivors=("ash",), seconds=0.5, bytes_up={"ash": 1},
        bytes_down={"ash": 2}, params_before="00", params_after="11", heads={"ash": head}, metrics={"auc": None},
    )  # fmt: skip
    written = json.loads(json.dumps(receipt.to_json()))
    assert written["heads"] == {"ash": head}
    assert Receipt.from_json({**written, "run": "ab", "suite": 1}) == receipt
    for name, wrong in (("seconds", "1"), ("cohort", "ash"), ("heads", {"ash": "none"})):
        with pytest.raises(ValueError, match=f"^{name}"):
            Receipt.from_json({**written, name: wrong})
