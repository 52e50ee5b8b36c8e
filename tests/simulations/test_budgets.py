"""The budget of a plan: the figures agree with the accountant, with each other and with the claim."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import lru_cache
from typing import Any

import pytest

from privacy.accounting.events import GaussianEvent
from privacy.accounting.filters import Budget, Filter, admit
from privacy.accounting.pld import epsilon
from privacy.errors import UnsafeParameters
from simulations.budgets import budget_of
from tests import ROOT
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
    assert abs(budget["accountants"]["audit"] - budget["epsilon"]) < 1e-3, "the auditor's own accountant"
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


@pytest.mark.parametrize("noise", ["distributed", "site"])
def test_a_limit_that_is_the_plans_epsilon_holds_it_and_a_slightly_larger_one_leaves_room(noise: str) -> None:
    budget = found(noise)
    rule, event = budget["filter"], GaussianEvent(budget["noise_multiplier"], 0.5, 50)
    assert 1 < rule["load"] < 1.8
    assert budget["epsilon"] < rule["room_from"] < 1.3 * budget["epsilon"]
    frozen = Filter(rule["order"])
    assert admit([], event, Budget(budget["epsilon"], 1e-5), frozen).by == "plan"
    assert admit([], event, Budget(rule["room_from"] * (1 - 1e-6), 1e-5), frozen).by == "plan"
    roomy = Budget(rule["room_from"] * (1 + 1e-3), 1e-5)
    assert admit([], event, roomy, frozen).by == "filter"
    assert admit([event], GaussianEvent(1000.0, 0.5, 1), roomy, frozen).by == "filter"


def test_without_sampling_a_limit_that_is_the_plans_epsilon_is_used_up_exactly() -> None:
    budget = budget_of(plan_of(noise="central", unit="client", sample_rate=0.5, rounds=50))
    assert budget["filter"]["type"] == "gdp"
    assert budget["filter"]["load"] == pytest.approx(1, rel=1e-9)
    assert budget["filter"]["room_from"] == pytest.approx(budget["epsilon"], rel=1e-9)


def test_the_units_are_those_of_the_smallest_cohort_and_what_it_says_is_json() -> None:
    budget = found("distributed")
    assert [(line["unit"], line["sites"]) for line in budget["units"]] == [
        ("record", 1), ("patient", 1), ("patient", 3), ("client", 1),
    ]  # fmt: skip
    assert budget["units"][2]["epsilon"] == budget["patient_at_sites"]["3"]
    assert json.loads(json.dumps(budget, allow_nan=False)) == budget


def test_for_clients_sampling_of_records_amplifies_nothing() -> None:
    budget = budget_of(plan_of(noise="central", unit="client", sample_rate=0.5, rounds=50))
    assert budget["sample_rate"] == 1.0


def test_a_budget_loads_neither_torch_nor_opacus() -> None:
    """They take longer than all the rest, and more memory."""
    code = (
        "import sys; from tests.plans import plan_of; from simulations.budgets import budget_of;"
        "budget_of(plan_of(rounds=3)); sys.exit(bool({'torch', 'opacus'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


def test_a_plan_without_privacy_has_no_budget() -> None:
    with pytest.raises(UnsafeParameters, match="has no budget"):
        budget_of(plan_of())


def test_every_unit_has_a_line_of_its_own() -> None:
    budget = found("distributed")
    lines = {(line["unit"], line["records"], line["sites"]): line["epsilon"] for line in budget["units"]}
    assert lines["record", 1, 1] == lines["patient", 1, 1] == budget["epsilon"]
    assert lines["client", 1, 1] is None, "a plan for records bounds nothing for a whole site"
    worst = max(sites for unit, _, sites in lines if unit == "patient")
    assert worst == 3, "the smallest cohort that the plan allows"
    assert lines["patient", 1, worst] == budget["patient_at_sites"]["3"] > budget["epsilon"]


def test_a_record_of_a_client_costs_more_than_the_client() -> None:
    budget = budget_of(plan_of(noise="central", unit="client", rounds=50))
    lines = {line["unit"]: line["epsilon"] for line in budget["units"]}
    assert lines["client"] == budget["epsilon"] < lines["record"]


def test_the_filter_counts_more_than_the_plan_spends_where_records_are_sampled() -> None:
    assert 1 < found("distributed")["filter"]["load"] < 1.5
    whole = budget_of(plan_of(noise="distributed", sample_rate=1.0, rounds=50))
    assert whole["filter"]["type"] == "rdp", "a site that foresees no sampling says so in its own file"
    assert 1 < whole["filter"]["load"] < 1.2
