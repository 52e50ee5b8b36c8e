"""A published evaluation: one noised release at the end, charged to those held out, drawn once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clients.policy import Policy
from federation.errors import PlanError
from federation.kinds.figures import FIGURES
from federation.ledger.export import load_entries
from federation.plan.plan import Plan, parse
from federation.round.messages import Member
from federation.round.terms import Terms, evaluation_run
from federation.sums.figures import published
from privacy.accounting.pld import epsilon
from privacy.errors import BudgetExceeded
from privacy.ledger.state import fold
from privacy.mechanism.noise import SIGMA, Stream
from privacy.wire import digest
from server.run_folder import RunFolder
from simulations.simulate import Engine, simulate
from tests.clients.journal.journals import spent
from tests.worlds import opened, plan_of, text_of, write_sites

MEMBERS = tuple(Member(f"{number:02d}", 400) for number in range(5))


def text_with(spent: float = 2.0, **values: object) -> str:
    return text_of(noise="distributed", **values).replace(
        "holdout = 0.25", f"holdout = 0.25\nepsilon = {spent}"
    )


def terms_of(plan: Plan) -> Terms:
    return Terms(plan, bytes(16), plan.federation.rounds + 1, 1, MEMBERS, dimension=8)


def ring_sum(terms: Terms, right: float, wrong: float, loss: float, seed: int) -> Any:
    """The sum that five sites would make of these figures, with noise from a fixed key."""
    shares = [torch.tensor([right, wrong, loss], dtype=torch.float64) / 5] * 5
    total = np.zeros(FIGURES, np.uint64)
    for number, share in enumerate(shares):
        stream = Stream(digest("tests/figures", f"{seed}/{number}".encode()))
        assert terms.mechanism is not None
        total += terms.codec.to_ring(terms.codec.encode(share) + terms.mechanism.noise(stream))
    return total


def read(terms: Terms, total: Any) -> torch.Tensor:
    return terms.kind.released(terms.parties, total, Stream(bytes(32)))


def test_figures_come_back_within_their_standard_error() -> None:
    """300 draws: the mean within 5 standard errors of the mean, the spread within 15 %: about 3.7 of its own."""
    terms = terms_of(parse(text_with()))
    found = [published(terms, read(terms, ring_sum(terms, 1200, 300, 250, seed)), 5) for seed in range(300)]
    accuracy = np.array([one["accuracy"] for one in found], dtype=float)
    said = np.array([one["standard_error"] for one in found], dtype=float)
    assert abs(accuracy.mean() - 0.8) < 5 * said.mean() / 300**0.5
    assert 0.85 < accuracy.std() / said.mean() < 1.15
    assert np.mean([one["records"] for one in found]) == pytest.approx(1500, rel=0.02)
    assert np.mean([one["loss"] for one in found]) == pytest.approx(4.0 * 250 / 1500, rel=0.05)


def test_figures_that_the_noise_hides_are_not_told() -> None:
    terms = terms_of(parse(text_with(0.05)))
    told = published(terms, read(terms, ring_sum(terms, 20, 10, 5, 0)), 5)
    assert told == {"records": None, "accuracy": None, "loss": None, "standard_error": None}


def test_the_noise_is_what_the_charge_says() -> None:
    plan = parse(text_with())
    terms = terms_of(plan)
    assert terms.mechanism is not None and terms.mechanism.event == plan.figures.event
    assert epsilon([plan.figures.event], 1e-5) <= 2.0
    # Noise that the guarantee counts on, over what one record moves on the grid, rounding included.
    sensitivity = terms.mechanism.clipping_norm / terms.mechanism.step + FIGURES**0.5
    noise = SIGMA * terms.mechanism.shares**0.5
    assert noise / sensitivity == pytest.approx(plan.figures.event.noise_multiplier, rel=1e-4)


@pytest.mark.parametrize("engine", ["vectorized", "protocol"])
def test_an_evaluation_is_charged_to_the_held_out_records_and_told_once(
    tmp_path: Path, engine: Engine
) -> None:
    """DP-55."""
    text = text_with(rounds=4)
    plan, sites = parse(text), write_sites(tmp_path / "sites", records=300)

    def nothing(*_: object) -> None:
        pass

    report = simulate(plan, sites, tmp_path / "run", engine=engine, progress=nothing)
    told = report.to_json()["evaluation"]["published"]
    assert told["records"] == pytest.approx(3 * 77, rel=0.5)
    folder = RunFolder(tmp_path / "run", plan)
    assert folder.evaluation() == told
    lines = [json.loads(line) for line in (tmp_path / "run" / "receipts.jsonl").read_text().splitlines()]
    assert sum("evaluation" in line for line in lines) == 1 and lines[-1]["closed"]
    for path in (tmp_path / "run" / "journals").glob("*.sqlite"):
        account = fold(load_entries(path))
        name = next(run for run in account.runs if run.endswith("/evaluation"))
        assert name == evaluation_run(lines[-1]["run"])
        run = account.runs[name]
        assert run.charge.event == plan.figures.event
        assert len(run.begun) == len(run.released) == 1 and run.closed
        spent = account.charged("record")
        assert len(spent) == 2 and epsilon(spent, 1e-5) > epsilon(spent[:1], 1e-5)


@pytest.mark.parametrize(
    ("values", "said"),
    [({"noise": "none"}, "means nothing"), ({"unit": "client", "noise": "distributed"}, "as a whole")],
)
def test_a_plan_that_cannot_protect_its_figures_is_refused(values: Mapping[str, object], said: str) -> None:
    text = text_of(**values).replace("holdout = 0.25", "holdout = 0.25\nepsilon = 1.0")
    with pytest.raises(PlanError, match=said):
        parse(text)


def test_a_plan_without_it_has_no_round_after_the_last() -> None:
    assert plan_of(noise="distributed").evaluation.epsilon is None
    assert plan_of(noise="distributed").digest == parse(text_of(noise="distributed")).digest


def test_a_site_that_has_no_room_for_the_evaluation_charges_nothing_at_all(tmp_path: Path) -> None:
    """DP-55: both or neither. The refusal is on record, and the budget is as it was."""
    text = text_with(rounds=4)
    plan = parse(text)
    bare = parse(text.replace("epsilon = 2.0\n", ""))
    with opened(plan, tmp_path) as (world, sites):
        site = sites["ash"]
        tight = Policy.for_plan(bare).model_copy(update={"plans": Policy.for_plan(plan).plans})
        site.policy = lambda: tight  # exactly the training, and nothing for the figures
        with pytest.raises(BudgetExceeded, match="per record"):
            site.join(bytes(16), plan, world.roster)
        kinds = [entry.kind for entry in site.journal.entries()]
        assert kinds.count("refuse") == 1 and "reserve" not in kinds
        assert spent(site.journal, delta=1e-5) == 0.0
        other = parse(text.replace("epsilon = 2.0\n", ""))
        site.policy = lambda: Policy.for_plan(other)
        site.join(bytes(range(16)), other, world.roster)  # the failing control: without figures there is room
        assert [entry.kind for entry in site.journal.entries()].count("reserve") == 1
