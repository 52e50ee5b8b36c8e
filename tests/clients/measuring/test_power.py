"""DP-66: how often planted bugs are found, and how often a right installation is wronged, in figures.

In `make test` one small measurement of most; with FEDERATION_SCALE=100, two hundred of right installations and
fifty with each bug, of the size that people make.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.clients.measuring.chance import verdict_of
from tests.clients.measuring.mutants import PLANTED
from tests.plans import Changes, plan_of
from tests.scale import SCALE, scaled

FULL = SCALE > 1
RUNS, PLANTINGS = (scaled(2), scaled(0.5)) if FULL else (1, 1)
SHARES: Changes = {"rounds": 40 if FULL else 8, "cohort.size": 4, "cohort.minimum": 4}
STEPS: Changes = {"rounds": 10 if FULL else 2, "local_steps": 4, "noise": "site"}
PATIENTS: Changes = {**SHARES, "unit": "patient", "task.patient": "mrn"}
KINDS = {"shares": SHARES, "steps": STEPS, "patients": PATIENTS} if FULL else {"shares": SHARES}
MANY: Changes = {"rounds": 40, "cohort.size": 50, "cohort.minimum": 45}
SEEN = {
    "clip x 2": "clipping bound",
    "noise / sqrt 2": "noise multiplier",
    "one site's noise missing": "noise multiplier",
    "no subsampling": "sample rate",
    "the same noise every round": "likeness of draws",
    "half the steps counted": "releases",
}
CASES = [
    *((bug, SHARES, "shares") for bug in PLANTED),
    *((bug, STEPS, "steps") for bug in PLANTED if FULL or bug == "half the steps counted"),
    *((bug, PATIENTS, "patients") for bug in PLANTED if FULL and bug == "clip x 2"),
]
Record = Callable[[str, object], None]

pytestmark = pytest.mark.power


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_a_right_installation_is_wronged_in_one_of_a_hundred_measurements_at_most(
    changes: Changes, record_property: Record
) -> None:
    """The chance of more than so many false alarms is below 1e-4 where each has a chance of 1 %."""
    runs = PLANTINGS if changes is PATIENTS else RUNS
    plan, wronged, bounds = plan_of(changes), 0, []
    for number in range(runs):
        _, verdict = verdict_of(plan, number, is_small=not FULL)
        wronged += bool(verdict.falsified)
        bounds.append(verdict.bounds or (0.0, 0.0))
    mean = [sum(each) / runs for each in zip(*bounds, strict=True)]
    record_property("false alarms", f"{wronged} of {runs}")
    record_property("lower bound of one run", f"{mean[0]:.2f}, Gaussian {mean[1]:.2f}; epsilon 3")
    assert wronged <= 1 + runs / 25


@pytest.mark.parametrize(("bug", "changes", "name"), CASES, ids=[f"{name}-{bug}" for bug, _, name in CASES])
def test_a_planted_bug_is_found_by_the_look_that_is_for_it(
    bug: str, changes: Changes, name: str, record_property: Record
) -> None:
    if name == "steps" and bug == "one site's noise missing":
        pytest.skip("each site adds all of its noise")
    _found(bug, changes, PLANTINGS, record_property)


def test_the_missing_noise_of_one_site_of_fifty_is_found(record_property: Record) -> None:
    """Two percent of the variance. In `make test` it would take too long."""
    if FULL:
        _found("one site's noise missing", MANY, max(1, PLANTINGS // 5), record_property)


def _found(bug: str, changes: Changes, runs: int, record_property: Record) -> None:
    """Most measurements find it, by its own look; how many do, and how many do by guessing from one run alone."""
    seconds = 0.0 if bug == "no subsampling" else 60.0  # two rounds show it, and all records take long
    by_look = by_any = by_one_run = 0
    for number in range(runs):
        with PLANTED[bug]():
            _, verdict = verdict_of(plan_of(changes), 1000 + number, seconds, is_small=not FULL)
        by_look += SEEN[bug] in verdict.falsified
        by_any += bool(verdict.falsified)
        by_one_run += "guesses from one run" in verdict.falsified
    record_property("found", f"{by_any} of {runs}; by {SEEN[bug]} {by_look}, by one run {by_one_run}")
    assert by_look >= 0.95 * runs
