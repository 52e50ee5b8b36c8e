"""What an installation does is seen as it is; a right one passes, and each planted bug is found by its own look."""

from __future__ import annotations

import pytest

from clients.measuring.measure import measured
from federation.audit.measured.judging import judged
from tests.clients.measuring.chance import fixed, verdict_of
from tests.clients.measuring.mutants import (
    PLANTED,
    noise_of_another_source,
    records_clipped,
    sent_in_the_clear,
    whole_batch_clipped,
)
from tests.plans import Changes, plan_of

SHARED: Changes = {"rounds": 40}
STEPS: Changes = {"rounds": 10, "local_steps": 4, "noise": "site"}
PATIENTS: Changes = {"rounds": 40, "unit": "patient", "task.patient": "mrn"}
RIGHT: dict[str, Changes] = {
    "shares": SHARED,
    "steps": STEPS,
    "momentum": {**STEPS, "training.momentum": 0.9, "training.proximal": 0.1},
    "adam": {**STEPS, "optimizer": "adam"},
    "patients": PATIENTS,
    "central": {**SHARED, "noise": "central"},
    "sites": {**SHARED, "unit": "client"},
    "all records": {**SHARED, "sample_rate": 1.0, "training.sample_rate": 1.0},
    "few rounds": {"rounds": 2},
    "much noise": {"rounds": 40, "epsilon": 0.1, "sample_rate": 0.5},
}


@pytest.mark.parametrize("changes", RIGHT.values(), ids=RIGHT)
def test_a_right_installation_is_not_falsified(changes: Changes) -> None:
    plan = plan_of(changes)
    figures, verdict = verdict_of(plan, 1)
    assert verdict.falsified == ()
    looks = {look.name: look for look in verdict.looks}
    noise = looks["noise multiplier"]
    assert noise.limits is not None and noise.limits.found == pytest.approx(plan.kind.noise_multiplier, rel=0.02)
    reach = looks[f"reach of one {plan.privacy.unit}"]
    assert reach.limits is not None and reach.limits.found == pytest.approx(1.0, abs=0.01)
    counted = looks["releases"].limits
    assert counted is not None and counted.found == plan.kind.releases
    assert figures.releases == figures.rounds * plan.kind.releases_per_round
    assert verdict.epsilon is not None and verdict.epsilon.hold(3.0 if plan.privacy.epsilon == 3.0 else 0.1)


SEEN = {
    "clip x 2": "clipping bound",
    "noise / sqrt 2": "noise multiplier",
    "one site's noise missing": "noise multiplier",
    "no subsampling": "sample rate",
    "the same noise every round": "likeness of draws",
    "half the steps counted": "releases",
}


@pytest.mark.parametrize("bug", PLANTED)
@pytest.mark.parametrize("changes", [SHARED, STEPS, PATIENTS], ids=["shares", "steps", "patients"])
def test_a_planted_bug_is_found_by_the_look_that_is_for_it(bug: str, changes: Changes) -> None:
    if changes is STEPS and bug == "one site's noise missing":
        pytest.skip("each site adds all of its noise")
    seconds = 0.0 if bug == "no subsampling" else 60.0  # two rounds show it, and all records take long
    with PLANTED[bug]():
        _, verdict = verdict_of(plan_of(changes), 2, seconds)
    assert SEEN[bug] in verdict.falsified


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


def test_epsilon_of_half_the_steps_is_recounted_and_not_believed() -> None:
    with PLANTED["half the steps counted"]():
        _, verdict = verdict_of(plan_of(SHARED), 4)
    assert "epsilon" in verdict.falsified
    assert verdict.epsilon is not None and verdict.epsilon.found > 4


def test_nothing_of_a_site_is_touched_and_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """No ledger can be opened, and no file of data read: neither is asked for."""
    from clients.journal.journal import Journal

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a ledger is opened")

    monkeypatch.setattr(Journal, "__init__", refused)
    told: list[tuple[str, int, int]] = []
    plan = plan_of(rounds=3)
    with fixed(5):
        figures = measured(plan, "ash", lambda what: lambda done, total: told.append((what, done, total)), 0.0)
    assert [line[1:] for line in told if line[0] == "rounds with canaries"] == [(0, 50), (1, 50), (2, 50), (50, 50)]
    assert figures.rounds == 2 and not judged(plan, figures).falsified
