"""The published evaluation is audited like a round of training: promised, charged, opened, told and closed once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from clients.policy import Policy
from federation.audit.examine import audit
from federation.ledger.export import load_entries
from privacy.accounting.calibration import noise_multiplier
from privacy.accounting.filters import Budget
from privacy.accounting.units import Limit
from tests.federation.audit.audited import (
    EVALUATED,
    SITES,
    Steps,
    changed,
    edited_report,
    finished,
    ids,
    ids_at,
    journal,
    line_of,
    receipts,
    rewritten,
    steps_of,
    stored,
)


def name_of(run: Path) -> str:
    return f"{line_of(run)['run']}/evaluation"


def without(steps: Steps, name: str, *kinds: str) -> Steps:
    return [(kind, body) for kind, body in steps if body.get("run") != name or kind not in kinds]


def of_evaluation(steps: Steps, name: str, kind: str, change: Callable[[dict[str, Any]], Any]) -> Steps:
    at = next(i for i, (known, body) in enumerate(steps) if known == kind and body.get("run") == name)
    return [*steps[:at], *changed(steps[at:], kind, change)]


def charged(**event: float) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(body: dict[str, Any]) -> dict[str, Any]:
        return {"charge": {**body["charge"], "event": {**body["charge"]["event"], **event}}}

    return change


def test_an_honest_evaluation_passes_and_is_told_beside_the_training(evaluated: Path) -> None:
    found = audit(evaluated)
    assert found.findings == ()
    answer = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert answer["evaluation"]["claimed"] == 1.0
    assert 0.99 < answer["evaluation"]["at_least"] <= answer["evaluation"]["recomputed"] <= 1.001
    steps = {"planned": 1, "charged": 1, "executed": 1}
    assert all(site["evaluation"]["steps"] == steps for site in answer["sites"])
    assert all(site["steps"] == {"planned": 2, "charged": 2, "executed": 2} for site in answer["sites"])


def test_the_training_keeps_its_own_epsilon_and_a_unit_pays_both(evaluated: Path) -> None:
    answer = audit(evaluated).to_json()
    assert 2.98 < answer["epsilon"]["recomputed"] <= 3.001
    costs = answer["units"]["record"]
    assert costs["training"] == answer["epsilon"]["recomputed"]
    assert (
        max(costs["training"], costs["evaluation"]) < costs["total"] < costs["training"] + costs["evaluation"]
    )


@pytest.mark.parametrize("noise", ["central", "site", "distributed"])
def test_an_evaluation_without_masks_passes_wherever_the_noise_is(tmp_path: Path, noise: str) -> None:
    text = EVALUATED.replace('noise = "distributed"', f'noise = "{noise}"')
    found = audit(finished(tmp_path, "vectorized", text))
    assert found.findings == ()
    assert found.evaluation is not None


def test_the_only_line_of_an_evaluation_cannot_be_left_out(paid: Path) -> None:
    with receipts(paid) as lines:
        del lines[2]
    found = edited_report(paid, lambda report: report["evaluation"].pop("published"))
    assert "evaluation-missing" in ids(found, "critical")
    assert all("round-without-receipt" in ids_at(found, site) for site in SITES)


def test_an_evaluation_before_the_end_of_a_run_may_still_be_missing(paid: Path) -> None:
    with receipts(paid) as lines:
        del lines[2:]
    for name in ("params.safetensors", "report.json"):
        (paid / name).unlink()
    for site in SITES:
        entries = load_entries(journal(paid, site))
        end = next(entry.seq for entry in entries if entry.body.get("run") == name_of_ledger(entries))
        stored(journal(paid, site), entries[: end + 1])
    found = audit(paid)
    assert "evaluation-missing" not in ids(found)


def name_of_ledger(entries: Any) -> str:
    return next(str(e.body["run"]) for e in entries if "evaluation" in str(e.body.get("run", "")))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (charged(noise_multiplier=2.0), "charge-mismatch"),
        (charged(count=2), "charge-mismatch"),
        (charged(sample_rate=0.5), "charge-mismatch"),
        (lambda body: {"charge": {**body["charge"], "summed": False}}, "charge-mismatch"),
        (lambda body: {"charge": {**body["charge"], "protects": "patient"}}, "charge-mismatch"),
        (lambda body: {"plan": "sha256:" + "00" * 32}, "run-of-another-plan"),
    ],
)
def test_another_charge_than_the_plans_is_found(
    paid: Path, change: Callable[[dict[str, Any]], Any], expected: str
) -> None:
    steps = of_evaluation(steps_of(paid, "ash"), name_of(paid), "reserve", change)
    rewritten(paid, "ash", steps)
    assert expected in ids_at(audit(paid), "ash")


def test_half_the_noise_of_an_evaluation_is_named(paid: Path) -> None:
    steps = of_evaluation(steps_of(paid, "ash"), name_of(paid), "reserve", charged(noise_multiplier=1.8))
    rewritten(paid, "ash", steps)
    assert "noise-too-small" in ids(audit(paid), "critical")


def test_more_rounds_of_an_evaluation_than_one_are_found(paid: Path) -> None:
    def twice(body: dict[str, Any]) -> dict[str, Any]:
        return {**charged(count=2)(body), "rounds": 2}

    rewritten(paid, "ash", of_evaluation(steps_of(paid, "ash"), name_of(paid), "reserve", twice))
    assert {"rounds-mismatch", "charge-mismatch"} <= ids_at(audit(paid), "ash")


def test_an_evaluation_that_a_site_never_reserved_is_found(paid: Path) -> None:
    kinds = ("reserve", "begin", "release", "mask", "reveal", "close")
    rewritten(paid, "ash", without(steps_of(paid, "ash"), name_of(paid), *kinds))
    assert "run-unreserved" in ids_at(audit(paid), "ash")


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (("begin", "release", "mask", "reveal"), "round-uncharged"),
        (("release", "mask", "reveal"), "round-uncharged"),
        (("reveal",), "round-unopened"),
        (("close",), "run-open"),
    ],
)
def test_a_survivor_has_a_charge_a_release_a_reveal_and_an_end(
    paid: Path, kinds: tuple[str, ...], expected: str
) -> None:
    rewritten(paid, "ash", without(steps_of(paid, "ash"), name_of(paid), *kinds))
    found = ids_at(audit(paid), "ash")
    assert expected in found
    assert found & {"ledger-truncated", "ledger-rewritten"}


@pytest.mark.parametrize(
    ("kind", "change", "expected"),
    [
        ("reveal", {"survivors": "00" * 32}, "round-survivors"),
        ("begin", {"question": "00" * 32}, "round-question"),
        ("close", {"params": "00" * 32}, "closing-mismatch"),
    ],
)
def test_an_evaluation_of_something_else_is_found(
    paid: Path, kind: str, change: dict[str, Any], expected: str
) -> None:
    steps = of_evaluation(steps_of(paid, "ash"), name_of(paid), kind, lambda _: change)
    rewritten(paid, "ash", steps)
    assert expected in ids_at(audit(paid), "ash")


@pytest.mark.parametrize("kind", ["release", "begin"])
def test_nobody_releases_an_evaluation_twice(paid: Path, kind: str) -> None:
    steps, name = steps_of(paid, "ash"), name_of(paid)
    at = next(i for i, (known, body) in enumerate(steps) if known == kind and body.get("run") == name)
    rewritten(paid, "ash", [*steps[: at + 1], steps[at], *steps[at + 1 :]])
    assert "ledger-history" in ids_at(audit(paid), "ash")


def test_a_second_evaluation_under_another_name_is_found(paid: Path) -> None:
    steps, name = steps_of(paid, "ash"), name_of(paid)
    again = [(kind, {**body, "run": f"{name}/2"}) for kind, body in steps if body.get("run") == name]
    rewritten(paid, "ash", [*steps, *again])
    assert "evaluation-unplanned" in ids_at(audit(paid), "ash")


def test_an_evaluation_that_the_plan_does_not_ask_for_is_found(run: Path, evaluated: Path) -> None:
    with receipts(run) as lines:
        lines.insert(-1, {**line_of(evaluated), **{key: lines[0][key] for key in ("run", "plan")}})
    assert "evaluation-unplanned" in ids(audit(run), "critical")
    steps = steps_of(run, "ash")
    reserve = next(body for kind, body in steps if kind == "reserve")
    second = {**reserve, "run": f"{reserve['run']}/evaluation", "by": dict.fromkeys(reserve["by"], "filter")}
    rewritten(run, "ash", [*steps, ("reserve", second)])
    assert "evaluation-unplanned" in ids_at(audit(run), "ash")


def test_a_plan_that_lies_about_its_evaluation_is_found_though_everybody_signed_it(tmp_path: Path) -> None:
    """DP-60: all calibrate the evaluation with less noise than its epsilon needs."""

    def short(epsilon: float, *claim: Any) -> float:
        honest = noise_multiplier(epsilon, *claim)
        return round(honest / 2**0.5, 3) if epsilon == 1.0 else honest

    generous = (Limit("record", Budget(50.0, 1e-5)),)
    with (
        patch("federation.kinds.figures.noise_multiplier", short),
        patch.object(Policy, "limits", lambda _: generous),
    ):
        found = audit(finished(tmp_path, "vectorized", EVALUATED))
    assert ids(found, "critical") == {"noise-too-small"}
    assert "evaluation" in found.findings[0].detail
