"""Sites vanish, messages are lost, doubled, late and out of order: the sum is exact or the round is void."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clients.site import Site
from federation.cli import start as cli
from federation.errors import TooFewSurvivors
from federation.report.receipt import Receipt
from federation.round.messages import Frame, Kind
from federation.sums.state import ServerState, begin
from privacy.mechanism.noise import Stream
from server.playing import ATTEMPTS, FIRST
from simulations import messages
from simulations.world import World
from tests.stories.network import STAGES, Decide, Fate, Network, vanish
from tests.worlds import by_hand, close, opened, plan_of, rounds_of, start, text_of, write_sites

ALL = ("ash", "birch", "cedar", "dogwood")
SITES = len(ALL)
LATER_TRIES = range(FIRST + 1, FIRST + ATTEMPTS)


def fine(_: str, __: Frame) -> Fate:
    return Fate.FINE


def play(
    world: World, sites: Mapping[str, Site], decide: Decide, order: Stream | None = None
) -> tuple[ServerState, list[Receipt], Network]:
    """All rounds of a plan over a network."""
    network = Network({name: site.receive for name, site in sites.items()}, decide, order)
    state = begin(world.plan, bytes(range(16)), start(world.plan))
    reports = []
    for after, report in rounds_of(world, network, state):
        state = after
        reports.append(report)
    return state, reports, network


WHENEVER = [
    *((1, stage) for stage in STAGES),  # opened with an invitation
    *((2, stage) for stage in (Kind.BROADCAST, Kind.CERTIFICATE)),  # prepared by the round before
]
whenever = pytest.mark.parametrize(
    ("number", "stage"), WHENEVER, ids=[f"round {number} {stage.name}" for number, stage in WHENEVER]
)


@whenever
def test_a_site_that_vanishes_costs_the_round_its_update_and_nothing_else(
    number: int, stage: Kind, tmp_path: Path
) -> None:
    plan = plan_of()
    with opened(plan, tmp_path, SITES) as (world, sites):
        state, reports, network = play(world, sites, vanish("birch", stage, number))
        # Gone only before it unmasks, its update is in the sum already.
        rest = ALL if stage is Kind.CERTIFICATE else ("ash", "cedar", "dogwood")
        survivors = [rest if report.round == number else ALL for report in reports]
        assert [report.survivors for report in reports] == survivors
        assert [report.attempts for report in reports] == [1, 1, 1]
        assert close(state.params, by_hand(plan, world.training, survivors))
        if rest != ALL:
            assert not close(state.params, by_hand(plan, world.training, [ALL] * 3)), "the test can fail"
        assert network.deadlines == 1


@whenever
def test_too_many_that_vanish_void_the_round_and_the_next_attempt_is_exact(
    number: int, stage: Kind, tmp_path: Path
) -> None:
    plan = plan_of()
    gone = [vanish("ash", stage, number), vanish("dogwood", stage, number)]

    def decide(site: str, frame: Frame) -> Fate:
        return Fate.LOST if Fate.LOST in [one(site, frame) for one in gone] else Fate.FINE

    with opened(plan, tmp_path, SITES) as (world, sites):
        state, reports, _ = play(world, sites, decide)
        assert [report.attempts for report in reports] == [1 + (n == number) for n in (1, 2, 3)]
        assert close(state.params, by_hand(plan, world.training, [ALL] * 3))
        run_id = state.run.hex()
        assert [site.journal.rounds_begun(run_id) for site in sites.values()] == [3] * SITES


def test_a_second_site_may_vanish_before_it_votes(tmp_path: Path) -> None:
    """The vote is for those who sent a vector; whoever does not vote is in the sum all the same."""
    plan = plan_of(dropouts=2, colluders=0)
    gone = [vanish("elm", Kind.BROADCAST, 2), vanish("birch", Kind.SURVIVORS, 2)]

    def decide(site: str, frame: Frame) -> Fate:
        return Fate.LOST if Fate.LOST in [one(site, frame) for one in gone] else Fate.FINE

    five = (*ALL, "elm")
    with opened(plan, tmp_path, 5) as (world, sites):
        state, reports, _ = play(world, sites, decide)
        assert [report.survivors for report in reports] == [five, ALL, five]
        assert close(state.params, by_hand(plan, world.training, [five, ALL, five]))


def test_other_survivors_in_a_second_attempt_are_refused_once_shares_are_out(tmp_path: Path) -> None:
    """The difference of two openings of one round would bare a single update: the sites do not help."""

    def decide(site: str, frame: Frame) -> Fate:
        if frame.attempt == FIRST and frame.kind is Kind.CERTIFICATE and frame.round == 1:
            return Fate.SILENT  # every site has revealed, and the server says that it heard nothing
        return vanish("birch", Kind.BROADCAST, 1, attempts=LATER_TRIES)(site, frame)

    plan = plan_of()
    with opened(plan, tmp_path, SITES) as (world, sites):
        state, reports, _ = play(world, sites, decide)
        assert [report.survivors for report in reports] == [(), ALL, ALL], "the run goes on"
        assert close(state.params, by_hand(plan, world.training, [ALL, ALL]))
        for name in ("ash", "cedar", "dogwood"):
            assert "opened for other survivors" in str(sites[name].last_error)


def test_after_three_void_attempts_the_run_ends_and_nothing_was_opened(tmp_path: Path) -> None:
    attempts = set()

    def decide(site: str, frame: Frame) -> Fate:
        attempts.add(frame.attempt)
        gone = site in ("ash", "birch") and frame.kind is Kind.BROADCAST
        return Fate.LOST if gone else Fate.FINE

    plan = plan_of()
    with opened(plan, tmp_path, SITES) as (world, sites):
        with pytest.raises(TooFewSurvivors) as caught:
            play(world, sites, decide)
        assert (caught.value.got, caught.value.needed, caught.value.exit_code) == (2, 3, 4)
        assert attempts - {0} == set(range(FIRST, FIRST + ATTEMPTS))
        kinds = {entry.kind for site in sites.values() for entry in site.journal.entries()}
        assert "reveal" not in kinds


def test_at_the_command_line_too_few_survivors_are_one_line_and_exit_code_4(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def decide(site: str, frame: Frame) -> Fate:
        return Fate.LOST if site != "cedar" and frame.kind is Kind.ADVERTS else Fate.FINE

    monkeypatch.setattr(messages, "InTurn", lambda sites: Network(sites, decide))
    (tmp_path / "plan.toml").write_text(text_of())
    folder = write_sites(tmp_path / "sites", SITES)
    command = f"federation simulate {tmp_path / 'plan.toml'} --sites {folder} --engine protocol --out"
    monkeypatch.setattr(sys, "argv", [*command.split(), str(tmp_path / "run")])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 4
    errors = capsys.readouterr().err.strip().split("\n")
    assert len(errors) == 1
    assert errors[0].startswith("error: round 1: 1 site sent shares, 3 are needed: the round is void; ")


def test_a_late_vector_is_in_no_sum_and_its_site_is_back_in_the_next_round(tmp_path: Path) -> None:
    def decide(site: str, frame: Frame) -> Fate:
        late = site == "cedar" and frame.kind is Kind.BROADCAST and frame.round == 1
        return Fate.LATE if late else Fate.FINE

    plan = plan_of()
    with opened(plan, tmp_path, SITES) as (world, sites):
        state, reports, _ = play(world, sites, decide)
        rest = ("ash", "birch", "dogwood")
        assert [report.survivors for report in reports] == [rest, ALL, ALL]
        assert close(state.params, by_hand(plan, world.training, [rest, ALL, ALL]))


def test_a_network_that_doubles_and_shuffles_everything_changes_nothing(tmp_path: Path) -> None:
    plan = plan_of()
    with opened(plan, tmp_path / "a", SITES) as (world, sites):
        calm, _, _ = play(world, sites, fine)
    with opened(plan, tmp_path / "b", SITES) as (world, sites):
        wild, reports, _ = play(world, sites, lambda *_: Fate.TWICE, Stream(bytes(32)))
        assert [report.survivors for report in reports] == [ALL] * 3
    assert torch.equal(calm.params, wild.params)


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_whatever_the_network_does_the_sum_is_exact_over_the_survivors_or_there_is_none(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One in five requests meets a fate of its own; what comes out is checked against paper."""
    fates = st.sampled_from([Fate.FINE] * 15 + list(Fate)[1:])
    drawn: dict[tuple[str, Kind, int, int], Fate] = {}

    def decide(site: str, frame: Frame) -> Fate:
        if frame.kind is Kind.HELLO:
            return Fate.FINE
        return drawn.setdefault((site, frame.kind, frame.round, frame.attempt), data.draw(fates))

    plan = plan_of(rounds=2)
    with opened(plan, tmp_path_factory.mktemp("net"), SITES) as (world, sites):
        try:
            state, reports, _ = play(world, sites, decide, Stream(bytes(32)))
        except TooFewSurvivors:
            return
        survivors = [report.survivors for report in reports]
        assert all(len(names) >= 3 for names in survivors)
        assert close(state.params, by_hand(plan, world.training, survivors))
