"""A plan with groups: each group is safe by itself, or the plan is refused, with line, key and cure."""

from __future__ import annotations

import pytest

from federation.errors import PlanError
from federation.plan.plan import parse
from privacy.errors import UnsafeParameters
from tests.plans import text_of

GROUPS = {"secure_aggregation.groups": 4, "server.combine": "median", "cohort.minimum": 20}


def test_a_plan_with_groups_is_read_and_says_so_in_its_digest() -> None:
    plan = parse(text_of(GROUPS))
    assert (plan.secure_aggregation.groups, plan.server.combine) == (4, "median")
    assert plan.digest != parse(text_of({"cohort.minimum": 20})).digest
    assert parse(plan.to_toml()).digest == plan.digest


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"server.combine": None}, "combine"),
        ({"secure_aggregation.groups": None}, "means nothing without groups"),
        ({"secure_aggregation.groups": 2}, "no median that one bad group could not move"),
        ({"secure_aggregation.groups": 1}, "groups"),
        ({"server.optimizer": "adam-bc"}, "cannot know the noise in a median"),
        ({"secure_aggregation.transcripts": True}, "hold one sum of a round"),
        ({"secure_aggregation.excess_levels": 1}, "nothing is taken out"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        parse(text_of(GROUPS, changes))


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({"cohort.minimum": 15}, 4),  # groups of 3, where 1 + 1 + 2 are needed
        ({"colluders": 3}, 6),
        ({"dropouts": 3}, 6),
        ({"secure_aggregation.groups": 6}, 4),
    ],
)
def test_a_group_that_is_not_safe_by_itself_is_refused(changes: dict[str, object], needed: int) -> None:
    with pytest.raises(UnsafeParameters, match=f"colluders . dropouts . 2, here {needed}"):
        parse(text_of(GROUPS, changes))


@pytest.mark.parametrize(
    "changes", [{"cohort.size": None, "cohort.sample_rate": 0.9}, {"cohort.size": 20}], ids=["rate", "size"]
)
def test_bare_sums_of_changing_groups_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UnsafeParameters, match="bare sums that differ by single updates"):
        parse(text_of(GROUPS, {"noise": "none"}, changes))
    parse(text_of(GROUPS, changes))  # with noise they may change


def test_a_mean_of_groups_has_known_noise() -> None:
    parse(text_of(GROUPS, {"server.combine": "mean", "server.optimizer": "adam-bc"}))
