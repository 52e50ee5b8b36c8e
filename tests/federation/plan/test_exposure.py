"""An epsilon per record, patient and client, side by side: worst case unless the plan declares better."""

from __future__ import annotations

import math
from typing import Any

import pytest

from federation.audit.claims import costs
from federation.audit.page import most
from federation.plan.guarantee import cost_for, exposure, told_of_parts
from federation.plan.plan import Plan
from federation.report.numbers import upward
from privacy.accounting.bounds import Bounds
from privacy.accounting.events import GaussianEvent
from privacy.accounting.pld import epsilon
from privacy.accounting.units import Patient, Unit
from privacy.errors import UnsafeParameters
from tests.clients.sites import make_plan
from tests.worlds import plan_of


def lines(plan: Plan, sites: int) -> list[tuple[str, int, int, float | None]]:
    return [(row["unit"], row["records"], row["sites"], row["epsilon"]) for row in exposure(plan, sites)]


def epsilon_for(plan: Plan, unit: Unit, patient: Patient) -> float:
    (training,) = cost_for(plan, unit, patient).each
    return training


def noise_of(plan: Plan) -> GaussianEvent:
    event = plan.kind.event
    assert isinstance(event, GaussianEvent)
    return event


def test_a_patient_is_at_every_site_unless_the_plan_says_otherwise() -> None:
    found = lines(make_plan("record", "site"), 3)
    assert [row[:3] for row in found] == [
        ("record", 1, 1),
        ("patient", 1, 1),
        ("patient", 1, 3),
        ("client", 1, 1),
    ]
    assert found[0][3] == found[1][3] == pytest.approx(8.0, abs=0.01)
    assert found[3][3] is None  # a plan for records promises the whole site nothing


def test_noise_at_every_site_composes_and_noise_on_the_sum_does_not_help_a_patient_of_several() -> None:
    """DP-10: local releases compose, z and three times as many; in one sum the same patient weighs three times."""
    site, summed = make_plan("record", "site"), make_plan("record", "distributed")
    event = noise_of(site)
    thrice = epsilon([GaussianEvent(event.noise_multiplier, 1.0, 3 * event.count)], 1e-5)
    assert lines(site, 3)[2][3] == pytest.approx(thrice, abs=1e-3)
    event = noise_of(summed)
    heavier = epsilon([GaussianEvent(event.noise_multiplier / 3, 1.0, event.count)], 1e-5)
    assert lines(summed, 3)[2][3] == pytest.approx(heavier, rel=1e-3)
    assert heavier > thrice


def test_a_patient_costs_more_the_more_they_hold_and_the_more_sites_know_them() -> None:
    plan = make_plan("record", "site", sample_rate=0.2)
    values = [epsilon_for(plan, "patient", Patient(records, 1)) for records in (1, 2, 4)]
    assert values[0] < values[1] < values[2]
    values = [epsilon_for(plan, "patient", Patient(1, sites)) for sites in (1, 2, 3)]
    assert values[0] < values[1] < values[2] < 3 * values[0]
    assert epsilon_for(plan, "record", Patient()) == values[0]
    assert math.isinf(epsilon_for(plan, "client", Patient()))


def with_claims(**claims: Any) -> Plan:
    plan = make_plan("record", "site")
    return plan.model_copy(update={"privacy": plan.privacy.model_copy(update=claims)})


def test_what_the_plan_declares_of_patients_takes_the_place_of_the_worst_case() -> None:
    found = [row[:3] for row in lines(with_claims(records_per_patient=4, sites_per_patient=2), 5)]
    assert found[1:3] == [("patient", 4, 1), ("patient", 4, 2)]
    once = [row[:3] for row in lines(with_claims(sites_per_patient=1), 5)]
    assert once == [("record", 1, 1), ("patient", 1, 1), ("client", 1, 1)]  # not twice the same line


@pytest.mark.parametrize("sites", [0, 1])
def test_a_federation_of_nobody_yet_has_lines_too(sites: int) -> None:
    assert [row[:3] for row in lines(make_plan("record", "site"), sites)][1:-1] == [("patient", 1, 1)]


def test_a_patient_at_more_sites_than_can_be_accounted_is_capped_in_the_open() -> None:
    """The line says for how many sites it holds, so nobody takes it for all of them."""
    plan = make_plan("record", "site", rounds=1)
    assert lines(plan, 5000)[2][:3] == ("patient", 1, 1000)


def test_a_part_of_what_a_plan_protects_as_a_whole_pays_for_replacing_it() -> None:
    """DP-7: a record more turns a client's clipped update into another one, so its sensitivity is 2C."""
    plan = make_plan("client", "distributed")
    event, values = noise_of(plan), {row[:3]: row[3] for row in lines(plan, 3)}
    assert values["client", 1, 1] == epsilon([event], 1e-5)
    replaced = epsilon([GaussianEvent(event.noise_multiplier / 2, 1.0, event.count)], 1e-5)
    assert values["record", 1, 1] == values["patient", 1, 1] == pytest.approx(replaced, rel=1e-3)
    in_three = epsilon([GaussianEvent(event.noise_multiplier / 6, 1.0, event.count)], 1e-5)
    assert values["patient", 1, 3] == pytest.approx(in_three, rel=1e-3)


def test_a_plan_without_privacy_has_no_epsilon_to_show() -> None:
    with pytest.raises(UnsafeParameters, match="has no delta"):
        exposure(plan_of(), 3)


@pytest.mark.parametrize("noise", ["site", "distributed"])
def test_beyond_what_any_plan_may_ask_for_everybody_says_that_nothing_is_promised(noise: str) -> None:
    """Accountants bound a person at 200 sites by numbers in the thousands, each by another."""
    plan = make_plan("record", noise, sample_rate=0.2)
    spent, worst = cost_for(plan, "patient", Patient(1, 200)).each[0], lines(plan, 200)[2]
    assert spent > 100 and worst == ("patient", 1, 200, None)
    assert costs(plan, plan.kind.charge, None, 200)["patient"].to_json()["total"] is None
    assert lines(plan, 2)[2][3] is not None
    assert {upward(None), most(Bounds(math.inf, math.inf))} == {"no promise"}


@pytest.mark.parametrize(("unit", "parts"), [("record", 0), ("patient", 1), ("client", 2)])
def test_where_a_part_costs_more_than_its_whole_a_sentence_says_why(unit: Unit, parts: int) -> None:
    rows = exposure(make_plan(unit, "distributed"), 3)
    told = told_of_parts((row["unit"], row["epsilon"]) for row in rows)
    assert told.partition(" can cost more than ")[0].count("record") == min(parts, 1)
    assert told.partition(" can cost more than ")[0].count("patient") == max(parts - 1, 0)
