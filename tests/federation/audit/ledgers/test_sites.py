"""What a site charged and did is held against the plan and the receipts; sites that cheat have their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from federation.audit.examine import audit
from federation.ledger.export import load_entries
from privacy.ledger.state import fold
from privacy.signing import public_identity
from tests.federation.audit.audited import (
    ROUNDS,
    SITES,
    Steps,
    changed,
    ids,
    ids_at,
    journal,
    key_of,
    receipts,
    rewritten,
    steps_of,
    stored,
)


def test_half_the_noise_in_a_ledger_signed_anew_is_found(run: Path) -> None:
    """DP-60: a site that works with the server charges less noise than the plan asks."""

    def less(body: dict[str, Any]) -> dict[str, Any]:
        event = {**body["charge"]["event"]}
        event["noise_multiplier"] /= 2**0.5
        return {"charge": {**body["charge"], "event": event}}

    rewritten(run, "ash", changed(steps_of(run, "ash"), "reserve", less))
    found = audit(run)
    assert "charge-mismatch" in ids_at(found, "ash")
    assert {"noise-too-small", "epsilon-understated"} <= ids(found, "critical")


def test_fewer_steps_charged_than_planned_are_found(run: Path) -> None:
    def fewer(body: dict[str, Any]) -> dict[str, Any]:
        event = {**body["charge"]["event"], "count": ROUNDS - 1}
        return {"charge": {**body["charge"], "event": event}, "rounds": ROUNDS - 1}

    steps = [step for step in steps_of(run, "ash") if step[1].get("round") != ROUNDS]
    rewritten(run, "ash", changed(steps, "reserve", fewer))
    assert {"charge-mismatch", "rounds-mismatch", "round-uncharged"} <= ids_at(audit(run), "ash")


def test_more_steps_than_planned_are_an_impossible_history(run: Path) -> None:
    steps = steps_of(run, "ash")
    extra = ("begin", {**next(body for kind, body in steps if kind == "begin"), "round": ROUNDS + 1})
    at = next(index for index, step in enumerate(steps) if step[0] == "close")
    rewritten(run, "ash", [*steps[:at], extra, *steps[at:]])
    assert "ledger-history" in ids_at(audit(run), "ash")


def test_a_round_begun_before_the_reservation_is_an_impossible_history(run: Path) -> None:
    steps = steps_of(run, "ash")
    reserve, begin = (
        next(index for index, step in enumerate(steps) if step[0] == kind) for kind in ("reserve", "begin")
    )
    steps.insert(reserve, steps.pop(begin))
    rewritten(run, "ash", steps)
    assert "ledger-history" in ids_at(audit(run), "ash")


def test_a_release_that_was_never_charged_is_found(run: Path) -> None:
    steps = [step for step in steps_of(run, "ash") if step[1].get("round") != 2]
    rewritten(run, "ash", steps)
    assert "round-uncharged" in ids_at(audit(run), "ash")


def test_a_round_that_was_begun_and_never_released_is_in_no_sum(run: Path) -> None:
    left = ("release", "mask", "reveal")
    steps = [(kind, body) for kind, body in steps_of(run, "ash") if kind not in left or body["round"] != 2]
    rewritten(run, "ash", steps)
    assert "round-uncharged" in ids_at(audit(run), "ash")


def test_a_round_opened_without_record_is_found(run: Path) -> None:
    steps = [s for s in steps_of(run, "ash") if not (s[0] == "reveal" and s[1]["round"] == 2)]
    rewritten(run, "ash", steps)
    assert "round-unopened" in ids_at(audit(run), "ash")


def test_a_round_opened_for_other_sites_is_found(run: Path) -> None:
    rewritten(run, "ash", changed(steps_of(run, "ash"), "reveal", lambda _: {"survivors": "00" * 32}))
    assert "round-survivors" in ids_at(audit(run), "ash")


def test_a_round_begun_for_other_params_is_found(run: Path) -> None:
    rewritten(run, "ash", changed(steps_of(run, "ash"), "begin", lambda _: {"question": "00" * 32}))
    assert "round-question" in ids_at(audit(run), "ash")


def test_a_forged_budget_raise_is_found(run: Path) -> None:
    """DP-46: the site signs it, two approvers do not."""
    steps = steps_of(run, "ash")
    budget = next(body for kind, body in steps if kind == "budget")
    forged = ("budget", {**budget, "epsilon": 100.0, "reason": "more"})
    rewritten(run, "ash", [*steps, forged])
    assert "budget-raise-unapproved" in ids_at(audit(run), "ash")


def test_a_budget_that_was_overspent_is_found(run: Path) -> None:
    """The fold believes that a filter admitted it; the recount does not."""
    rewritten(run, "ash", changed(steps_of(run, "ash"), "budget", lambda _: {"epsilon": 1.5}))
    assert "budget-exceeded" in ids_at(audit(run), "ash")


def test_a_run_reserved_for_another_plan_is_found(run: Path) -> None:
    other = "sha256:" + "00" * 32
    rewritten(run, "ash", changed(steps_of(run, "ash"), "reserve", lambda _: {"plan": other}))
    assert "run-of-another-plan" in ids_at(audit(run), "ash")


def test_a_round_that_was_released_and_left_no_receipt_is_for_a_person_to_look_at(run: Path) -> None:
    """A server that died, or one that keeps a round to itself: files cannot tell which."""
    for name in ("params.safetensors", "report.json"):
        (run / name).unlink()
    with receipts(run) as lines:
        del lines[ROUNDS - 1 :]
    for site in SITES:
        stored(journal(run, site), load_entries(journal(run, site))[:-1])
    found = audit(run)
    assert all("round-without-receipt" in ids_at(found, site) for site in SITES)
    assert "round-without-receipt" in ids(found, "warning")


def moved(steps: Steps, kind: str, after: str) -> Steps:
    """The first entry of a kind behind the first of another."""
    names = [known for known, _ in steps]
    entry = steps[names.index(kind)]
    left = [step for step in steps if step is not entry]
    at = next(index for index, step in enumerate(left) if step[0] == after)
    return [*left[: at + 1], entry, *left[at + 1 :]]


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        ("reserve", "release"),
        ("reserve", "begin"),
        ("begin", "release"),
        ("release", "mask"),
        ("budget", "reserve"),
    ],
)
def test_what_is_charged_after_it_was_released_is_an_impossible_history(
    run: Path, kind: str, after: str
) -> None:
    rewritten(run, "ash", moved(steps_of(run, "ash"), kind, after))
    assert "ledger-history" in ids_at(audit(run), "ash")


def test_a_ledger_closed_before_its_last_round_is_an_impossible_history(run: Path) -> None:
    steps = steps_of(run, "ash")
    begun = max(index for index, step in enumerate(steps) if step[0] == "begin")
    rewritten(run, "ash", [*steps[:begun], steps[-1], *steps[begun:-1]])
    assert "ledger-history" in ids_at(audit(run), "ash")


@pytest.mark.parametrize("kind", ["reserve", "begin", "release", "reveal", "close", "witness"])
def test_what_may_stand_once_and_stands_twice_is_an_impossible_history(run: Path, kind: str) -> None:
    steps = steps_of(run, "ash")
    again = next(step for step in steps if step[0] == kind)
    at = len(steps) if kind == "close" else len(steps) - 1
    rewritten(run, "ash", [*steps[:at], again, *steps[at:]])
    assert "ledger-history" in ids_at(audit(run), "ash")


def test_the_ledgers_of_this_module_are_honest_to_begin_with(protocol: Path) -> None:
    """The control: rewritten without a change, and with the same key, a ledger folds as before."""
    for site in SITES:
        account = fold(load_entries(journal(protocol, site)))
        assert account.runs
        assert account.tip.genesis.key == public_identity(key_of(protocol, site))
