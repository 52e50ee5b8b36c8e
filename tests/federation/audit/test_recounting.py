"""The rules by which a charge becomes a mechanism, read twice and independently."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from federation.audit.recounting import _mechanism, bounds, planned_rate, planned_releases
from federation.plan.plan import parse
from privacy.accounting.bounds import Bounds
from privacy.accounting.events import GaussianEvent, NonPrivateEvent, ReplacedEvent
from privacy.accounting.units import UNITS, Charge, Patient
from tests.plans import TEXT, changed, for_patients

charges = st.builds(
    Charge,
    st.one_of(
        st.builds(
            GaussianEvent, st.floats(0.3, 30), st.floats(1e-3, 1), st.integers(1, 1000), st.integers(1, 3)
        ),
        st.just(NonPrivateEvent()),
    ),
    st.sampled_from(UNITS),
    st.booleans(),
)
patients = st.builds(Patient, st.integers(1, 6), st.integers(1, 6))


@given(charge=charges, unit=st.sampled_from(UNITS), patient=patients)
def test_the_auditors_reading_of_a_charge_is_that_of_the_site(
    charge: Charge, unit: str, patient: Patient
) -> None:
    """Two texts of one definition: where they differ, one of them is wrong."""
    event, mechanism = charge.to(unit, patient), _mechanism(charge, unit, patient)  # type: ignore[arg-type]
    if isinstance(event, NonPrivateEvent):
        assert mechanism is None
        return
    assert mechanism is not None
    said = (mechanism.noise_multiplier, mechanism.sample_rate, mechanism.count, mechanism.group)
    assert said == (event.noise_multiplier, event.sample_rate, event.count, event.group)
    assert mechanism.replaced == isinstance(event, ReplacedEvent)


def test_the_auditors_reading_of_a_plan_is_that_of_the_site() -> None:
    texts = [
        TEXT,
        for_patients(),
        changed('noise = "distributed"', 'noise = "site"').replace("local_steps = 1", "local_steps = 3"),
        changed('unit = "record"', 'unit = "client"').replace("local_steps = 1", "local_steps = 3"),
    ]
    for text in texts:
        plan = parse(text)
        event = plan.kind.charge.event
        assert isinstance(event, GaussianEvent)
        assert (event.count, event.sample_rate) == (planned_releases(plan), planned_rate(plan))


def test_one_release_without_noise_leaves_no_bound() -> None:
    noised = Charge(GaussianEvent(5.0, 1.0, 10), "record", summed=False)
    bare = Charge(NonPrivateEvent(), "record", summed=False)
    assert bounds([noised, bare], "record", Patient(), 1e-5) == Bounds(math.inf, math.inf)
    assert math.isfinite(bounds([noised], "record", Patient(), 1e-5).upper)
