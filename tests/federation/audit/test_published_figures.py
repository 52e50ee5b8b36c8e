"""The line of a published evaluation: figures that its noise allows, told once, in place, and in the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from federation.audit.examine import audit
from federation.report.files import read_report, write_page
from tests.federation.audit.audited import edited_report, ids, ids_at, line_of, receipts


@pytest.mark.parametrize(
    "figures",
    [
        {"accuracy": 1.2},
        {"accuracy": None},
        {"accuracy": True},
        {"loss": -0.1},
        {"loss": 99},
        {"records": 0},
        {"records": -5.0},
        {"auc": 0.9},
        {"standard_error": 1e-6},
        {"records": 9000.0},
    ],
)
def test_figures_that_cannot_be_are_found_though_the_report_says_the_same(
    paid: Path, figures: dict[str, Any]
) -> None:
    """A server that edits both of its own files still has to live with the noise that everybody agreed on."""
    told = {**line_of(paid)["evaluation"], "accuracy": 0.75, **figures}
    if line_of(paid)["evaluation"]["records"] is None:
        told = {"records": 20.0, "accuracy": 0.75, "loss": 0.5, "standard_error": 0.1, **figures}
    with receipts(paid) as lines:
        lines[2]["evaluation"] = told
    found = edited_report(paid, lambda report: report["evaluation"].update(published=told))
    assert "evaluation-figures" in ids(found, "critical")


def test_figures_that_the_noise_hides_are_none_at_all(paid: Path) -> None:
    """Which they are follows from the sum in the transcript: to hide other figures is found."""
    hidden = dict.fromkeys(("records", "accuracy", "loss", "standard_error"))
    are_hidden = line_of(paid)["evaluation"] == hidden
    with receipts(paid) as lines:
        lines[2]["evaluation"] = hidden
    edited_report(paid, lambda report: report["evaluation"].update(published=hidden))
    write_page(paid, read_report(paid))
    assert ids(audit(paid)) == (set() if are_hidden else {"evaluation-figures"})


@pytest.mark.parametrize(
    "change",
    [
        lambda report: report["evaluation"].pop("published"),
        lambda report: report["evaluation"]["published"].update(loss=3.0),
        lambda report: report["evaluation"].update(published=[]),
        lambda report: report.update(evaluation="good"),
    ],
)
def test_the_report_publishes_what_the_receipt_says(paid: Path, change: Callable[[Any], object]) -> None:
    assert "report-mismatch" in ids(edited_report(paid, change), "critical")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"survivors": ["ash", "birch"]}, "round-survivors"),
        ({"survivors": ["ash"]}, "receipt-cohort"),
        ({"cohort": ["ash", "birch"], "survivors": ["ash", "birch"]}, "receipt-cohort"),
        ({"cohort": ["ash", "birch", "cedar", "zoe"]}, "receipt-cohort"),
        ({"survivors": ["birch", "ash"]}, "receipt-invalid"),
        ({"round": 3}, "receipt-invalid"),
    ],
)
def test_no_field_of_the_line_can_be_changed_unnoticed(
    paid: Path, change: dict[str, Any], expected: str
) -> None:
    with receipts(paid) as lines:
        lines[2].update(change)
    assert expected in ids(audit(paid), "critical")


def test_a_second_story_of_the_evaluation_is_found(paid: Path) -> None:
    """Of two draws somebody would keep the better one."""
    with receipts(paid) as lines:
        lines.insert(3, {**lines[2], "evaluation": {**lines[2]["evaluation"], "loss": 0.25}})
    assert "receipt-contradiction" in ids(audit(paid), "critical")


def test_an_evaluation_stands_between_the_last_round_and_the_end(paid: Path) -> None:
    with receipts(paid) as lines:
        lines[1], lines[2] = lines[2], lines[1]
    assert "receipt-order" in ids(audit(paid), "critical")
    with receipts(paid) as lines:
        lines[1], lines[2], lines[3] = lines[2], lines[3], lines[1]
    assert "receipt-order" in ids(audit(paid), "critical")


def test_a_forged_head_in_the_line_is_found(paid: Path) -> None:
    with receipts(paid) as lines:
        lines[2]["heads"]["ash"]["seq"] += 1
    assert "head-forged" in ids_at(audit(paid), "ash")
