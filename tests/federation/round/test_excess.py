"""How much more noise than epsilon needs is in a sum: said from the plan, and measured on the sum itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from federation.plan.plan import Plan
from federation.round.excess import excess_facts, noise_excess, planned_cohort
from federation.round.messages import Member
from federation.round.parts import secrets_of, streams_of, without_excess
from federation.round.terms import Terms
from privacy.mechanism.encoding import RingVector
from privacy.mechanism.noise import Stream
from tests.plans import plan_of

DIMENSION = 20_000


class NothingToSay:
    """A site without records in its batch."""

    def clipped_gradients(self, clipping_norm: float) -> Tensor:
        return torch.zeros(DIMENSION, dtype=torch.float64)

    update = figures = noised_update = clipped_gradients  # type: ignore[assignment]


def plan_for(
    sites: int, dropouts: int, colluders: int, noise: str = "distributed", **changes: object
) -> Plan:
    given = {"minimum": sites, "dropouts": dropouts, "colluders": colluders, "noise": noise}
    return plan_of({"sample_rate": 1.0, "rounds": 4}, given, **changes)


def measured(plan: Plan, sites: int) -> float:
    """The standard deviation of an opened sum in which nobody dropped, over what epsilon needs.

    That is the noise multiplier times how far one record can move the sum: the clipping norm, and what rounding to
    the grid adds to it.
    """
    members = tuple(Member(f"site-{slot}", 10) for slot in range(sites))
    terms = Terms(plan, bytes(16), 1, 1, members, DIMENSION)
    first = {member.site: bytes([100 + slot]) * 32 for slot, member in enumerate(members)}
    first = first if terms.takes_out else {}
    parts: list[RingVector] = []
    for slot, site in enumerate(terms.parameters.members):
        excess = streams_of(terms, site, secrets_of(terms, site, first.get(site, b"")))
        seed = Stream(bytes([slot + 1]) * 32)
        parts.append(terms.kind.contribute(terms.parties, site, NothingToSay(), seed, excess))  # type: ignore[arg-type]
    total: RingVector = sum(parts[1:], parts[0]) & np.uint64((1 << terms.codec.ring_bits) - 1)
    opened = without_excess(terms, total, terms.parameters.members, first)
    released = terms.kind.released(terms.parties, opened.total, Stream(bytes(32)))
    moved = (plan.privacy.clipping_norm or 0) + terms.codec.step * math.sqrt(DIMENSION)
    needed = plan.kind.noise_multiplier * moved
    return float(released.std()) / needed


OFF = {"secure_aggregation.excess_levels": 0}


@pytest.mark.parametrize(
    ("sites", "dropouts", "colluders", "changes", "expected"),
    [
        (5, 1, 1, {}, math.sqrt(5 / 4)),
        (5, 0, 1, {}, math.sqrt(5 / 4)),
        (5, 1, 0, {}, 1.0),
        (5, 0, 0, {}, 1.0),
        (5, 1, 1, OFF, math.sqrt(5 / 3)),
        (5, 1, 0, OFF, math.sqrt(5 / 4)),
    ],
)
def test_the_factor_is_what_a_sum_has(
    sites: int, dropouts: int, colluders: int, changes: dict[str, object], expected: float
) -> None:
    """Over 20,000 coordinates the sample has an error of 0.5 %: six of them, a false alarm of 2 in 10^9."""
    plan = plan_for(sites, dropouts, colluders, **changes)
    assert noise_excess(plan, sites) == pytest.approx(expected)
    assert measured(plan, sites) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("noise", ["site", "central"])
def test_noise_of_one_source_has_no_excess_and_says_why(noise: str) -> None:
    facts = excess_facts(plan_for(5, 1, 1, noise), 5)
    assert facts["noise_excess"] == 1.0
    assert "no share can be missing" in facts["noise_excess_why"]
    assert "noise_excess_of" not in facts
    if noise == "central":
        assert measured(plan_for(5, 1, 1, noise), 5) == pytest.approx(1.0, rel=0.03)


def test_a_clients_update_has_the_same_excess_as_a_records_gradient() -> None:
    assert noise_excess(plan_for(5, 1, 1, unit="client"), 5) == pytest.approx(math.sqrt(5 / 4))


def test_the_choices_are_the_plans_and_those_without_dropouts_or_colluders() -> None:
    facts = excess_facts(plan_for(7, 2, 1), 7)
    rows = facts["noise_excess_of"]["choices"]
    assert [(row["dropouts"], row["colluders"]) for row in rows] == [(2, 1), (0, 1), (2, 0), (0, 0)]
    factors = [row["noise_excess"] for row in rows]
    assert factors == pytest.approx([math.sqrt(7 / n) for n in (6, 6, 7, 7)])
    assert facts["noise_excess"] == factors[0]
    whole = excess_facts(plan_for(7, 2, 1, **OFF), 7)["noise_excess_of"]
    assert [row["noise_excess"] for row in whole["choices"]] == pytest.approx(
        [math.sqrt(7 / n) for n in (4, 6, 5, 7)]
    )
    assert whole["levels"] == []


def test_the_levels_tell_the_most_that_is_left_until_so_many_are_lost() -> None:
    """Of 100 sites with ten colluders and up to twenty lost: at the level for 7, one lost leaves the most."""
    rows = excess_facts(plan_for(100, 20, 10), 100)["noise_excess_of"]["levels"]
    assert [row["lost"] for row in rows] == [0, 7, 14, 20]
    expected = [100 / 90, 99 / 83, 92 / 76, 85 / 70]
    assert [row["noise_excess"] for row in rows] == pytest.approx([math.sqrt(one) for one in expected])
    assert noise_excess(plan_for(100, 20, 10), 100, 3) == pytest.approx(math.sqrt(97 / 83))


def test_no_choice_stands_there_twice() -> None:
    assert len(excess_facts(plan_for(5, 0, 0), 5)["noise_excess_of"]["choices"]) == 1
    assert len(excess_facts(plan_for(5, 0, 1), 5)["noise_excess_of"]["choices"]) == 2


def test_dropouts_that_a_cohort_cannot_lose_cost_nothing() -> None:
    """Three sites can lose none, whatever the plan wishes for."""
    assert noise_excess(plan_for(3, 1, 0), 3) == 1.0


def test_an_open_cohort_is_taken_at_its_least() -> None:
    assert planned_cohort(plan_of(minimum=4)) == 4
    assert planned_cohort(plan_of(minimum=4, size=6)) == 6
