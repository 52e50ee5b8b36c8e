"""Two sites: a run like any other, marked as one in which each sees the other's part of the sum."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from federation.audit.examine import audit
from federation.errors import FederationError
from federation.plan.plan import parse
from federation.report import wording
from federation.round.cohort import required_survivors
from privacy.errors import PrivacyError, UnsafeParameters
from simulations.budgets import budget_of
from simulations.simulate import simulate
from tests.worlds import load_params, plan_of, text_of, write_sites

TWO = {"cohort.minimum": 2, "colluders": 0, "dropouts": 0, "rounds": 2}
SAID = "each site sees the other's part of the sum"


@pytest.mark.parametrize(
    ("noise", "kept"), [("site", "Only the noise that each adds itself"), ("none", "Nothing is hidden")]
)
def test_two_sites_run_by_the_machines_of_a_real_run_and_the_page_says_what_each_sees(
    tmp_path: Path, noise: str, kept: str
) -> None:
    sites, out = write_sites(tmp_path / "sites", 2), tmp_path / "run"
    plan = parse(text_of(TWO, noise=noise))
    report = simulate(plan, sites, out, engine="protocol", baseline=False, progress=lambda *_: None)
    assert [(line.cohort, line.survivors) for line in report.rounds] == [(2, 2), (2, 2)]
    told = " ".join(wording.assumptions(report))
    assert SAID in told and kept in told
    assert kept in (out / "report.html").read_text()
    assert audit(out).verdict == "pass"
    if noise == "none":
        quick = tmp_path / "quick"
        simulate(plan, sites, quick, baseline=False, progress=lambda *_: None)
        assert torch.allclose(load_params(out), load_params(quick), atol=1e-5)
    else:
        assert SAID in budget_of(plan)["two_sites"]


def test_of_three_sites_nothing_is_said(tmp_path: Path) -> None:
    sites = write_sites(tmp_path / "sites")
    report = simulate(parse(text_of({**TWO, "cohort.minimum": 3})), sites, tmp_path / "run", baseline=False)
    assert wording.of_two(report) == []


@pytest.mark.parametrize("noise", ["distributed", "central"])
def test_noise_that_is_not_whole_in_each_part_is_refused_for_two(noise: str) -> None:
    with pytest.raises((FederationError, PrivacyError), match=r"set it to 3 or more"):
        parse(text_of(TWO, noise=noise))


@pytest.mark.parametrize("noise", ["distributed", "site", "none"])
def test_no_terms_are_made_for_two_under_a_plan_for_more(noise: str) -> None:
    plan = plan_of({**TWO, "cohort.minimum": 3}, noise=noise)
    assert required_survivors(plan, 3) == 3
    with pytest.raises(UnsafeParameters, match="a cohort of two sites"):
        required_survivors(plan, 2)
