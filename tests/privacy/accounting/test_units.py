"""What a record, a patient and a client are charged: known figures, and laws that hold for all plans."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.accounting.events import GaussianEvent, NoisedEvent, NonPrivateEvent
from privacy.accounting.filters import Budget
from privacy.accounting.pld import epsilon
from privacy.accounting.units import UNITS, Charge, Limit, Patient, Unit, charge_from_json
from privacy.accounting.unsampled import gaussian_epsilon
from privacy.errors import UnsafeParameters, UnsupportedEvent

DELTA = 1e-5
EVENT = GaussianEvent(1.0, 0.02, 500)
EVENTS = st.builds(GaussianEvent, st.floats(0.2, 100), st.floats(0.001, 1), st.integers(0, 1000))
CHARGES = st.builds(
    Charge, EVENTS | st.just(NonPrivateEvent()), protects=st.sampled_from(UNITS), summed=st.booleans()
)
PATIENTS = st.builds(Patient, st.integers(1, 20), st.integers(1, 20))


@pytest.mark.parametrize(
    ("patient", "summed", "expected"),
    [
        (Patient(), False, 2.77),
        (Patient(), True, 2.77),
        (Patient(records=2), False, 6.10),
        (Patient(records=2), True, 6.10),
        (Patient(records=4), False, 13.9),
        (Patient(records=8), False, 33.5),
        (Patient(sites=2), False, 3.90),
        (Patient(sites=3), False, 4.81),
        (Patient(sites=2), True, 6.10),
    ],
)
def test_the_figures_of_the_reference_setting_are_met(
    patient: Patient, summed: bool, expected: float
) -> None:
    """DP-10: two records of a patient cost 6.10 where one costs 2.77, two sites with noise of their own 3.90."""
    charged = Charge(EVENT, "record", summed).to("patient", patient)
    # Figures above 10 are known to three digits.
    assert epsilon([charged], DELTA) == pytest.approx(expected, abs=0.01 if expected < 10 else 0.05)


def test_a_patients_epsilon_is_more_than_their_number_of_records_suggests() -> None:
    one, two = (epsilon([Charge(EVENT, "record", True).to("patient", Patient(m))], DELTA) for m in (1, 2))
    assert two > 2 * one


@given(EVENTS, PATIENTS, st.booleans())
def test_a_record_plan_charges_a_patient_for_all_records_at_all_sites(
    event: GaussianEvent, patient: Patient, summed: bool
) -> None:
    charge = Charge(event, "record", summed)
    group = patient.records * (patient.sites if summed else 1)
    count = event.count * (1 if summed else patient.sites)
    assert charge.to("patient", patient) == replace(event, group=group, count=count)
    assert charge.to("record", patient) == event
    assert charge.to("client", patient) == NonPrivateEvent()


@given(EVENTS, PATIENTS, st.booleans())
def test_a_patient_plan_counts_no_records_and_bounds_no_client(
    event: GaussianEvent, patient: Patient, summed: bool
) -> None:
    charge = Charge(event, "patient", summed)
    assert charge.to("patient", patient) == charge.to("patient", Patient(1, patient.sites))
    assert charge.to("patient") == event
    assert charge.to("client", patient) == NonPrivateEvent()


@given(st.floats(0.2, 100), st.integers(1, 1000), st.booleans())
def test_a_part_of_what_is_protected_as_a_whole_may_turn_its_vector_around(
    z: float, count: int, summed: bool
) -> None:
    """Taking a record away may move a clipped sum from C to -C: twice the sensitivity, half the multiplier."""
    event, mu = GaussianEvent(z, 1.0, count), math.sqrt(count) / z
    for protects, part in (("patient", "record"), ("client", "record"), ("client", "patient")):
        charge = Charge(event, protects, summed)  # type: ignore[arg-type]
        whole, turned = charge.to(protects), charge.to(part)  # type: ignore[arg-type]
        assert epsilon([whole], DELTA) == pytest.approx(gaussian_epsilon(mu, DELTA), rel=1e-9)
        assert epsilon([turned], DELTA) == pytest.approx(gaussian_epsilon(2 * mu, DELTA), rel=1e-9)


@given(CHARGES, PATIENTS)
def test_a_patient_who_may_hold_more_is_never_charged_less(charge: Charge, patient: Patient) -> None:
    less, more = charge.to("patient", Patient()), charge.to("patient", patient)
    if not isinstance(less, NoisedEvent):
        assert more == less == NonPrivateEvent()
        return
    assert isinstance(more, NoisedEvent)
    assert type(more) is type(less)
    assert more.group >= less.group
    assert more.count >= less.count
    assert (more.noise_multiplier, more.sample_rate) == (less.noise_multiplier, less.sample_rate)


def test_without_noise_nobody_is_protected() -> None:
    for unit in UNITS:
        assert Charge(NonPrivateEvent(), "record", False).to(unit) == NonPrivateEvent()


@given(CHARGES)
def test_a_charge_survives_json(charge: Charge) -> None:
    assert charge_from_json(json.loads(json.dumps(charge.to_json()))) == charge


@given(CHARGES, st.integers(0, 10**6))
def test_another_number_of_releases_changes_nothing_else(charge: Charge, count: int) -> None:
    changed = charge.with_count(count)
    assert (changed.protects, changed.summed) == (charge.protects, charge.summed)
    if isinstance(charge.event, GaussianEvent):
        assert changed.event == replace(charge.event, count=count)
    else:
        assert changed == charge


@pytest.mark.parametrize(
    "change",
    [
        {"protects": "hospital"},
        {"protects": 1},
        {"summed": 1},
        {"summed": None},
        {"event": "none"},
        {"note": "harmless"},
    ],
)
def test_what_is_no_charge_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedEvent):
        charge_from_json({**Charge(EVENT, "record", True).to_json(), **change})


@pytest.mark.parametrize("missing", ["event", "protects", "summed"])
def test_what_is_not_said_is_not_assumed(missing: str) -> None:
    plain = Charge(EVENT, "record", True).to_json()
    del plain[missing]
    with pytest.raises(UnsupportedEvent):
        charge_from_json(plain)


@pytest.mark.parametrize("value", [0, -1, 1.0, 2.5, True, math.nan, "2", None])
def test_nobody_holds_a_number_of_records_that_is_no_number(value: Any) -> None:
    """DP-8: refused before anything is computed."""
    with pytest.raises(UnsafeParameters):
        Patient(records=value)
    with pytest.raises(UnsafeParameters):
        Patient(sites=value)


def test_more_contributions_than_can_be_accounted_for_are_refused() -> None:
    with pytest.raises(UnsafeParameters, match="group"):
        Charge(EVENT, "record", True).to("patient", Patient(records=100, sites=11))


def test_a_limit_is_for_a_unit_that_there_is() -> None:
    unit: Any = "hospital"
    with pytest.raises(UnsafeParameters):
        Limit(unit, Budget(1.0, DELTA))
    known: Unit = "client"
    assert Limit(known, Budget(1.0, DELTA)).patient == Patient(1, 1)
