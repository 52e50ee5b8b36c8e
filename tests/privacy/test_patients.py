"""A patient at several sites: against the closed form, a foreign bound, and figures worked out before."""

from __future__ import annotations

import pytest

from privacy.accountant import epsilon
from privacy.errors import PrivacyError
from privacy.events import GaussianEvent
from privacy.patients import epsilon_at_sites

DELTA = 1e-5
EVENT = GaussianEvent(1.0, 0.02, 500)


@pytest.mark.parametrize(
    ("sites", "summed", "expected"),
    [(1, False, 2.77), (1, True, 2.77), (2, False, 3.90), (3, False, 4.81), (2, True, 6.10)],
)
def test_the_figures_of_the_literature_s_setting_are_met(sites: int, summed: bool, expected: float) -> None:
    assert epsilon_at_sites(EVENT, sites, DELTA, summed=summed) == pytest.approx(expected, abs=0.01)


def test_at_one_site_a_patient_is_charged_what_a_record_is() -> None:
    for summed in (True, False):
        assert epsilon_at_sites(EVENT, 1, DELTA, summed=summed) == epsilon([EVENT], DELTA)


@pytest.mark.parametrize(("rate", "summed"), [(0.5, False), (1.0, True)])
def test_every_further_site_costs_more(rate: float, summed: bool) -> None:
    event = GaussianEvent(20.0, rate, 50)
    spent = [epsilon_at_sites(event, sites, DELTA, summed=summed) for sites in (1, 2, 3)]
    assert spent[0] < spent[1] < spent[2]


def test_without_sampling_a_sum_is_plain_group_privacy() -> None:
    event = GaussianEvent(20.0, 1.0, 50)
    assert epsilon_at_sites(event, 2, DELTA, summed=True) == epsilon([GaussianEvent(10.0, 1.0, 50)], DELTA)


def test_sampling_every_record_nearly_always_comes_to_group_privacy() -> None:
    """Continuity at q = 1: the mixture and the closed form are different code."""
    nearly = epsilon_at_sites(GaussianEvent(20.0, 0.9999, 50), 2, DELTA, summed=True)
    assert nearly == pytest.approx(epsilon([GaussianEvent(10.0, 1.0, 50)], DELTA), rel=0.01)


def test_a_delta_out_of_range_is_refused() -> None:
    with pytest.raises((PrivacyError, ValueError)):
        epsilon_at_sites(EVENT, 2, 1.5, summed=True)
