"""What a plan's claim comes to, against the reference table and dp-accounting itself."""

from __future__ import annotations

import pytest

from federation.plan.guarantee import planned_patient
from federation.plan.plan import parse
from privacy.accounting.events import GaussianEvent, NonPrivateEvent
from privacy.accounting.pld import epsilon
from privacy.accounting.units import Charge, Patient
from privacy.errors import UnsafeParameters
from tests.plans import TEXT, changed, for_patients

NONE = changed('noise = "distributed"\nepsilon = 3.0\ndelta = 1e-5\nclipping_norm = 1.0', 'noise = "none"')


@pytest.mark.parametrize(("target", "expected"), [("8.0", 1.131), ("3.0", 2.178), ("1.0", 5.428)])
def test_the_noise_multiplier_is_that_of_the_reference_table(target: str, expected: float) -> None:
    plan = parse(changed("epsilon = 3.0", f"epsilon = {target}"))
    found = plan.kind.noise_multiplier
    assert abs(found - expected) <= 2e-3
    assert float(plan.kind.noise_text) == found
    assert epsilon([plan.kind.event], 1e-5) <= float(target)


def test_a_site_is_charged_for_every_round_at_the_plans_rate() -> None:
    plan = parse(TEXT)
    assert plan.kind.event == GaussianEvent(plan.kind.noise_multiplier, 0.1, 200)


def test_where_a_site_noises_each_step_it_is_charged_for_each() -> None:
    text = changed('"distributed"', '"site"').replace("local_steps = 1", "local_steps = 5")
    plan = parse(text.replace("rounds = 200", "rounds = 40"))
    event = plan.kind.event
    assert isinstance(event, GaussianEvent)
    assert event.count == 200
    assert event == parse(TEXT).kind.event  # 40 rounds of 5 steps are 200 releases


@pytest.mark.parametrize("noise", ["site", "distributed", "central"])
def test_for_clients_there_is_no_amplification_and_one_release_a_round(noise: str) -> None:
    text = changed('"record"', '"client"').replace('"distributed"', f'"{noise}"')
    plan = parse(text.replace("local_steps = 1", "local_steps = 5"))
    event = plan.kind.event
    assert plan.kind.sample_rate == 1.0
    assert isinstance(event, GaussianEvent)
    assert (event.sample_rate, event.count) == (1.0, 200)
    assert event.noise_multiplier > parse(TEXT).kind.noise_multiplier


def test_for_records_the_rate_is_that_of_the_training() -> None:
    assert parse(changed("sample_rate = 0.1", "sample_rate = 0.037")).kind.sample_rate == 0.037


def test_a_plan_without_privacy_claims_nothing_and_spends_everything() -> None:
    plan = parse(NONE)
    assert plan.kind.noise_text == ""
    assert plan.kind.event == NonPrivateEvent()
    assert epsilon([plan.kind.event], 1e-5) == float("inf")
    with pytest.raises(UnsafeParameters, match="without privacy"):
        _ = plan.kind.noise_multiplier


@pytest.mark.parametrize("noise", ["site", "distributed", "central"])
@pytest.mark.parametrize("unit", ["record", "patient", "client"])
def test_a_charge_says_whom_the_plan_protects_and_where_its_noise_is(unit: str, noise: str) -> None:
    plan = parse(for_patients(noise).replace('unit = "patient"', f'unit = "{unit}"'))
    charge = plan.kind.charge
    assert charge == Charge(plan.kind.event, plan.privacy.unit, summed=noise != "site")
    assert charge.protects == unit


def test_patients_are_sampled_like_records_so_the_event_is_the_same() -> None:
    for noise in ("site", "distributed"):
        records = parse(changed('"distributed"', f'"{noise}"'))
        assert parse(for_patients(noise)).kind.event == records.kind.event
    assert parse(for_patients()).kind.sample_rate == 0.1


def test_a_plan_without_privacy_is_charged_as_such() -> None:
    assert parse(NONE).kind.charge == Charge(NonPrivateEvent(), "record", summed=True)


def test_of_a_patient_the_worst_is_said_unless_the_plan_knows_better() -> None:
    assert planned_patient(parse(TEXT), sites=4) == Patient(records=1, sites=4)
    text = changed('unit = "record"', 'unit = "record"\nrecords_per_patient = 3\nsites_per_patient = 2')
    assert planned_patient(parse(text), sites=4) == Patient(records=3, sites=2)
