"""Plan, roster and report: no number and no word can be changed unnoticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from clients.policy import Policy
from federation.audit.examine import audit
from privacy.accounting.calibration import noise_multiplier
from privacy.accounting.filters import Budget
from privacy.accounting.units import Limit
from tests.federation.audit.audited import (
    SITES,
    changed,
    edited_report,
    finished,
    ids,
    rewritten,
    steps_of,
)

Change = Callable[[dict[str, Any]], object]


def test_another_plan_in_the_folder_is_found(run: Path) -> None:
    """DP-60: a plan that promises less epsilon than the one that was run."""
    text = (run / "plan.toml").read_text("utf-8")
    (run / "plan.toml").write_text(text.replace("epsilon = 3.0", "epsilon = 1.0"), "utf-8")
    found = audit(run)
    assert {"receipt-of-another-run", "params-mismatch", "report-mismatch"} <= ids(found, "critical")


def test_a_plan_that_is_none_is_a_finding(run: Path) -> None:
    (run / "plan.toml").write_text("rounds = [", "utf-8")
    found = audit(run)
    assert "plan-unreadable" in ids(found, "critical")
    assert found.verdict == "fail"


def test_a_plan_that_lies_is_found_though_everybody_signed_it(tmp_path: Path) -> None:
    """DP-60: all parties calibrate with less noise than epsilon needs; nothing contradicts anything else."""

    def short(*claim: Any) -> float:
        return round(noise_multiplier(*claim) / 2**0.5, 3)

    generous = (Limit("record", Budget(50.0, 1e-5)),)
    with (
        patch("federation.kinds.base.noise_multiplier", short),
        patch.object(Policy, "limits", lambda _: generous),
    ):
        run = finished(tmp_path, "vectorized")
        found = audit(run)
        assert ids(found, "critical") == {"noise-too-small"}
    assert {"noise-too-small", "charge-mismatch"} <= ids(audit(run), "critical")


def test_a_changed_roster_is_found(run: Path) -> None:
    text = (run / "roster.toml").read_text("utf-8")
    (run / "roster.toml").write_text(text.replace("size = 30", "size = 31", 1), "utf-8")
    found = audit(run)
    assert {"roster-unsigned", "ledger-roster", "round-question"} <= ids(found, "critical")


def test_a_missing_roster_is_found(run: Path) -> None:
    (run / "roster.toml").unlink()
    assert "roster-unreadable" in ids(audit(run), "critical")


def _privacy_of(report: dict[str, Any]) -> list[tuple[str, ...]]:
    """Every number of the privacy section, and of the first site, by where it is."""
    places: list[tuple[str, ...]] = []

    def walk(value: object, place: tuple[Any, ...]) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                if key != "risk":  # tests/federation/audit/figures/test_risks.py has those
                    walk(item, (*place, key))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                walk(item, (*place, index))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            places.append(place)

    known = {name: value for name, value in report["privacy"].items() if name != "tried"}  # of other runs
    walk(known, ("privacy",))
    walk(report["sites"], ("sites",))
    # No other file holds how many lines a simulated site's files had: an audit says that it did not check that.
    places = [place for place in places if place[-1] != "lines"]
    walk(report["rounds"][1], ("rounds", 1))
    walk(report["history"][2], ("history", 2))
    walk(report["secure_aggregation"], ("secure_aggregation",))
    walk(report["evaluation"]["pooled"], ("evaluation", "pooled"))
    walk(report["timing"]["training_seconds"], ("timing", "training_seconds"))
    walk(report["seed"], ("seed",))
    return places


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_no_number_of_the_report_can_be_changed_unnoticed(run: Path, factor: float) -> None:
    """DP-60: an audit needs the files only, and one edited field fails it."""
    text = (run / "report.json").read_text("utf-8")
    places = _privacy_of(json.loads(text))
    assert len(places) > 30
    for place in places:
        (run / "report.json").write_text(text, "utf-8")

        def edit(report: dict[str, Any], place: tuple[Any, ...] = place) -> None:
            *way, last = place
            inner: Any = report
            for step in way:
                inner = inner[step]
            number = inner[last] * factor
            inner[last] = round(number) + (1 if factor > 1 else -1) if type(inner[last]) is int else number

        found = edited_report(run, edit)
        assert found.verdict == "fail", place
        assert {"report-mismatch", "epsilon-understated"} & ids(found, "critical"), place


@pytest.mark.parametrize(
    ("tried", "agrees"),
    [
        ({}, True),
        ({"runs": 3, "epsilon": 6.0, "exact": False}, True),
        ({"runs": 3, "epsilon": None, "exact": False}, True),
        ({"runs": 3, "without_privacy": 2}, True),
        ({"runs": None, "without_privacy": None, "epsilon": None, "exact": False, "reason": "no home"}, True),
        ({"runs": 3, "epsilon": 2.0, "exact": False}, False),  # less than this run alone
        ({"runs": 3}, False),  # three runs, and exact
        ({"exact": False}, False),
        ({"runs": 0}, False),
        ({"runs": 1.0}, False),
        ({"without_privacy": 1}, False),  # this one was private
        ({"without_privacy": -1}, False),
        ({"epsilon": "3"}, False),
        ({"epsilon": None}, False),
    ],
)
def test_what_was_tried_agrees_with_itself_and_with_the_plan(
    run: Path, tried: dict[str, Any], agrees: bool
) -> None:
    """What a machine remembers of other runs is in no file of this one, and an audit says so."""
    spent = json.loads((run / "report.json").read_text())["privacy"]["epsilon"]
    alone = {"runs": 1, "without_privacy": 0, "epsilon": spent, "exact": True}
    found = edited_report(run, lambda r: r["privacy"].update(tried={**alone, **tried}))
    assert ("report-mismatch" in ids(found, "critical")) == (not agrees)
    assert any("privacy.tried" in line for line in found.not_checked)


@pytest.mark.parametrize("name", ["n", "positives"])
def test_counts_of_the_pooled_figures_are_those_of_the_sites(run: Path, name: str) -> None:
    def edit(report: dict[str, Any]) -> None:
        (site, *_) = report["evaluation"]["sites"].values()
        site[name] += 1

    assert "report-mismatch" in ids(edited_report(run, edit), "critical")
    removed = edited_report(run, lambda r: r["evaluation"]["pooled"].pop(name))
    assert "report-mismatch" in ids(removed, "critical")


def test_an_epsilon_below_what_was_spent_is_named(run: Path) -> None:
    """DP-60: by half a percent."""
    found = edited_report(run, lambda r: r["privacy"].update(epsilon=r["privacy"]["epsilon"] * 0.995))
    assert "epsilon-understated" in ids(found, "critical")


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["purpose"].update(use=["sell what is known of the ill"]),
        lambda r: r["purpose"].update(recipients=["anybody"]),
        lambda r: r.pop("purpose"),
        lambda r: r["privacy"].update(private=False),
        lambda r: r["privacy"].update(unit="client"),
        lambda r: r["privacy"].update(noise="site"),
        lambda r: r["privacy"].update(epsilon=None),
        lambda r: r["privacy"].update(epsilon=True),
        lambda r: r["privacy"].pop("units"),
        lambda r: r.update(privacy=[]),
        lambda r: r.update(sites=r["sites"][:-1]),
        lambda r: r.update(rounds=r["rounds"][:-1]),
        lambda r: r.update(history="none"),
        lambda r: r.pop("history"),
        lambda r: r["history"][0].update(round=True),
        lambda r: r["evaluation"].update(pooled=0),
        lambda r: r.update(plan_digest="sha256:" + "00" * 32),
        lambda r: r.update(engine="magic"),
        lambda r: r.update(engine="vectorized", simulated=1),
        lambda r: r.clear(),
    ],
)
def test_no_word_of_the_report_can_be_changed_unnoticed(run: Path, change: Change) -> None:
    """DP-60."""
    assert "report-mismatch" in ids(edited_report(run, change), "critical")


def test_a_simulated_run_never_passes_for_a_real_one(run: Path) -> None:
    """DP-61: every ledger says for good that it was made for a simulation."""
    found = edited_report(run, lambda report: report.update(simulated=False))
    assert "simulated-claim" in ids(found, "critical")


def test_even_sites_that_write_their_ledgers_anew_cannot_make_it_real(run: Path) -> None:
    """DP-61: the heads that they showed before are of the ledgers that said so."""
    for site in SITES:
        rewritten(run, site, changed(steps_of(run, site), "genesis", lambda _: {"simulated": False}))
    found = edited_report(run, lambda report: report.update(simulated=False))
    assert {"ledger-rewritten"} <= ids(found, "critical")


def test_a_missing_report_is_found_once_there_are_params(run: Path) -> None:
    (run / "report.json").unlink()
    assert "report-unreadable" in ids(audit(run), "critical")
