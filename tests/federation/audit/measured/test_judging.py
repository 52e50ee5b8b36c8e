"""DP-66: the verdict follows from plan and figures alone; each figure beyond its limits is found, and by name."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from federation.audit.measured.figures import Figures
from federation.audit.measured.judging import CAVEAT, FALSE_ALARM, judged, require_noise
from federation.errors import InputError
from tests.federation.audit.measured.made import figures_of
from tests.plans import plan_of

PLAN = plan_of(rounds=40)
RIGHT = figures_of(PLAN)
SITES = plan_of(rounds=40, unit="client")


def test_figures_as_expected_pass_with_the_caveat() -> None:
    verdict = judged(PLAN, RIGHT)
    assert verdict.falsified == ()
    told = verdict.to_json()
    assert (told["verdict"], told["caveat"], told["false_alarm"]) == ("pass", CAVEAT, FALSE_ALARM)
    assert CAVEAT == "a pass is not evidence of epsilon"
    assert told["epsilon"]["measured"][0] == pytest.approx(3.0, abs=0.02)
    assert {look["look"]: look["would_see"] for look in told["looks"]}["noise multiplier"].startswith("-")
    json.dumps(told, allow_nan=False)


@pytest.mark.parametrize(
    ("changes", "look"),
    [
        ({"squares": RIGHT.squares * 0.95}, "noise multiplier"),
        ({"short": RIGHT.short * 1.3}, "sample rate"),
        ({"short": RIGHT.short * 0.7}, "sample rate"),
        ({"long": RIGHT.long * 1.3}, "clipping bound"),
        ({"reach": 1.01}, "reach of one record"),
        ({"releases": 80, "rounds": 40}, "releases"),
        ({"likeness": 0.99}, "likeness of draws"),
        ({"share": 2 / 40}, "likeness of draws"),
        ({"follows": False}, "nothing beside"),
        ({"guesses": ((100, 100), (1000, 1000))}, "guesses from one run"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_as_planned_is_found(changes: dict[str, object], look: str) -> None:
    assert look in judged(PLAN, replace(RIGHT, **changes)).falsified  # type: ignore[arg-type]


def test_more_noise_than_planned_costs_no_privacy() -> None:
    assert judged(PLAN, replace(RIGHT, squares=RIGHT.squares * 1.5)).falsified == ()


def test_epsilon_is_falsified_where_no_single_look_is() -> None:
    """By the plan's own count there are 40 releases; each is seen twice, and the accountant was told so, too."""
    half = replace(RIGHT, squares=RIGHT.squares / 2, long=RIGHT.long)
    assert "epsilon" in judged(PLAN, half).falsified


def test_of_whole_sites_is_said_what_can_be_said() -> None:
    verdict = judged(SITES, figures_of(SITES, coins=0, guesses=(), canaries=0, guessed_after=0))
    assert verdict.falsified == () and verdict.bounds is None
    names = {look.name for look in verdict.looks}
    assert {"noise multiplier", "reach of one client", "releases", "epsilon"} <= names
    assert not {"sample rate", "clipping bound", "guesses from one run"} & names


def test_a_task_without_mock_records_leaves_its_reach_unmeasured() -> None:
    looks = {look.name: look for look in judged(PLAN, replace(RIGHT, reach=None)).looks}
    assert looks["reach of one record"].outcome == "not measured"


def test_a_plan_without_noise_is_refused_in_one_sentence() -> None:
    with pytest.raises(InputError, match="promises nothing that could be falsified; choose"):
        require_noise(plan_of(noise="none"))


@pytest.mark.parametrize(
    "changes",
    [
        {"quiet": 0}, {"rounds": 0}, {"length": 1}, {"short_length": 0.0}, {"share": 1.5}, {"likeness": -0.1},
        {"guesses": ((100, 101),)}, {"guesses": ((2000, 1),)}, {"canaries": 10**6}, {"squares": -1.0},
        {"coins": 10**11}, {"guessed_after": 0}, {"releases": True}, {"reach": "1"},
    ],
    ids=str,
)  # fmt: skip
def test_figures_that_nobody_can_have_seen_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="has "):
        Figures.from_json({**RIGHT.to_json(), **changes})


def test_figures_survive_their_own_json() -> None:
    assert Figures.from_json(json.loads(json.dumps(RIGHT.to_json()))) == RIGHT
