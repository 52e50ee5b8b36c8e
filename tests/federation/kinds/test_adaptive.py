"""A clipping norm that moves: one bit more in the noised vector, a guarantee that knows of no norm (DP-76)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dp_accounting import GaussianDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant
from torch import Tensor

from clients.data.folders import find_sites
from clients.training.work import SiteWork, Trainer
from federation import audit_run, simulate
from federation.errors import InputError
from federation.kinds.adaptive import AdaptiveUpdate
from federation.kinds.base import Parties
from federation.plan.plan import Plan, parse
from federation.report.report import Report
from federation.round.messages import Member
from federation.round.sent import first_norm, joined, next_norm, require_reachable
from federation.round.terms import Terms
from privacy.errors import FaultyServer, UnsafeParameters
from privacy.mechanism.gaussian import FLOAT_SLACK
from privacy.mechanism.noise import Stream
from simulations.sums.making import adding_of
from simulations.sums.works import Chance
from simulations.world import read_world
from tests.worlds import (
    load_params,
    opened,
    plan_of,
    rows_of,
    start,
    terms_for,
    text_of,
    write_csv,
    write_sites,
)

MOVING: dict[str, object] = {
    "privacy.clipping_quantile": 0.5,
    "privacy.clipping_bounds": [0.01, 10.0],
    "privacy.clipping_rate": 0.2,
    "privacy.clipping_noise": 0.5,
}
CLAIM: dict[str, Any] = {"unit": "client", "noise": "distributed", "rounds": 4, "epsilon": 20.0}
FOUR = Parties(dict.fromkeys(("ash", "birch", "cedar", "dogwood"), 40), 4, 6)


def moving(changes: dict[str, object] | None = None, **more: Any) -> Plan:
    asked = {key: value for key, value in (MOVING | (changes or {})).items() if value is not None}
    return plan_of(asked, **CLAIM | more)


class Changed:
    """The work of a site in which training changed just this."""

    def __init__(self, update: Tensor, norm: float) -> None:
        self._update, self.clipping_norm = update, norm

    def update(self) -> Tensor:
        return self._update


def sent_by(kind: AdaptiveUpdate, update: Tensor, norm: float) -> Tensor:
    return kind.clipped(FOUR, "ash", Changed(update, norm))  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", [0.01, 0.3, 1.0, 7.7, 10.0])
def test_update_and_bit_are_together_no_longer_than_the_first_norm_whatever_the_norm_of_the_round(
    norm: float,
) -> None:
    kind, source = AdaptiveUpdate(moving()), np.random.default_rng(3)  # noqa: TID251 - not of privacy
    first = kind.bound(FOUR)
    for scale in (0.0, 1e-30, 1e-3, 1.0, 1e6, 1e30, math.inf, math.nan):
        update = torch.from_numpy(source.normal(size=6)).float() * scale
        sent = sent_by(kind, update, norm)
        assert sent.shape == (7,)
        assert float(sent.norm()) <= first * (1 + FLOAT_SLACK)  # what one site can be there for, or not
        length = float(update.double().norm())
        assert (float(sent[-1]) > 0) == (length <= norm)
    longest = sent_by(kind, torch.full((6,), 1e6), norm)
    assert float(longest.norm()) == pytest.approx(first, rel=1e-9)  # nothing of the noise is wasted


def test_the_noise_is_that_of_the_two_releases_of_andrew_et_al() -> None:
    plan = moving()
    kind, z = AdaptiveUpdate(plan), plan.kind.noise_multiplier
    deviation = 0.5 * 4  # on the sum of the bits of four sites
    left = (z**-2 - (2 * deviation) ** -2) ** -0.5
    assert kind.update_noise(4) == pytest.approx(left)
    sent, bit = kind.shares(FOUR)
    assert sent == pytest.approx(z / left)
    assert bit == pytest.approx(z / (2 * deviation))
    accountant = PLDAccountant()
    for multiplier in (left, 2 * deviation):  # as two mechanisms of their own, by another's accountant
        accountant.compose(SelfComposedDpEvent(GaussianDpEvent(multiplier), plan.federation.rounds))
    assert accountant.get_epsilon(1e-5) == pytest.approx(20.0, rel=0.01)
    assert accountant.get_epsilon(1e-5) <= 20.0 * (1 + 1e-3)


def test_the_mean_is_the_update_in_units_of_the_norm_and_the_share_of_sites_within_it() -> None:
    kind = AdaptiveUpdate(moving())
    rows = [torch.full((6,), value) for value in (0.1, 0.2, 5.0, -0.1)]
    total = sum((sent_by(kind, row, 1.0) for row in rows), torch.zeros(7, dtype=torch.float64))
    mean = kind.mean(FOUR, total, tuple(FOUR.sizes))
    long = 1 / math.sqrt(6)  # the one that was clipped
    assert mean[:-1].tolist() == pytest.approx([(0.1 + 0.2 + long - 0.1) / 4] * 6, rel=1e-6)
    assert float(mean[-1]) == pytest.approx(0.75)


def test_a_bit_that_takes_all_of_the_noise_is_refused() -> None:
    """One twentieth of n, at four sites, fails at z = 1: (2 sigma_b)^-2 = 6.25."""
    plan = moving({"privacy.clipping_noise": 0.05}, minimum=4)
    with pytest.raises(UnsafeParameters, match="takes all of the noise"):
        _ = plan.kind.noise_multiplier
    with pytest.raises(UnsafeParameters, match="clipping_noise"):
        _ = plan.kind.event
    assert AdaptiveUpdate(moving({"privacy.clipping_noise": 0.05}, minimum=400)).noise_multiplier > 0


@pytest.mark.parametrize(
    ("changes", "more", "key"),
    [
        ({"privacy.clipping_rate": None}, {}, "clipping_rate"),
        ({"privacy.clipping_noise": None}, {}, "clipping_noise"),
        ({}, {"unit": "record"}, "clipping_quantile"),
        ({"privacy.clipping_bounds": [2.0, 10.0]}, {}, "clipping_norm"),
        ({"privacy.clipping_bounds": [0.5, 0.5]}, {"clipping_norm": 0.5}, "clipping_bounds"),
        ({"privacy.clipping_bounds": [-1.0, 2.0]}, {}, "clipping_bounds"),
        ({"privacy.clipping_bounds": [1.0]}, {}, "clipping_bounds"),
        ({"privacy.clipping_quantile": 1.0}, {}, "clipping_quantile"),
        ({"privacy.clipping_quantile": math.nan}, {}, "clipping_quantile"),
    ],
)
def test_a_plan_whose_norm_cannot_move_so_is_refused_by_key(
    changes: dict[str, object], more: dict[str, Any], key: str
) -> None:
    with pytest.raises(InputError, match=f"privacy.{key}"):
        moving(changes, **more)


def test_a_plan_without_it_keeps_its_digest() -> None:
    text = text_of(unit="client", noise="distributed")
    assert b"clipping_quantile" not in parse(text).canonical()
    assert Plan.from_canonical(moving().canonical()) == moving()
    assert parse(moving().to_toml()).digest == moving().digest


def test_a_site_refuses_a_norm_that_no_sums_lead_to() -> None:
    plan, members = moving(), tuple(Member(site, 40) for site in ("ash", "birch", "cedar"))
    terms, first = Terms(plan, bytes(16), 1, 1, members, 6), first_norm(plan.privacy)

    def told(number: int, norm: float) -> None:
        require_reachable(terms.again(number, 1), joined(torch.zeros(6), norm))

    assert first == 1.0
    told(1, 1.0)
    told(3, math.exp(0.2))
    told(3, math.exp(-0.2))
    for number, norm in ((1, 1.01), (1, 0.99), (3, math.exp(0.21)), (3, math.exp(-0.21)), (2, math.nan)):
        with pytest.raises(FaultyServer, match="norm that does not follow"):
            told(number, norm)
    with pytest.raises(FaultyServer):
        told(4000, 11.0)  # beyond the bounds, however many rounds there were


def test_the_norm_converges_to_the_quantile_of_the_updates() -> None:
    """Sites whose updates are 1, 2, ..., 100 long: three quarters are within 75 (the right sign, up and down)."""
    lengths = torch.arange(1, 101).double()
    for begin in (1.0, 1000.0):
        plan = moving(
            {"privacy.clipping_quantile": 0.75, "privacy.clipping_bounds": [0.5, 2000.0]}, clipping_norm=begin
        )
        norm = begin
        for _ in range(300):
            norm = next_norm(plan.privacy, norm, float((lengths <= norm).double().mean()))
        assert 70 < norm < 81


def test_a_simulation_ends_near_the_median_of_what_its_sites_change(tmp_path: Path) -> None:
    """From ten times too long. The params hardly move, so the sites' updates are the same in every round."""
    sites = 40
    for number in range(sites):
        write_csv(tmp_path / "sites" / f"s{number:02}.csv", rows_of(number % 7, 12 + number))
    changes: dict[str, object] = {"privacy.clipping_noise": 0.1, "server.learning_rate": 1e-6}
    plan = moving(changes, epsilon=90.0, rounds=80, clipping_norm=10.0, minimum=40)
    run = tmp_path / "run"
    report = simulate(plan, tmp_path / "sites", run, baseline=False)
    world = read_world(plan, find_sites(tmp_path / "sites").sites)
    terms, last = terms_for(plan, world.members, start(plan)), report.rounds[-1].clipping_norm
    works = adding_of(plan, world).works(
        terms, terms.names, joined(start(plan), last), Chance(terms, terms.names)
    )
    lengths = torch.cat([rows.double().norm(dim=1) for _, rows in works.updates()])
    assert last is not None
    assert 0.25 < float((lengths <= last).double().mean()) < 0.75  # noise of .1 a round is on the share
    assert report.rounds[0].clipping_norm == 10.0 > 3 * last


@pytest.mark.parametrize(("engine", "noise"), [("vectorized", "site"), ("flower", "central")])
def test_a_run_is_charged_as_one_release_a_round_and_audited(engine: Any, noise: str, tmp_path: Path) -> None:
    sites = write_sites(tmp_path / "sites")
    report = simulate(moving(noise=noise), sites, tmp_path / "run", engine=engine, baseline=False)
    require_told(report, tmp_path / "run")


def require_told(report: Report, run: Path) -> None:
    assert report.privacy.epsilon is not None
    assert report.privacy.epsilon <= 20.0
    told = report.privacy.clipping
    assert told is not None
    assert told.update_noise_multiplier > (report.privacy.noise_multiplier or 0)
    norms = [line.clipping_norm for line in report.rounds]
    assert norms[0] == 1.0
    assert len(set(norms)) > 1
    assert told.last == norms[-1]
    assert bool(load_params(run).isfinite().all())
    audit = audit_run(run)
    assert audit.verdict == "pass", audit.findings


def test_sums_prove_the_norms_and_another_one_in_a_receipt_is_found(tmp_path: Path) -> None:
    run = tmp_path / "run"
    report = simulate(moving(), write_sites(tmp_path / "sites"), run, engine="protocol", baseline=False)
    require_told(report, run)
    path = run / "receipts.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    lines[1]["clipping_norm"] *= 1.01
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = {each.id for each in audit_run(run).findings if each.severity == "critical"}
    assert "clipping-not-followed" in found


def test_an_audit_names_the_norm_where_a_coordinator_sends_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that every site believes: as if none of them were within the norm."""
    with monkeypatch.context() as lying:
        lying.setattr(
            "federation.sums.state.next_norm", lambda privacy, norm, _: next_norm(privacy, norm, 0.0)
        )
        simulate(
            moving(), write_sites(tmp_path / "sites"), tmp_path / "run", engine="protocol", baseline=False
        )
    found = [
        (each.id, each.detail) for each in audit_run(tmp_path / "run").findings if each.severity == "critical"
    ]
    (only,) = found
    assert only[0] == "clipping-not-followed"
    assert "the next norm to clip to does not" in only[1]


def test_the_cohort_as_one_program_sends_what_each_site_sends(tmp_path: Path) -> None:
    plan = moving(local_steps=3)
    with opened(plan, tmp_path) as (world, sites):
        adding, sent = adding_of(plan, world), joined(start(plan), 0.2)
        terms = terms_for(plan, [site.member for site in sites.values()], start(plan))
        names = terms.parameters.members
        works = adding.works(terms, names, sent, Chance(terms, names))
        assert isinstance(terms.kind, AdaptiveUpdate)
        rows = torch.cat([part for _, part in terms.kind.clipped_rows(terms.parties, names, works)])
        for name, row in zip(names, rows, strict=True):
            trainer = Trainer(world.task, world.training[name], lambda _: Stream(bytes(32)))
            work = SiteWork(terms, name, sent, trainer, Stream(bytes(32)))
            assert row.tolist() == pytest.approx(
                terms.kind.clipped(terms.parties, name, work).tolist(), abs=1e-6
            )


def test_the_released_sum_is_read_with_the_noise_that_is_on_it() -> None:
    kind = AdaptiveUpdate(moving())
    total = kind.codec(FOUR).to_ring(np.zeros(7, np.int64))
    released = kind.released(FOUR, total, Stream(bytes(32)))
    assert released.shape == (7,)
    assert not released.any()
