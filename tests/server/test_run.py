"""All rounds over a transport: what a state and a report say, exchanges, retries, going on from any state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clients.journal.journal import Journal
from clients.site import Site
from federation.errors import RosterError, TooFewSurvivors
from federation.model.params import params_bytes, params_digest
from federation.round.cohort import sample
from federation.round.messages import Broadcast, Frame, Hello, Kind, Member, Paired
from federation.round.signed import PREPARED, ordered
from federation.round.transport import Outgoing
from federation.sums.state import begin
from privacy.errors import FaultyServer, ProtocolError
from privacy.mechanism.noise import Stream
from privacy.roster import Roster, SignedRoster
from server.playing import FIRST, Setting, terms_of
from server.run import run, server_stream
from simulations.world import InProcess, World
from tests.stories.network import Fate, Network, vanish
from tests.worlds import by_hand, close, opened, opened_lines, plan_of, roster_of, rounds_of, start

RUN = bytes(range(16))
ALL = ("ash", "birch", "cedar", "dogwood")
PREPARED_ROUND = [Kind.BROADCAST, Kind.CERTIFICATE]
OPENED_ROUND = [Kind.INVITE, Kind.ADVERTS, *PREPARED_ROUND]


def carrier(sites: Mapping[str, Site]) -> InProcess:
    return InProcess({name: site.receive for name, site in sites.items()})


class Counting:
    """What each site was sent, by round: a network's fate that watches first."""

    def __init__(self, decide: Callable[[str, Frame], Fate] = lambda *_: Fate.FINE) -> None:
        self.sent: dict[tuple[str, int], list[Kind]] = {}
        self._decide = decide

    def __call__(self, site: str, frame: Frame) -> Fate:
        number = 0 if frame.kind is Kind.HELLO else frame.round  # a greeting says where the run stands
        self.sent.setdefault((site, number), []).append(frame.kind)
        return self._decide(site, frame)


class Tampering(InProcess):
    """A server that gives some frames another body, and signs them as its own."""

    def __init__(self, sites: Mapping[str, Site], alter: Callable[[str, Frame], Frame], world: World) -> None:
        super().__init__({name: site.receive for name, site in sites.items()})
        self._alter, self._world = alter, world

    def send(self, messages: Iterable[Outgoing]) -> None:
        super().send(Outgoing(message.to, self._altered(message)) for message in messages)

    def _altered(self, message: Outgoing) -> bytes:
        world, frame = self._world, Frame.from_bytes(message.data)
        altered = self._alter(message.to, frame)
        if altered == frame:
            return message.data
        return ordered(altered, world.coordinator, world.plan.digest, roster_of(world).root).to_bytes()


def network_of(sites: Mapping[str, Site], decide: Callable[[str, Frame], Fate]) -> Network:
    return Network({name: site.receive for name, site in sites.items()}, decide)


def test_a_run_is_the_rounds_of_the_plan_and_its_params_are_those_worked_out_on_paper(tmp_path: Path) -> None:
    plan = plan_of()
    with opened(plan, tmp_path) as (world, sites):
        state = begin(plan, RUN, start(plan))
        lines, members = opened_lines(world, carrier(sites), RUN)
        assert members == world.members
        done = list(run(Setting(state, members, lines), server_stream))
        names = tuple(sorted(sites))
        assert [report.round for _, report in done] == [after.round for after, _ in done] == [1, 2, 3]
        assert {(report.cohort, report.survivors, report.attempts) for _, report in done} == {
            (names, names, 1)
        }
        assert close(done[-1][0].params, by_hand(plan, world.training, [names] * 3))


def test_the_digests_of_the_reports_make_a_chain(tmp_path: Path) -> None:
    plan = plan_of()
    with opened(plan, tmp_path) as (world, sites):
        before = begin(plan, RUN, start(plan))
        for after, report in rounds_of(world, carrier(sites), before):
            assert report.params_before == params_digest(params_bytes(before.params)).hex()
            assert report.params_after == params_digest(params_bytes(after.params)).hex()
            before = after


def test_bytes_are_those_on_the_line_in_that_round(tmp_path: Path) -> None:
    plan = plan_of(rounds=4)
    with opened(plan, tmp_path) as (world, sites):
        done = list(rounds_of(world, carrier(sites), begin(plan, RUN, start(plan))))
        first, *between, last = [report.bytes_down for _, report in done]
        for _, report in done:
            assert set(report.bytes_up) == set(report.bytes_down) == set(sites)
            assert min(report.bytes_up.values()) > 0
            # Params and everyone's keys come down; only this site's go up.
            assert all(report.bytes_down[name] > report.bytes_up[name] for name in sites)
        assert between[0] == between[1], "rounds of one cohort cost the same"
        # The first round exchanges its own keys and the second's, the last one none at all.
        assert all(first[name] > between[0][name] > last[name] for name in sites)


def test_a_round_in_which_nobody_is_lost_costs_two_exchanges(tmp_path: Path) -> None:
    plan, counting = plan_of(rounds=4), Counting()
    with opened(plan, tmp_path, 4) as (world, sites):
        list(rounds_of(world, network_of(sites, counting), begin(plan, RUN, start(plan))))
    for site in ALL:
        assert counting.sent[site, 0] == [Kind.HELLO]
        assert counting.sent[site, 1] == OPENED_ROUND
        assert [counting.sent[site, number] for number in (2, 3, 4)] == [PREPARED_ROUND] * 3


@pytest.mark.parametrize("number", [1, 2], ids=["opened", "prepared"])
def test_a_site_lost_while_masking_costs_a_vote_and_an_invitation_to_the_next_round(
    number: int, tmp_path: Path
) -> None:
    plan, counting = plan_of(rounds=4), Counting(vanish("birch", Kind.BROADCAST, number))
    with opened(plan, tmp_path, 4) as (world, sites):
        done = list(rounds_of(world, network_of(sites, counting), begin(plan, RUN, start(plan))))
    steps = {1: OPENED_ROUND} | dict.fromkeys((2, 3, 4), PREPARED_ROUND)
    steps[number + 1] = OPENED_ROUND
    for site in ("ash", "cedar", "dogwood"):
        voted = {number: [*steps[number][:-1], Kind.SURVIVORS, Kind.CERTIFICATE]}
        assert {n: counting.sent[site, n] for n in steps} == steps | voted
    assert {n: counting.sent["birch", n] for n in steps} == steps | {number: steps[number][:-1]}
    rest = ("ash", "cedar", "dogwood")
    assert [report.survivors for _, report in done] == [rest if n == number else ALL for n in steps]


def test_a_round_is_prepared_only_by_a_round_that_all_of_its_cohort_are_in(tmp_path: Path) -> None:
    plan, counting = plan_of(rounds=12, size=3), Counting()
    with opened(plan, tmp_path, 4) as (world, sites):
        list(rounds_of(world, network_of(sites, counting), begin(plan, RUN, start(plan))))
        cohorts = {
            number: {member.site for member in sample(plan, world.members, number)} for number in range(1, 13)
        }
    within = {number: cohorts[number] <= cohorts[number - 1] for number in range(2, 13)}
    assert set(within.values()) == {True, False}, "this plan's cohorts show both"
    for number, cohort in cohorts.items():
        steps = PREPARED_ROUND if within.get(number) else OPENED_ROUND
        assert {site: counting.sent.get((site, number)) for site in ALL} == {
            site: steps if site in cohort else None for site in ALL
        }


def test_a_run_goes_on_from_any_state_to_the_same_params(tmp_path: Path) -> None:
    plan = plan_of()
    with opened(plan, tmp_path) as (world, sites):
        whole = [after for after, _ in rounds_of(world, carrier(sites), begin(plan, RUN, start(plan)))]
    with opened(plan, tmp_path / "again") as (world, sites):
        resumed = replace(whole[0], attempt=5)
        rest = list(rounds_of(world, carrier(sites), resumed))
    assert [report.round for _, report in rest] == [2, 3]
    assert [report.attempts for _, report in rest] == [1, 1]
    assert torch.equal(rest[-1][0].params, whole[-1].params)
    assert rest[-1][0].attempt == 5


def test_a_finished_state_has_no_rounds_left(tmp_path: Path) -> None:
    plan = plan_of()
    done = replace(begin(plan, RUN, start(plan)), round=3)
    with opened(plan, tmp_path) as (world, sites):
        assert list(rounds_of(world, carrier(sites), done)) == []


def test_attempts_are_counted_from_the_state_s(tmp_path: Path) -> None:
    """A retry bears a number that no earlier process can have used."""
    plan = plan_of(rounds=1, dropouts=0)
    seen = set()

    def decide(site: str, frame: Frame) -> Fate:
        seen.add(0 if frame.kind is Kind.HELLO else frame.attempt)
        return vanish("ash", Kind.ADVERTS, 1, attempts=range(7, 9))(site, frame)

    with opened(plan, tmp_path) as (world, sites):
        state = replace(begin(plan, RUN, start(plan)), attempt=5)
        ((_, report),) = rounds_of(world, network_of(sites, decide), state)
    assert report.attempts == 3
    assert seen - {0} == {7, 8, 9}


def test_a_void_prepared_round_opens_again_under_a_number_of_its_own(tmp_path: Path) -> None:
    plan = plan_of(rounds=2, dropouts=0)
    seen: list[tuple[int, int]] = []

    def decide(site: str, frame: Frame) -> Fate:
        seen.append((0, 0) if frame.kind is Kind.HELLO else (frame.round, frame.attempt))
        return vanish("ash", Kind.BROADCAST, 2)(site, frame)

    with opened(plan, tmp_path) as (world, sites):
        done = list(rounds_of(world, network_of(sites, decide), begin(plan, RUN, start(plan))))
    assert [report.attempts for _, report in done] == [1, 2]
    assert list(dict.fromkeys(seen)) == [(0, 0), (1, FIRST), (2, PREPARED), (2, FIRST + 1)]


def test_a_cohort_below_the_minimum_is_no_round(tmp_path: Path) -> None:
    plan = plan_of()
    with opened(plan, tmp_path) as (world, sites):
        lines, members = opened_lines(world, carrier(sites), RUN)
        state = begin(plan, RUN, start(plan))
        with pytest.raises(RosterError):
            next(run(Setting(state, members[:2], lines), server_stream))


def test_the_server_s_noise_is_asked_for_round_by_round(tmp_path: Path) -> None:
    plan, asked = plan_of(), []

    def stream(number: int) -> Stream:
        asked.append(number)
        return server_stream(number)

    with opened(plan, tmp_path) as (world, sites):
        list(rounds_of(world, carrier(sites), begin(plan, RUN, start(plan)), stream))
    assert asked == [1, 2, 3]


def test_the_terms_of_an_attempt_are_those_after_the_state() -> None:
    plan = plan_of()
    state = replace(begin(plan, RUN, start(plan)), round=1, attempt=10)
    members = (Member("ash", 1), Member("birch", 1), Member("cedar", 1))
    assert terms_of(plan, state, members).place == (RUN, 2, 10 + FIRST)
    assert terms_of(plan, state, members, PREPARED, ahead=2).place == (RUN, 3, 10 + PREPARED)
    assert terms_of(plan, state, members).dimension == state.params.numel()


@pytest.mark.parametrize("kind", [Kind.BROADCAST, Kind.CERTIFICATE])
def test_a_site_that_is_started_anew_during_a_run_is_greeted_and_takes_part_again(
    kind: Kind, tmp_path: Path
) -> None:
    """Its process is gone with all keys, its journal stays; it is killed as a request of round 2 arrives."""
    plan = plan_of(rounds=4)
    with opened(plan, tmp_path, 4) as (world, sites):
        receives = {name: lambda data, name=name: sites[name].receive(data) for name in sites}

        def decide(site: str, frame: Frame) -> Fate:
            if (site, frame.round, frame.kind) == ("birch", 2, kind):
                old = sites["birch"]
                old.close()
                path, key = tmp_path / "journals" / "birch.sqlite", world.identities["birch"]
                journal = Journal.open(path, site="birch", pool="birch", key=key, simulated=True)
                sites["birch"] = replace(old, journal=journal)
            return Fate.FINE

        counting = Counting(decide)
        network = Network(receives, counting)
        done = list(rounds_of(world, network, begin(plan, RUN, start(plan))))
        rest = ("ash", "cedar", "dogwood") if kind is Kind.BROADCAST else ALL
        assert [report.survivors for _, report in done] == [ALL, rest, ALL, ALL]
        assert network.deadlines == 0, "its answer says at once that it is new"
        greetings = {
            site: sum(sent.count(Kind.HELLO) for (to, _), sent in counting.sent.items() if to == site)
            for site in ALL
        }
        assert greetings == dict.fromkeys(ALL, 1) | {"birch": 2}
        entries = sites["birch"].journal.entries()
        assert [entry.kind for entry in entries].count("reserve") == 1
        begun = [entry.body["round"] for entry in entries if entry.kind == "begin"]
        assert begun == ([1, 3, 4] if kind is Kind.BROADCAST else [1, 2, 3, 4])
        assert close(done[-1][0].params, by_hand(plan, world.training, [ALL, rest, ALL, ALL]))


def other_params(frame: Frame) -> Frame:
    """A broadcast of this round with every parameter one higher."""
    paired = Paired.from_bytes(frame.body)
    broadcast = Broadcast.from_bytes(paired.own)
    raised = torch.frombuffer(bytearray(broadcast.params), dtype=torch.float32) + 1
    own = replace(broadcast, params=params_bytes(raised)).to_bytes()
    return replace(frame, body=replace(paired, own=own).to_bytes())


@pytest.mark.parametrize("number", [1, 2], ids=["opened", "prepared"])
def test_a_server_that_shows_one_site_other_params_loses_that_site_and_learns_no_sum_with_it(
    number: int, tmp_path: Path
) -> None:
    """Masks and votes are bound to the params: what birch signs does not fit, and is in no sum."""
    plan = plan_of()

    def alter(site: str, frame: Frame) -> Frame:
        mine = (site, frame.round, frame.kind) == ("birch", number, Kind.BROADCAST)
        return other_params(frame) if mine else frame

    with opened(plan, tmp_path, 4) as (world, sites):
        done = list(rounds_of(world, Tampering(sites, alter, world), begin(plan, RUN, start(plan))))
        rest = ("ash", "cedar", "dogwood")
        survivors = [rest if n == number else ALL for n in (1, 2, 3)]
        assert [report.survivors for _, report in done] == survivors, "and the site is back"
        assert close(done[-1][0].params, by_hand(plan, world.training, survivors))
        revealed = [
            entry.body["round"] for entry in sites["birch"].journal.entries() if entry.kind == "reveal"
        ]
        assert revealed == [n for n in (1, 2, 3) if n != number]


def test_a_server_that_shows_half_of_the_sites_other_params_gets_no_sum(tmp_path: Path) -> None:
    plan = plan_of(rounds=1)

    def alter(site: str, frame: Frame) -> Frame:
        mine = site in ("ash", "birch") and frame.kind is Kind.BROADCAST
        return other_params(frame) if mine else frame

    with opened(plan, tmp_path, 4) as (world, sites):
        with pytest.raises(TooFewSurvivors) as caught:
            list(rounds_of(world, Tampering(sites, alter, world), begin(plan, RUN, start(plan))))
        assert (caught.value.got, caught.value.needed) == (2, 3)
        assert "ash (site ash" in str(caught.value)
        assert "birch (site birch" in str(caught.value)
        kinds = {entry.kind for site in sites.values() for entry in site.journal.entries()}
        assert "mask" in kinds
        assert "reveal" not in kinds, "nobody helped to unmask"


def test_a_roster_that_was_changed_on_the_way_is_refused_by_every_site(tmp_path: Path) -> None:
    plan = plan_of()
    with opened(plan, tmp_path, 4) as (world, sites):
        roster = roster_of(world)
        swapped = replace(roster.entries[0], organization="another")
        changed = Roster(roster.serial, (swapped, *roster.entries[1:])).to_bytes()

        def alter(_: str, frame: Frame) -> Frame:
            hello = Hello.from_bytes(frame.body)
            signed = SignedRoster(changed, SignedRoster.from_bytes(hello.roster).signatures)
            return replace(frame, body=replace(hello, roster=signed.to_bytes()).to_bytes())

        with pytest.raises(RosterError, match="0 sites joined") as caught:
            next(rounds_of(world, Tampering(sites, alter, world), begin(plan, RUN, start(plan))))
        assert caught.value.exit_code == 4
        assert "\n" not in str(caught.value)
        for site in sites.values():
            assert isinstance(site.last_error, FaultyServer)
            assert "signed by 0 of the pinned consortium keys" in str(site.last_error)
            assert [entry.kind for entry in site.journal.entries()] == ["genesis"], "nothing was reserved"


def test_a_site_whose_key_is_not_on_the_roster_is_refused_and_the_others_go_on(tmp_path: Path) -> None:
    plan = plan_of(rounds=1)
    with opened(plan, tmp_path, 4) as (world, sites):
        stranger = replace(sites["birch"].trust, identity=world.consortium)
        sites["birch"].trust = stranger
        ((_, report),) = rounds_of(world, carrier(sites), begin(plan, RUN, start(plan)))
        assert report.cohort == ("ash", "cedar", "dogwood")
        error = sites["birch"].last_error
        assert isinstance(error, ProtocolError)
        assert error.exit_code == 3
        assert str(error).startswith("the roster knows birch by another key or size; ")
        assert "\n" not in str(error)
        # One more of them, and the run cannot begin.
        sites["ash"].trust = replace(sites["ash"].trust, identity=world.consortium)
        with pytest.raises(RosterError, match="2 sites joined") as caught:
            next(rounds_of(world, carrier(sites), begin(plan, RUN, start(plan))))
        assert caught.value.exit_code == 4
