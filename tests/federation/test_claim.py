"""What a plan's claim comes to, against the reference table and dp-accounting itself."""

from __future__ import annotations

import pytest

from federation.claim import (
    noise_text,
    planned_charge,
    planned_event,
    planned_noise_multiplier,
    planned_patient,
    sample_rate,
)
from federation.plan import parse
from privacy.accountant import epsilon
from privacy.errors import UnsafeParameters
from privacy.events import GaussianEvent, NonPrivateEvent
from privacy.units import Charge, Patient
from tests.federation.plans import TEXT, changed, for_patients

NONE = changed('noise = "distributed"\nepsilon = 3.0\ndelta = 1e-5\nclipping_norm = 1.0', 'noise = "none"')


@pytest.mark.parametrize(("target", "expected"), [("8.0", 1.131), ("3.0", 2.178), ("1.0", 5.428)])
def test_the_noise_multiplier_is_that_of_the_reference_table(target: str, expected: float) -> None:
    plan = parse(changed("epsilon = 3.0", f"epsilon = {target}"))
    found = planned_noise_multiplier(plan)
    assert abs(found - expected) <= 2e-3
    assert float(noise_text(plan)) == found
    assert epsilon([planned_event(plan)], 1e-5) <= float(target)


def test_a_site_is_charged_for_every_round_at_the_plans_rate() -> None:
    plan = parse(TEXT)
    assert planned_event(plan) == GaussianEvent(planned_noise_multiplier(plan), 0.1, 200)


def test_where_a_site_noises_each_step_it_is_charged_for_each() -> None:
    text = changed('"distributed"', '"site"').replace("local_steps = 1", "local_steps = 5")
    plan = parse(text.replace("rounds = 200", "rounds = 40"))
    event = planned_event(plan)
    assert isinstance(event, GaussianEvent)
    assert event.count == 200
    assert event == planned_event(parse(TEXT))  # 40 rounds of 5 steps are 200 releases


@pytest.mark.parametrize("noise", ["site", "distributed", "central"])
def test_for_clients_there_is_no_amplification_and_one_release_a_round(noise: str) -> None:
    text = changed('"record"', '"client"').replace('"distributed"', f'"{noise}"')
    plan = parse(text.replace("local_steps = 1", "local_steps = 5"))
    event = planned_event(plan)
    assert sample_rate(plan) == 1.0
    assert isinstance(event, GaussianEvent)
    assert (event.sample_rate, event.count) == (1.0, 200)
    assert event.noise_multiplier > planned_noise_multiplier(parse(TEXT))


def test_for_records_the_rate_is_that_of_the_training() -> None:
    assert sample_rate(parse(changed("sample_rate = 0.1", "sample_rate = 0.037"))) == 0.037


def test_a_plan_without_privacy_claims_nothing_and_spends_everything() -> None:
    plan = parse(NONE)
    assert noise_text(plan) == ""
    assert planned_event(plan) == NonPrivateEvent()
    assert epsilon([planned_event(plan)], 1e-5) == float("inf")
    with pytest.raises(UnsafeParameters, match="without privacy"):
        planned_noise_multiplier(plan)


@pytest.mark.parametrize("noise", ["site", "distributed", "central"])
@pytest.mark.parametrize("unit", ["record", "patient", "client"])
def test_a_charge_says_whom_the_plan_protects_and_where_its_noise_is(unit: str, noise: str) -> None:
    plan = parse(for_patients(noise).replace('unit = "patient"', f'unit = "{unit}"'))
    charge = planned_charge(plan)
    assert charge == Charge(planned_event(plan), plan.privacy.unit, summed=noise != "site")
    assert charge.protects == unit


def test_patients_are_sampled_like_records_so_the_event_is_the_same() -> None:
    for noise in ("site", "distributed"):
        records = parse(changed('"distributed"', f'"{noise}"'))
        assert planned_event(parse(for_patients(noise))) == planned_event(records)
    assert sample_rate(parse(for_patients())) == 0.1


def test_a_plan_without_privacy_is_charged_as_such() -> None:
    assert planned_charge(parse(NONE)) == Charge(NonPrivateEvent(), "record", summed=True)


def test_of_a_patient_the_worst_is_said_unless_the_plan_knows_better() -> None:
    assert planned_patient(parse(TEXT), sites=4) == Patient(records=1, sites=4)
    text = changed('unit = "record"', 'unit = "record"\nrecords_per_patient = 3\nsites_per_patient = 2')
    assert planned_patient(parse(text), sites=4) == Patient(records=3, sites=2)
