"""Adding a kind of release is one class: here is one, and whole runs with it, without a change elsewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clients.training.work import Trainer, contribution
from federation import audit_run, simulate
from federation.config.tables import Rules
from federation.kinds.base import Parties, Work
from federation.kinds.sums import ClippedUpdate, NoisedSum
from federation.plan.plan import kind_of, parse
from privacy.mechanism.noise import SIGMA, Stream
from tests.worlds import load_params, opened, start, terms_for, text_of, write_sites

PLAN = text_of(unit="client", noise="distributed", rounds=2).replace("epsilon = 3.0", "epsilon = 10.0")


@dataclass(frozen=True)
class BoxedUpdate(NoisedSum):
    """What training changed, each coordinate clipped by itself: the site itself is what is protected.

    A box with sides 2 C / sqrt(d) lies in the ball of radius C: a site moves the sum by at most the clipping norm.
    """

    @property
    def sample_rate(self) -> float:
        """1, since the server sees which sites take part."""
        return 1.0

    def bound(self, parties: Parties) -> float:
        """Half the side of the box."""
        return self.mechanism(parties).clipping_norm / math.sqrt(parties.dimension)

    def clipped(self, parties: Parties, site: str, work: Work) -> Tensor:
        """The update, coordinate by coordinate."""
        side = self.bound(parties)
        return work.update().double().clamp(-side, side) * self.weight(parties, site)


def boxed(rules: Rules) -> Any:
    """The one place that must know of it: `federation.plan.plan.kind_of`."""
    found = kind_of(rules)
    return BoxedUpdate(rules) if isinstance(found, ClippedUpdate) else found


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("federation.plan.plan.kind_of", boxed)


def test_a_round_releases_the_sum_of_boxed_updates_and_its_noise(tmp_path: Path) -> None:
    plan = parse(PLAN)
    with opened(plan, tmp_path) as (world, sites):
        members, params = [site.member for site in sites.values()], start(plan)
        trainers = {
            name: Trainer(world.task, data, lambda _, number=number: Stream(bytes([number]) * 32))  # type: ignore[misc]
            for number, (name, data) in enumerate(world.training.items())
        }
        terms = terms_for(plan, members, params)
        assert isinstance(terms.kind, BoxedUpdate)
        total = sum(contribution(terms, name, params, trainer) for name, trainer in trainers.items())
    released = terms.kind.released(terms.parties, total, Stream(bytes(32)))
    side = terms.kind.bound(terms.parties)
    deviation = math.sqrt(terms.kind.sum_variance(terms.parties, len(members)))
    assert deviation == pytest.approx(math.sqrt(3) * SIGMA * terms.kind.mechanism(terms.parties).step)
    assert released.shape == params.shape
    assert bool((released.abs() <= 3 * side + 8 * deviation).all())  # false alarm: 1e-14
    assert terms.kind.weight(terms.parties, "ash") == 1.0


def test_one_site_moves_the_sum_by_at_most_the_clipping_norm() -> None:
    class Wild:
        def update(self) -> Tensor:
            return torch.tensor([1e9, -1e9, 0.0, 1e-3])

    kind = BoxedUpdate(parse(PLAN))
    vector = kind.clipped(Parties({"ash": 40, "birch": 48, "cedar": 56}, 3, 4), "ash", Wild())  # type: ignore[arg-type]
    assert vector.tolist() == pytest.approx([0.5, -0.5, 0.0, 1e-3])
    assert vector.norm() <= 1.0


@pytest.mark.parametrize("engine", ["vectorized", "protocol"])
def test_a_run_with_it_is_charged_reported_and_audited(engine: Any, tmp_path: Path) -> None:
    sites = write_sites(tmp_path / "sites")
    report = simulate(parse(PLAN), sites, tmp_path / "run", engine=engine)
    assert report.privacy.epsilon == pytest.approx(10.0, abs=0.01)
    assert bool(load_params(tmp_path / "run").isfinite().all())
    assert audit_run(tmp_path / "run").verdict == "pass"
