"""What charges cost together: their composition, whatever unit it is asked for."""

from __future__ import annotations

import math

import pytest

from privacy.accounting.costs import cost
from privacy.accounting.events import GaussianEvent, NonPrivateEvent
from privacy.accounting.pld import epsilon, gaussian_epsilon
from privacy.accounting.units import Charge, Patient

TRAINING = Charge(GaussianEvent(2.0, 1.0, 4), "record", summed=True)
EVALUATION = Charge(GaussianEvent(2.0, 1.0, 1), "record", summed=True)


def test_two_charges_cost_what_one_of_all_their_releases_costs() -> None:
    """In closed form: five releases of mu 1/2 are one of mu sqrt(5) / 2."""
    found = cost([TRAINING, EVALUATION], "record", Patient(), 1e-5)
    assert found.together == pytest.approx(gaussian_epsilon(math.sqrt(5) / 2, 1e-5))
    assert found.each == (epsilon([TRAINING.event], 1e-5), epsilon([EVALUATION.event], 1e-5))
    assert max(found.each) < found.together < sum(found.each)


def test_one_charge_costs_together_what_it_costs_by_itself_and_none_cost_nothing() -> None:
    found = cost([TRAINING], "record", Patient(), 1e-5)
    assert found.each == (found.together,)
    assert cost([], "record", Patient(), 1e-5).together == 0


def test_a_patient_at_two_sites_pays_for_both_in_both() -> None:
    twice = cost([TRAINING, EVALUATION], "patient", Patient(1, 2), 1e-5)
    assert twice.together == pytest.approx(gaussian_epsilon(math.sqrt(5), 1e-5))


def test_what_bounds_nothing_for_a_unit_costs_it_everything() -> None:
    open_ended = Charge(NonPrivateEvent(), "record", summed=True)
    assert math.isinf(cost([TRAINING, open_ended], "record", Patient(), 1e-5).together)
    assert math.isinf(cost([TRAINING], "client", Patient(), 1e-5).together)
    assert math.isinf(cost([TRAINING], "patient", Patient(1000, 2), 1e-5).together)  # above the largest group
