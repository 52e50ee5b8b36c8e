"""Rounds of groups: each group's own sum, over a network that misbehaves, with sites that do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

from clients import release
from clients.data.folders import find_sites
from clients.participant import settle
from clients.policy import Policy
from clients.site import Site
from federation.audit.examine import audit
from federation.errors import TooFewSurvivors
from federation.kinds.allowed import Unlikely
from federation.plan.plan import Plan, parse
from federation.report.receipt import Receipt
from federation.round.groups import partition
from federation.round.messages import Frame, Invitation, Kind, Member
from federation.round.terms import Terms
from federation.sums.state import ServerState, begin
from privacy.errors import LedgerRefusal, PolicyViolation
from privacy.mechanism.encoding import RingVector
from privacy.roster import Entry, Roster
from privacy.wire import digest
from server.playing import ATTEMPTS, FIRST
from server.run_folder import RunFolder
from simulations.simulate import Engine, simulate
from simulations.world import World, open_sites, read_world
from tests.federation.audit.audited import ids
from tests.federation.audit.audited import receipts as receipts_of
from tests.stories.network import Decide, Fate, Network
from tests.worlds import load_params, roster_of, rounds_of, rows_of, start, text_of, write_csv

SITES = 12
ALL = tuple(f"s{number:02d}" for number in range(SITES))
RULES = {"secure_aggregation.groups": 3, "server.combine": "median", "cohort.minimum": SITES}


def text(**changes: object) -> str:
    return text_of(RULES, changes)


def write_forest(folder: Path) -> Path:
    for number, name in enumerate(ALL):
        write_csv(folder / f"{name}.csv", rows_of(number % 5, 40 + number))
    return folder


@contextmanager
def forest(plan: Plan, folder: Path) -> Iterator[tuple[World, dict[str, Site]]]:
    world = read_world(plan, find_sites(write_forest(folder / "sites")).sites)
    sites = open_sites(world, folder / "journals")
    try:
        yield world, sites
    finally:
        for site in sites.values():
            site.close()


def play(
    world: World, sites: Mapping[str, Site], decide: Decide
) -> tuple[ServerState, list[Receipt], Network]:
    network = Network({name: site.receive for name, site in sites.items()}, decide)
    state, receipts = begin(world.plan, bytes(range(16)), start(world.plan)), []
    for after, receipt in rounds_of(world, network, state):
        state = after
        receipts.append(receipt)
    return state, receipts, network


def lost(names: Sequence[str], stage: Kind, round_number: int, attempts: range | None = None) -> Decide:
    def decide(site: str, frame: Frame) -> Fate:
        tried = attempts is None or frame.attempt in attempts
        gone = site in names and frame.round == round_number and frame.kind >= stage and tried
        return Fate.LOST if gone else Fate.FINE

    return decide


def reveals(site: Site) -> dict[int, str]:
    return {
        entry.body["round"]: entry.body["survivors"]
        for entry in site.journal.entries()
        if entry.kind == "reveal"
    }


def opened_for(names: Sequence[str]) -> str:
    return digest("federation/survivors/2", *(name.encode() for name in names)).hex()


@pytest.mark.parametrize("combine", ["mean", "trimmed-mean", "median"])
def test_all_engines_have_the_same_groups_and_make_the_same_params(combine: str, tmp_path: Path) -> None:
    plan, sites = parse(text(**{"server.combine": combine})), write_forest(tmp_path / "sites")
    engines: tuple[Engine, ...] = ("vectorized", "protocol", "flower")
    for engine in engines:
        with patch.object(RunFolder, "close"):
            simulate(plan, sites, tmp_path / engine, engine=engine, baseline=False)
        assert not ids(audit(tmp_path / engine), "critical")
    first, *others = (load_params(tmp_path / engine) for engine in engines)
    assert all(torch.equal(first, other) for other in others)


def test_a_sum_is_opened_of_each_group_and_of_nothing_else(tmp_path: Path) -> None:
    plan = parse(text(noise="distributed"))
    with forest(plan, tmp_path) as (world, sites):
        _, receipts, _ = play(world, sites, lambda _site, _frame: Fate.FINE)
        for receipt in receipts:
            assert receipt.cohort == receipt.survivors == ALL
            for group in partition(plan, receipt.round, ALL):
                assert {reveals(sites[name])[receipt.round] for name in group} == {opened_for(group)}


@pytest.mark.parametrize("stage", [Kind.INVITE, Kind.ADVERTS, Kind.BROADCAST, Kind.CERTIFICATE])
def test_each_group_may_lose_a_site_and_nobody_is_ahead_of_the_others(stage: Kind, tmp_path: Path) -> None:
    plan = parse(text(noise="distributed"))
    gone = [group[0] for group in partition(plan, 2, ALL)][:2]
    with forest(plan, tmp_path) as (world, sites):
        _, receipts, network = play(world, sites, lost(gone, stage, 2))
        rest = ALL if stage is Kind.CERTIFICATE else tuple(name for name in ALL if name not in gone)
        assert [receipt.survivors for receipt in receipts] == [ALL, rest, ALL]
        assert [receipt.attempts for receipt in receipts] == [1, 1, 1]
        assert network.deadlines == 1


@pytest.mark.parametrize("stage", [Kind.INVITE, Kind.ADVERTS, Kind.BROADCAST])
def test_a_group_that_loses_too_many_voids_the_attempt_of_all_and_no_sum_is_opened(
    stage: Kind, tmp_path: Path
) -> None:
    """While one group has no keys nobody is charged, and while one lacks vectors no sum is opened."""
    plan = parse(text(noise="distributed"))
    gone = partition(plan, 1, ALL)[1][:2]
    with forest(plan, tmp_path) as (world, sites):
        with pytest.raises(TooFewSurvivors):
            play(world, sites, lost(gone, stage, 1))
        kinds = {name: {entry.kind for entry in site.journal.entries()} for name, site in sites.items()}
        assert not any("reveal" in found for found in kinds.values())
        charged = {name for name, found in kinds.items() if "begin" in found}
        assert charged == (set(ALL) - set(gone) if stage is Kind.BROADCAST else set())


def test_another_attempt_has_the_same_groups_and_the_same_payloads(tmp_path: Path) -> None:
    plan = parse(text(noise="distributed"))
    gone = partition(plan, 1, ALL)[1][:2]
    first = range(FIRST + 1)
    with forest(plan, tmp_path) as (world, sites):
        _, receipts, _ = play(world, sites, lost(gone, Kind.BROADCAST, 1, first))
        assert [receipt.attempts for receipt in receipts] == [2, 1, 1]
        for group in partition(plan, 1, ALL):
            assert {reveals(sites[name])[1] for name in group} == {opened_for(group)}
        counts = [
            [entry.kind for entry in site.journal.entries()].count("release") for site in sites.values()
        ]
        assert counts == [3] * SITES


def test_a_charged_site_answers_for_no_other_group(tmp_path: Path) -> None:
    """Another cohort has other groups: two sums with one payload in them would differ by single updates."""
    plan = parse(text(noise="distributed", **{"cohort.minimum": 11, "colluders": 0}))
    with forest(plan, tmp_path) as (world, sites):
        members = tuple(site.member for site in sites.values())
        run, params = bytes(range(16)), start(plan)
        for site in sites.values():
            site.join(run, plan, world.roster)
        whole = Terms(plan, run, 1, 2, members, params.numel())
        fewer = Terms(plan, run, 1, 3, members[:-1], params.numel())
        assert whole.of("s00").members != fewer.of("s00").members
        vector = sites["s00"].release(whole.of("s00"), params)
        with pytest.raises(LedgerRefusal, match="another question"):
            sites["s00"].release(fewer.of("s00"), params)
        again = Terms(plan, run, 1, 3, members, params.numel())
        assert np.array_equal(sites["s00"].release(again.of("s00"), params), vector)


@contextmanager
def flipped(site: str, factor: float) -> Iterator[None]:
    """Within the context a site multiplies what it sends, as far as the ring lets it."""
    honest = release.contribution

    def contribution(terms: Terms, name: str, *rest: Any) -> RingVector:
        vector = honest(terms, name, *rest)
        if name != site:
            return vector
        return terms.codec.to_ring((terms.codec.from_ring(vector) * factor).astype(np.int64))

    with patch.object(release, "contribution", contribution):
        yield


def test_one_bad_site_moves_a_mean_and_hardly_a_median(tmp_path: Path) -> None:
    sites = write_forest(tmp_path / "sites")
    moved = {}
    for combine in ("mean", "trimmed-mean", "median"):
        plan = parse(text(**{"server.combine": combine}))
        honest = tmp_path / f"honest-{combine}"
        simulate(plan, sites, honest, engine="protocol", baseline=False)
        with flipped("s05", -40.0):
            simulate(plan, sites, tmp_path / combine, engine="protocol", baseline=False)
        moved[combine] = float((load_params(tmp_path / combine) - load_params(honest)).norm())
    assert moved["mean"] > 5 * max(moved["median"], moved["trimmed-mean"]) > 0


def test_each_group_s_sum_is_judged_by_what_its_own_sites_can_send(tmp_path: Path) -> None:
    """What is impossible of four sites would pass as the sum of twelve."""
    plan = parse(text(noise="distributed", **{"server.unlikely_sum": "report"}))
    sites = write_forest(tmp_path / "sites")
    members = tuple(Member(name, 40 + number) for number, name in enumerate(ALL))
    whole = Terms(plan, bytes(16), 1, 1, members, start(plan).numel())
    group = whole.of("s05")
    names = [member.site for member in group.members]
    one, all_of_them = (
        terms.kind.allowed(terms.parties, over) for terms, over in ((group, names), (whole, list(ALL)))
    )
    assert one.norm < 0.6 * all_of_them.norm

    honest = release.contribution

    def contribution(terms: Terms, name: str, *rest: Any) -> RingVector:
        if name != "s05":
            return honest(terms, name, *rest)
        most = 0.9 * all_of_them.norm / np.sqrt(terms.length) / terms.codec.step
        return terms.codec.to_ring(np.full(terms.length, int(most), np.int64))

    with patch.object(release, "contribution", contribution), patch.object(RunFolder, "close"):
        report = simulate(plan, sites, tmp_path / "run", engine="protocol", baseline=False)
    assert all(line.unlikely is not None for line in report.rounds)
    assert Unlikely(report.rounds[0].unlikely.check, report.rounds[0].unlikely.ratio).ratio > 1.2  # type: ignore[union-attr]


# What a site demands.


def invitation(plan: Plan, names: Sequence[str]) -> Frame:
    members = tuple(Member(name, 40) for name in names)
    return Frame(Kind.INVITE, bytes(16), 1, 2, Invitation(members).to_bytes())


def roster(organizations: Mapping[str, str]) -> Roster:
    named = enumerate(organizations.items(), 1)
    return Roster(1, tuple(Entry(name, owner, bytes([number]) * 32, 40) for number, (name, owner) in named))


def test_a_site_works_out_its_own_group_and_refuses_one_that_is_too_small() -> None:
    plan = parse(text(noise="distributed"))
    settled = partial(settle, plan, invitation(plan, ALL), Member("s03", 40), 9)
    own = roster({name: name for name in ALL})
    terms = settled(own, Policy.for_plan(plan))
    assert terms.names == ALL and len(terms.members) == 4 and Member("s03", 40) in terms.members
    stricter = Policy.for_plan(plan).model_copy(update={"survivors_minimum": 4})
    with pytest.raises(PolicyViolation, match="survivors_minimum"):
        settled(own, stricter)
    one_plan = parse(text_of({"cohort.minimum": SITES}, noise="distributed"))
    settle(
        one_plan, invitation(one_plan, ALL), Member("s03", 40), 9, own, stricter
    )  # one sum of twelve will do


def test_no_two_sites_of_one_organization_are_in_a_round_though_in_different_groups() -> None:
    plan = parse(text(noise="distributed"))
    groups = partition(plan, 1, ALL)
    owners = {name: name for name in ALL} | {groups[0][0]: "one", groups[1][0]: "one"}
    with pytest.raises(PolicyViolation, match="belong to one organization"):
        settle(plan, invitation(plan, ALL), Member("s03", 40), 9, roster(owners), Policy.for_plan(plan))


def test_after_three_attempts_the_run_ends(tmp_path: Path) -> None:
    plan, attempts = parse(text(noise="distributed")), set[int]()
    gone = partition(plan, 1, ALL)[0][:2]

    def decide(site: str, frame: Frame) -> Fate:
        attempts.add(frame.attempt)
        return lost(gone, Kind.ADVERTS, 1)(site, frame)

    with forest(plan, tmp_path) as (world, sites), pytest.raises(TooFewSurvivors):
        assert roster_of(world).by_site.keys() == set(ALL)
        play(world, sites, decide)
    assert attempts - {0} == set(range(FIRST, FIRST + ATTEMPTS))


def test_an_audit_finds_a_group_with_too_few_survivors_though_the_round_has_enough(tmp_path: Path) -> None:
    plan, sites = parse(text(noise="distributed", rounds=2)), write_forest(tmp_path / "sites")
    with patch.object(RunFolder, "close"):
        simulate(plan, sites, tmp_path / "run", engine="vectorized", baseline=False)
    spread, together = (
        [group[0] for group in partition(plan, 1, ALL)][:2],
        list(partition(plan, 1, ALL)[0][:2]),
    )
    for missing, is_found in ((spread, False), (together, True)):
        with receipts_of(tmp_path / "run") as lines:
            lines[0]["survivors"] = [name for name in ALL if name not in missing]
        assert ("receipt-cohort" in ids(audit(tmp_path / "run"), "critical")) is is_found
