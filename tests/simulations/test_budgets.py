"""The budget of a plan: the figures agree with the accountant, with each other and with the claim."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest

from privacy.accountant import epsilon
from privacy.errors import UnsafeParameters
from privacy.events import GaussianEvent
from simulations.budgets import budget_of
from tests.worlds import plan_of


@lru_cache
def found(noise: str) -> dict[str, Any]:
    """The budget of a run that samples half of its records fifty times."""
    return budget_of(plan_of(noise=noise, sample_rate=0.5, rounds=50))


def test_the_whole_plan_spends_what_it_claims_and_hardly_less() -> None:
    budget = found("distributed")
    event = GaussianEvent(budget["noise_multiplier"], 0.5, 50)
    assert budget["epsilon"] == budget["accountants"]["pld"] == epsilon([event], 1e-5)
    assert 2.98 < budget["epsilon"] <= 3.0
    assert budget["accountants"]["rdp"] > budget["epsilon"], "the looser accountant is the cross-check"
    assert (budget["delta"], budget["steps"], budget["sample_rate"]) == (1e-5, 50, 0.5)


def test_epsilon_grows_from_round_to_round_up_to_the_whole() -> None:
    budget = found("distributed")
    rounds = [entry["round"] for entry in budget["rounds"]]
    spent = [entry["epsilon"] for entry in budget["rounds"]]
    assert rounds == list(range(1, 51))
    assert spent == sorted(spent)
    assert spent[-1] == pytest.approx(budget["epsilon"], rel=1e-3)
    z = budget["noise_multiplier"]
    assert spent[24] == pytest.approx(epsilon([GaussianEvent(z, 0.5, 25)], 1e-5), rel=1e-3)


def test_noise_at_the_site_counts_every_local_step() -> None:
    budget = budget_of(plan_of(noise="site", sample_rate=0.5, rounds=10, local_steps=5))
    assert budget["steps"] == 50
    assert len(budget["rounds"]) == 10
    assert budget["rounds"][-1]["epsilon"] == pytest.approx(budget["epsilon"], rel=1e-3)


def test_a_patient_at_several_sites_pays_more_under_one_noise_for_all() -> None:
    summed = found("distributed")
    at_sites = found("site")
    assert summed["noise_multiplier"] == at_sites["noise_multiplier"]
    for budget in (summed, at_sites):
        patients = [budget["patient_at_sites"][key] for key in ("1", "2", "3")]
        assert patients[0] == budget["epsilon"]
        assert patients[0] < patients[1] < patients[2]
    assert summed["patient_at_sites"]["2"] > at_sites["patient_at_sites"]["2"]


def test_for_clients_sampling_of_records_amplifies_nothing() -> None:
    budget = budget_of(plan_of(noise="central", unit="client", sample_rate=0.5, rounds=50))
    assert budget["sample_rate"] == 1.0


def test_a_plan_without_privacy_has_no_budget() -> None:
    with pytest.raises(UnsafeParameters, match="has no budget"):
        budget_of(plan_of())
