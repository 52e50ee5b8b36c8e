"""The benchmark of simulations measures what it says: all works train the same, on the same minibatches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import results
from benchmarks.simulation.__main__ import works_of
from benchmarks.simulation.ours import Cohort, whole
from benchmarks.simulation.plans import plan_of, write_sites
from benchmarks.simulation.workloads import WORKLOADS, Workload, raw_round
from federation.model.params import initial_params
from tests.worlds import load_params


def raw_change(work: Workload, start: Tensor, cohort: Cohort) -> Tensor:
    """The mean change by the plain loop, from flat params."""
    model = work.model().eval()  # of dropout no two ways draw the same
    sizes = [param.numel() for param in model.parameters()]
    pieces = zip(start.split(sizes), model.parameters(), strict=True)
    shaped = [piece.reshape(param.shape).clone() for piece, param in pieces]
    return torch.cat([part.reshape(-1) for part in raw_round(work, model, shaped, cohort.minibatches())])


@pytest.mark.parametrize("name", ["mlp", "logistic"])
def test_the_raw_loop_the_sites_and_the_cohort_change_params_by_the_same_minibatches(name: str) -> None:
    cohort = Cohort.of(WORKLOADS[name].of(3))
    by_hand = raw_change(cohort.work, cohort.params, cohort)
    assert by_hand.abs().max() > 1e-3
    for found in cohort.trained():
        assert torch.allclose(found.to(torch.float32), by_hand, atol=1e-6)


def test_a_whole_simulated_round_is_a_step_of_the_raw_loop(tmp_path: Path) -> None:
    work = WORKLOADS["mlp"].of(3)
    sites = write_sites(tmp_path / "sites", work)
    rounds = whole(sites, work, "none", rounds=22, server=1.0, keep=tmp_path / "run")
    assert rounds.spent > 0
    cohort, start = Cohort.of(work), initial_params(work.model, 7)
    params = start
    for number in range(1, 23):
        params = params + raw_change(work, params, cohort.at(number))
    assert torch.allclose(load_params(tmp_path / "run"), params, atol=1e-5)


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_work_of_a_workload_runs(name: str) -> None:
    work = replace(WORKLOADS[name], clients=3, records=4, batch=2)
    for done in works_of(work).values():
        done()
    for noise in ("site",) if work.privately else ("none", "distributed"):
        assert plan_of(work, noise).training.local_steps == work.steps


def test_a_part_of_the_results_replaces_its_own_and_keeps_the_others(tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    for title, text in (("One", "first"), ("Two", "second"), ("One", "third")):
        results.keep(title, text, page=page)
    text = page.read_text()
    assert "first" not in text
    assert text.index("third") < text.index("second")
    assert text.count("## One") == text.count("## Two") == 1
