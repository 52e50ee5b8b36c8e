"""DP-66: an installation is seen as it is: a right one passes, and bugs are found by a look of their own."""

from __future__ import annotations

import pytest

from clients.measuring.measure import measured
from federation.audit.measured.judging import judged
from tests.clients.measuring.chance import fixed, small, verdict_of
from tests.clients.measuring.mutants import (
    noise_of_another_source,
    records_clipped,
    sent_in_the_clear,
    whole_batch_clipped,
)
from tests.plans import Changes, plan_of

SHARED: Changes = {"rounds": 8}
STEPS: Changes = {"rounds": 2, "local_steps": 4, "noise": "site"}
PATIENTS: Changes = {"rounds": 8, "unit": "patient", "task.patient": "mrn"}
RIGHT: dict[str, Changes] = {
    "shares": SHARED,
    "steps": {**STEPS, "training.momentum": 0.9, "training.proximal": 0.1},
    "patients": PATIENTS,
    "sites": {**SHARED, "unit": "client"},
    "one round": {"rounds": 1, "sample_rate": 1.0},
}


@pytest.mark.parametrize("changes", RIGHT.values(), ids=RIGHT)
def test_a_right_installation_is_not_falsified(changes: Changes) -> None:
    plan = plan_of(changes)
    figures, verdict = verdict_of(plan, 1)
    assert verdict.falsified == ()
    looks = {look.name: look for look in verdict.looks}
    noise = looks["noise multiplier"]
    assert noise.limits is not None and noise.limits.found == pytest.approx(
        plan.kind.noise_multiplier, rel=0.05
    )
    reach = looks[f"reach of one {plan.privacy.unit}"]
    assert reach.limits is not None and reach.limits.found == pytest.approx(1.0, abs=0.01)
    counted = looks["releases"].limits
    assert counted is not None and counted.found == plan.kind.releases
    assert figures.releases == figures.rounds * plan.kind.releases_per_round
    assert verdict.epsilon is not None and verdict.epsilon.hold(3.0)


@pytest.mark.parametrize(
    ("plant", "changes", "look"),
    [
        (whole_batch_clipped, SHARED, "sample rate"),
        (records_clipped, PATIENTS, "reach of one patient"),
        (noise_of_another_source, SHARED, "reach of one record"),
        (sent_in_the_clear, STEPS, "nothing beside"),
    ],
    ids=["batch", "records", "source", "clear"],
)
def test_other_bugs_are_found_too(plant: object, changes: Changes, look: str) -> None:
    with plant():  # type: ignore[operator]
        _, verdict = verdict_of(plan_of(changes), 3)
    assert look in verdict.falsified


def test_nothing_of_a_site_is_touched_and_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """No ledger can be opened, and no file of data read: neither is asked for."""
    from clients.journal.journal import Journal

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a ledger is opened")

    monkeypatch.setattr(Journal, "__init__", refused)
    told: list[tuple[str, int, int]] = []
    plan = plan_of(rounds=3)
    with fixed(5), small():
        figures = measured(
            plan, "ash", lambda what: lambda done, total: told.append((what, done, total)), 0.0
        )
    assert [line[1:] for line in told if line[0] == "rounds with canaries"] == [
        (0, 12),
        (1, 12),
        (2, 12),
        (12, 12),
    ]
    assert figures.rounds == 2 and not judged(plan, figures).falsified
