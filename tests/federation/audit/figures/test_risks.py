"""Risk figures of a report: recounted from the plan, one by one; what is less than is true never passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from federation.audit.examine import audit
from federation.audit.figures.risks import check_risks
from federation.audit.findings import Findings
from federation.audit.page import audit_lines, render
from federation.plan.plan import load
from tests.federation.audit.audited import edited_report, ids

Part = Callable[[dict[str, Any]], dict[str, Any]]
PLACES: dict[str, Part] = {
    "the training": lambda report: report["privacy"],
    "both": lambda report: report["privacy"]["together"],
    "a patient's training": lambda report: report["privacy"]["units"][2],
    "a record's both": lambda report: report["privacy"]["units"][0]["together"],
}
FIGURES: dict[str, tuple[str, ...]] = {
    "advantage": ("advantage",),
    "hits": ("tpr_at_fpr", "0.01"),
    "a belief": ("posterior", "from", "0.01", "mean"),
    "a guess": ("reconstruction", "0.000001"),
}


def scaled(place: str, figure: str, factor: float) -> Callable[[dict[str, Any]], None]:
    def change(report: dict[str, Any]) -> None:
        at = PLACES[place](report)["risk"]
        *path, last = FIGURES[figure]
        for name in path:
            at = at[name]
        at[last] *= factor

    return change


def test_an_honest_report_passes_and_both_say_about_the_same(evaluated: Path) -> None:
    found = audit(evaluated)
    assert ids(found) == set()
    told = found.to_json()["risk"]
    least, claimed, most = (told[name]["advantage"] for name in ("at_least", "claimed", "recomputed"))
    assert least <= claimed <= most * 1.001
    assert any(line.startswith("risk") and "advantage: claimed" in line for line in audit_lines(found))
    assert "an attacker who accuses 1 wrongly finds at most" in render(found)


def changed(run: Path, change: Callable[[dict[str, Any]], object]) -> set[str]:
    """What is found of the risks of a report after a change."""
    report, plan, found = (
        json.loads((run / "report.json").read_text("utf-8")),
        load(run / "plan.toml"),
        Findings(),
    )
    change(report)
    check_risks(report, plan, plan.charges, found)
    return {finding.id for finding in found.sorted()}


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("place", PLACES)
def test_less_than_can_be_done_is_found(evaluated: Path, place: str, figure: str) -> None:
    """DP-65: and so is more, beyond what two accountants differ by."""
    assert changed(evaluated, scaled(place, figure, 0.98)) == {"risk-understated"}
    assert changed(evaluated, scaled(place, figure, 1.25)) == {"report-mismatch"}


def test_an_audit_fails_by_it(paid: Path) -> None:
    found = edited_report(paid, scaled("both", "hits", 0.98))
    assert found.verdict == "fail"
    assert ids(found, "critical") == {"risk-understated"}


@pytest.mark.parametrize(
    "change",
    [
        lambda report: report["privacy"].pop("risk"),
        lambda report: report["privacy"].update(risk=None),
        lambda report: report["privacy"].update(risk={"advantage": 0.5}),
        lambda report: report["privacy"]["risk"].update(advantage="0.5"),
        lambda report: report["privacy"]["risk"]["posterior"].update(delta=1e-3),
        lambda report: report["privacy"]["together"].pop("risk"),
        lambda report: report["privacy"]["units"][0].update(risk=None),
        lambda report: report["privacy"]["units"][-1].update(risk=report["privacy"]["risk"]),
    ],
)
def test_none_can_be_left_out_or_be_of_another_form(evaluated: Path, change: Callable[[Any], object]) -> None:
    assert changed(evaluated, change) == {"report-mismatch"}


def test_an_earlier_report_tells_none_and_is_no_contradiction(paid: Path) -> None:
    def without(report: dict[str, Any]) -> None:
        for part in (report["privacy"], *report["privacy"]["units"]):
            for one in (part, part["together"]):
                one.pop("risk")

    found = edited_report(paid, without)
    assert ids(found, "critical") == set()
    assert any("tells no risk" in what for what in found.not_checked)
    assert any("claimed n/a" in line for line in audit_lines(found))
