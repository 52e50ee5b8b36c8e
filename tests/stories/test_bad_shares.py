"""Shares that do not open, and sites that only say so: nothing is charged for them, and the run goes on without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from clients.site import Site
from federation.errors import TooFewSurvivors
from federation.plan.plan import parse
from federation.report.receipt import Receipt
from federation.round.messages import Frame, Kind, Reason, abort_body
from federation.sums.state import ServerState, begin
from simulations import messages
from simulations import simulate as simulation
from simulations.world import InProcess, World
from tests.stories.liars import BadDealer, LyingAccuser
from tests.worlds import NAMES, by_hand, close, opened, plan_of, rounds_of, start, text_of, write_sites

ASH, BIRCH, CEDAR, DOGWOOD, ELM = NAMES
Receives = dict[str, Callable[[bytes], bytes]]
Change = Callable[[Receives], None]


def deals_badly(site: str, *to: str, levels: int = 1) -> Change:
    """`levels`: of excess noise, of which there is none in a plan without noise."""

    def change(receives: Receives) -> None:
        receives[site] = BadDealer(receives[site], to, levels=levels)

    return change


def accuses(site: str, accused: str) -> Change:
    def change(receives: Receives) -> None:
        receives[site] = LyingAccuser(receives[site], accused)

    return change


def play(world: World, sites: Mapping[str, Site], *changes: Change) -> tuple[ServerState, list[Receipt]]:
    """All rounds of a plan, with sites that lie."""
    receives: Receives = {name: site.receive for name, site in sites.items()}
    for change in changes:
        change(receives)
    state, receipts = begin(world.plan, bytes(range(16)), start(world.plan)), []
    for after, receipt in rounds_of(world, InProcess(receives), state):
        state = after
        receipts.append(receipt)
    return state, receipts


def spent(sites: Mapping[str, Site]) -> dict[str, int]:
    """How many rounds each site was charged."""
    run = bytes(range(16)).hex()
    return {name: site.journal.rounds_begun(run) for name, site in sites.items()}


PLAN = plan_of(noise="distributed", sample_rate=0.5)
EXACT = plan_of(sample_rate=1.0, dropouts=2, colluders=1, noise="none")


def test_who_deals_badly_to_all_is_left_out_alone_before_anybody_is_charged(tmp_path: Path) -> None:
    with opened(PLAN, tmp_path, 5) as (world, sites):
        _, receipts = play(world, sites, deals_badly(ASH, BIRCH, CEDAR, DOGWOOD, ELM))
        rest = (BIRCH, CEDAR, DOGWOOD, ELM)
        assert [receipt.survivors for receipt in receipts] == [rest] * 3
        assert [receipt.attempts for receipt in receipts] == [2, 1, 1]
        first, *others = receipts
        (void,) = first.void
        assert void.reasons == dict.fromkeys(rest, "share")
        assert void.charged == (ASH,), "the only one that did not refuse"
        assert all(receipt.void == () for receipt in others)
        assert set(first.accused) == {(site, ASH) for site in rest}
        assert spent(sites) == {ASH: 1} | dict.fromkeys(rest, 3)
        for name in rest:
            assert "slot 0" in str(sites[name].last_error)


def test_one_bad_share_costs_one_update_and_then_both_of_the_pair(tmp_path: Path) -> None:
    """Nobody can tell which of the two it was."""
    with opened(PLAN, tmp_path, 5) as (world, sites):
        _, receipts = play(world, sites, deals_badly(ASH, CEDAR))
        rest = (BIRCH, DOGWOOD, ELM)
        assert [receipt.survivors for receipt in receipts] == [(ASH, BIRCH, DOGWOOD, ELM), rest, rest]
        assert [receipt.cohort for receipt in receipts] == [NAMES, rest, rest]
        assert receipts[0].accused == ((CEDAR, ASH),)
        assert spent(sites) == {ASH: 1, CEDAR: 0} | dict.fromkeys(rest, 3)


def test_two_bad_shares_cost_a_round_and_name_who_dealt_them(tmp_path: Path) -> None:
    """Others had accepted theirs, and charged: the number is used up. Two who accuse cannot both be colluders."""
    with opened(PLAN, tmp_path, 5) as (world, sites):
        _, receipts = play(world, sites, deals_badly(ASH, CEDAR, DOGWOOD))
        rest = (BIRCH, CEDAR, DOGWOOD, ELM)
        assert [receipt.survivors for receipt in receipts] == [(), rest, rest]
        lost = receipts[0]
        assert lost.is_lost
        assert lost.params_before == lost.params_after == receipts[1].params_before
        assert lost.lost == {CEDAR: "share", DOGWOOD: "share"}
        assert lost.charged == {ASH, BIRCH, ELM}
        assert spent(sites) == {ASH: 1, BIRCH: 3, CEDAR: 2, DOGWOOD: 2, ELM: 3}


@pytest.mark.parametrize(
    "changes",
    [
        [accuses(ELM, ASH)],
        [deals_badly(ASH, ELM), accuses(ELM, ASH)],
        [deals_badly(ASH, ELM), accuses(ASH, ELM)],
        [deals_badly(ELM, ASH), accuses(ELM, ASH)],
    ],
    ids=["a liar accuses", "dealer and accuser lie", "the dealer accuses too", "both ways"],
)
def test_who_lies_takes_one_other_along_and_the_rest_goes_on(changes: list[Change], tmp_path: Path) -> None:
    with opened(PLAN, tmp_path, 5) as (world, sites):
        _, receipts = play(world, sites, *changes)
        rest = (BIRCH, CEDAR, DOGWOOD)
        sums = [receipt.survivors for receipt in receipts]
        assert len(sums) == 3
        assert sums[1:] == [rest, rest]
        assert spent(sites)[BIRCH] == 3


def test_the_sum_without_the_bad_dealer_is_exact(tmp_path: Path) -> None:
    with opened(EXACT, tmp_path, 5) as (world, sites):
        state, receipts = play(world, sites, deals_badly(ASH, BIRCH, CEDAR, DOGWOOD, ELM, levels=0))
        survivors = [receipt.survivors for receipt in receipts]
        assert survivors == [(BIRCH, CEDAR, DOGWOOD, ELM)] * 3
        assert close(state.params, by_hand(EXACT, world.training, survivors))


def test_below_the_floor_nobody_is_left_out_and_the_end_names_both(tmp_path: Path) -> None:
    with opened(PLAN, tmp_path, 3) as (world, sites):
        with pytest.raises(TooFewSurvivors) as caught:
            play(world, sites, accuses(CEDAR, ASH))
        told = str(caught.value)
        assert "cedar (its share from ash, slot 0, does not open)" in told
        assert "cedar says that its share from ash does not open" in told
        assert spent(sites) == {ASH: 1, BIRCH: 1, CEDAR: 0}, "one question, asked three times, charged once"


def test_a_report_tells_a_lost_round_and_what_it_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def carrier(receives: Mapping[str, Callable[[bytes], bytes]]) -> InProcess:
        changed = dict(receives)
        deals_badly(ASH, CEDAR, DOGWOOD)(changed)
        return InProcess(changed)

    monkeypatch.setattr(messages, "InTurn", carrier)
    data = write_sites(tmp_path / "sites", 5)
    text = text_of(noise="distributed", sample_rate=0.5)
    report = simulation.simulate(parse(text), data, tmp_path / "run", engine="protocol", baseline=False)
    assert [line.lost for line in report.rounds] == [{CEDAR: "share", DOGWOOD: "share"}, None, None]
    assert [line.survivors for line in report.rounds] == [0, 4, 4]
    assert {site.id: site.rounds for site in report.sites} == {ASH: 1, BIRCH: 3, CEDAR: 2, DOGWOOD: 2, ELM: 3}


def says_that_it_diverges(site: str, number: int) -> Change:
    def change(receives: Receives) -> None:
        receive = receives[site]

        def lying(data: bytes) -> bytes:
            frame = Frame.from_bytes(data)
            if (frame.kind, frame.round) == (Kind.BROADCAST, number):
                return frame.reply(Kind.ABORT, abort_body(Reason.DIVERGED)).to_bytes()
            return receive(data)

        receives[site] = lying

    return change


@pytest.mark.parametrize("liars", [1, 2])
def test_a_run_ends_for_updates_that_diverge_if_more_sites_say_so_than_may_lie(
    liars: int, tmp_path: Path
) -> None:
    """The next number is without them; it would diverge as well if one of them were honest."""
    plan = plan_of(noise="distributed", sample_rate=0.5, dropouts=0, colluders=1)
    with opened(plan, tmp_path, 5) as (world, sites):
        changes = [says_that_it_diverges(name, 1) for name in NAMES[:liars]]
        if liars > 1:
            with pytest.raises(TooFewSurvivors):
                play(world, sites, *changes)
            return
        _, receipts = play(world, sites, *changes)
        assert [bool(receipt.survivors) for receipt in receipts] == [False, True, True]


@pytest.mark.parametrize("kind", [Kind.INVITE, Kind.ADVERTS, Kind.BROADCAST])
def test_one_site_that_answers_rubbish_time_and_again_ends_no_run(kind: Kind, tmp_path: Path) -> None:
    """No sum may lack a site here: so the rounds go on without it."""

    def rubbish(receives: Receives) -> None:
        receive = receives[ASH]

        def answer(data: bytes) -> bytes:
            reply = Frame.from_bytes(receive(data))
            return (
                replace(reply, body=b"").to_bytes()
                if Frame.from_bytes(data).kind is kind
                else reply.to_bytes()
            )

        receives[ASH] = answer

    plan = plan_of(noise="distributed", sample_rate=0.5, dropouts=0, colluders=1, deadline_seconds=1)
    with opened(plan, tmp_path, 5) as (world, sites):
        _, receipts = play(world, sites, rubbish)
        assert any(receipt.survivors for receipt in receipts)
