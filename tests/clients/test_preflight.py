"""What is known of a plan, and of a site, before any data moves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clients.join import open_site
from clients.preflight import preflight
from federation.errors import DataError, PlanError
from privacy.errors import BudgetExceeded, LedgerCorrupt, PolicyViolation, UnsafeParameters
from tests.clients.sites import RUN, make_plan, make_terms
from tests.clients.test_join import ROWS, SITE, signed_for, write_site


@pytest.mark.parametrize("noise", ["distributed", "none"])
def test_the_facts_of_a_plan(noise: str) -> None:
    plan = make_plan("record", noise, minimum=5, colluders=1, dropouts=3)
    facts = preflight(plan, None)
    assert facts["plan_digest"] == plan.digest
    assert (facts["name"], facts["rounds"], facts["model_parameters"]) == ("small", 4, 6)
    assert facts["private"] is (noise != "none")
    assert (facts["unit"], facts["noise"]) == ("record", noise)
    # Of five sites with one colluder, four shares unmask: one dropout survives, though the plan wishes for three.
    assert facts["smallest_cohort"] == {"sites": 5, "shares_that_unmask": 4, "dropouts_survived": 1}
    if noise == "none":
        assert facts["epsilon"] is facts["delta"] is facts["noise_multiplier"] is None
        assert facts["upload_bytes_per_round"] == 6 * 28 // 8  # 24 bits, 3 for five sites, 1 for the sign
    else:
        assert (facts["epsilon"], facts["delta"]) == (8.0, 1e-5)
        assert 0.5 < facts["noise_multiplier"] < 5
    assert "site" not in facts
    assert json.loads(json.dumps(facts)) == facts


def test_a_plan_that_no_round_could_agree_on_is_refused() -> None:
    with pytest.raises(UnsafeParameters, match="parameters are too many"):
        preflight(make_plan("client", "site", epsilon=0.03, model="mlp"), None)


def test_the_facts_of_a_site_that_has_never_joined(tmp_path: Path) -> None:
    facts = preflight(make_plan(epsilon=3.0), write_site(tmp_path))["site"]
    assert (facts["id"], facts["records"], facts["epsilon_max"]) == ("berlin", 24, 8.0)
    assert 2.9 < facts["epsilon_after_this_plan"] <= 3.0
    assert not (tmp_path / "journal.sqlite").exists()  # looking leaves no trace


def test_what_earlier_runs_spent_counts_and_is_refused_when_it_is_too_much(tmp_path: Path) -> None:
    path = write_site(tmp_path)
    first, large = make_plan(epsilon=4.0), make_plan(epsilon=7.0)
    site = open_site(path)
    site.join(RUN, first, signed_for(tmp_path))
    before = len(site.journal.entries())
    facts = preflight(make_plan(epsilon=3.0), path)["site"]
    assert 4.0 < facts["epsilon_after_this_plan"] < 7.0  # composition is better than addition
    with pytest.raises(BudgetExceeded, match="is spent"):
        preflight(large, path)
    assert len(site.journal.entries()) == before  # asking is no refusal to write down
    with pytest.raises(BudgetExceeded):
        site.join(bytes(16), large, signed_for(tmp_path))  # and a real run ends the same way


def test_a_site_without_limits_has_no_epsilon_to_tell(tmp_path: Path) -> None:
    text = SITE.replace("epsilon_max = 8.0", "epsilon_max = inf").replace("distributed", "none")
    facts = preflight(make_plan("record", "none"), write_site(tmp_path, text))["site"]
    assert facts["records"] == 24
    assert "epsilon_after_this_plan" not in facts


def test_policy_is_asked_before_the_data_are_read(tmp_path: Path) -> None:
    path = write_site(tmp_path)
    (tmp_path / "berlin.csv").unlink()
    with pytest.raises(PolicyViolation):
        preflight(make_plan("record", "central"), path)
    with pytest.raises(DataError):
        preflight(make_plan(), path)


def test_bad_data_and_a_bad_site_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pressure"):
        preflight(make_plan(), write_site(tmp_path, rows=["33,,yes", *ROWS]))
    with pytest.raises(PlanError, match="colour"):
        preflight(make_plan(), write_site(tmp_path, SITE + 'colour = "blue"\n'))


def test_a_journal_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = write_site(tmp_path)
    open_site(path).close()
    path.write_text(SITE.replace('pool = "patients"', 'pool = "others"'))
    with pytest.raises(LedgerCorrupt, match="another site or pool"):
        preflight(make_plan(), path)


def test_the_upload_is_what_a_round_of_the_smallest_cohort_sends() -> None:
    plan = make_plan("client", "distributed")
    terms = make_terms(plan)
    assert preflight(plan, None)["upload_bytes_per_round"] == (6 * terms.codec.ring_bits + 7) // 8


def test_the_budget_is_asked_before_the_data_are_read(tmp_path: Path) -> None:
    path = write_site(tmp_path, SITE.replace("epsilon_max = 8.0", "epsilon_max = 9.0"))
    site = open_site(path)
    site.join(RUN, make_plan(), signed_for(tmp_path))
    site.close()
    (tmp_path / "berlin.csv").unlink()
    with pytest.raises(BudgetExceeded):
        preflight(make_plan(), path)
    with pytest.raises(DataError):
        preflight(make_plan(epsilon=1.0), path)


def test_the_size_that_a_site_declares_decides_the_ring(tmp_path: Path) -> None:
    small, plan = preflight(make_plan(), None), make_plan()
    large = preflight(plan, write_site(tmp_path, SITE.replace("size = 30", "size = 30000")))
    terms = make_terms(plan, {"amsterdam": 30000, "berlin": 30000, "cleveland": 30000})
    assert large["upload_bytes_per_round"] == (6 * terms.codec.ring_bits + 7) // 8
    assert large["upload_bytes_per_round"] > small["upload_bytes_per_round"]
