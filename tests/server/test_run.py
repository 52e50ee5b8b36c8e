"""All rounds over a transport: what a state and a report say, retries, and going on from any state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clients.site import Site
from federation.errors import RosterError
from federation.messages import Frame, Kind, Member
from federation.terms import params_bytes, params_digest
from privacy.noise import Stream
from server.lines import open_lines
from server.run import run, terms_of
from server.state import begin
from simulations.world import InProcess, server_stream
from tests.stories.network import Fate, Network, vanish
from tests.worlds import by_hand, close, opened, plan_of, start

RUN = bytes(range(16))


def carrier(sites: Mapping[str, Site]) -> InProcess:
    return InProcess({name: site.receive for name, site in sites.items()})


def test_a_run_is_the_rounds_of_the_plan_and_its_params_are_those_worked_out_on_paper(tmp_path: Path) -> None:
    plan = plan_of()
    with opened(plan, tmp_path) as (world, sites):
        state = begin(plan, RUN, start(plan))
        lines, roster = open_lines(plan, RUN, carrier(sites))
        assert roster == world.members
        done = list(run(plan, state, lines, roster, server_stream))
        names = tuple(sorted(sites))
        assert [report.round for _, report in done] == [after.round for after, _ in done] == [1, 2, 3]
        assert {(report.cohort, report.survivors, report.attempts) for _, report in done} == {
            (names, names, 1)
        }
        assert close(done[-1][0].params, by_hand(plan, world.training, [names] * 3))


def test_the_digests_of_the_reports_make_a_chain(tmp_path: Path) -> None:
    plan = plan_of()
    with opened(plan, tmp_path) as (_, sites):
        state = begin(plan, RUN, start(plan))
        lines, roster = open_lines(plan, RUN, carrier(sites))
        before = state
        for after, report in run(plan, state, lines, roster, server_stream):
            assert report.params_before == params_digest(params_bytes(before.params)).hex()
            assert report.params_after == params_digest(params_bytes(after.params)).hex()
            before = after


def test_bytes_are_those_on_the_line_in_that_round(tmp_path: Path) -> None:
    plan = plan_of(rounds=2)
    with opened(plan, tmp_path) as (_, sites):
        network = carrier(sites)
        state = begin(plan, RUN, start(plan))
        lines, roster = open_lines(plan, RUN, network)
        reports = [report for _, report in run(plan, state, lines, roster, server_stream)]
        for report in reports:
            assert set(report.bytes_up) == set(report.bytes_down) == set(sites)
            assert min(report.bytes_up.values()) > 0
            # Params and everyone's keys come down; only this site's go up.
            assert all(report.bytes_down[name] > report.bytes_up[name] for name in sites)
        assert reports[0].bytes_down == reports[1].bytes_down, "rounds of one cohort cost the same"


def test_a_run_goes_on_from_any_state_to_the_same_params(tmp_path: Path) -> None:
    plan = plan_of()
    with opened(plan, tmp_path) as (_, sites):
        state = begin(plan, RUN, start(plan))
        receives = carrier(sites)
        lines, roster = open_lines(plan, RUN, receives)
        whole = [after for after, _ in run(plan, state, lines, roster, server_stream)]
    with opened(plan, tmp_path / "again") as (_, sites):
        receives = carrier(sites)
        lines, roster = open_lines(plan, RUN, receives)
        resumed = replace(whole[0], attempt=3)
        rest = list(run(plan, resumed, lines, roster, server_stream))
    assert [report.round for _, report in rest] == [2, 3]
    assert [report.attempts for _, report in rest] == [1, 1]
    assert torch.equal(rest[-1][0].params, whole[-1].params)
    assert rest[-1][0].attempt == 3


def test_a_finished_state_has_no_rounds_left(tmp_path: Path) -> None:
    plan = plan_of()
    done = replace(begin(plan, RUN, start(plan)), round=3)
    with opened(plan, tmp_path) as (_, sites):
        lines, roster = open_lines(plan, RUN, carrier(sites))
        assert list(run(plan, done, lines, roster, server_stream)) == []


def test_attempts_are_counted_from_the_state_s(tmp_path: Path) -> None:
    """A retry bears a number that no earlier process can have used."""
    plan = plan_of(rounds=1, dropouts=0)
    seen = set()

    def decide(site: str, frame: Frame) -> Fate:
        seen.add(frame.attempt)
        return vanish("ash", Kind.ADVERTS, 1, attempts=range(4, 6))(site, frame)

    with opened(plan, tmp_path) as (_, sites):
        state = replace(begin(plan, RUN, start(plan)), attempt=3)
        network = Network({name: site.receive for name, site in sites.items()}, decide)
        lines, roster = open_lines(plan, RUN, network)
        ((_, report),) = run(plan, state, lines, roster, server_stream)
    assert report.attempts == 3
    assert seen - {0} == {4, 5, 6}


def test_a_cohort_below_the_minimum_is_no_round(tmp_path: Path) -> None:
    plan = plan_of()
    with opened(plan, tmp_path) as (_, sites):
        lines, roster = open_lines(plan, RUN, carrier(sites))
        with pytest.raises(RosterError):
            next(run(plan, begin(plan, RUN, start(plan)), lines, roster[:2], server_stream))


def test_the_server_s_noise_is_asked_for_round_by_round(tmp_path: Path) -> None:
    plan, asked = plan_of(), []

    def stream(number: int) -> Stream:
        asked.append(number)
        return server_stream(number)

    with opened(plan, tmp_path) as (_, sites):
        lines, roster = open_lines(plan, RUN, carrier(sites))
        list(run(plan, begin(plan, RUN, start(plan)), lines, roster, stream))
    assert asked == [1, 2, 3]


def test_the_terms_of_an_attempt_are_those_after_the_state() -> None:
    plan = plan_of()
    state = replace(begin(plan, RUN, start(plan)), round=1)
    terms = terms_of(plan, state, (Member("ash", 1), Member("birch", 1), Member("cedar", 1)), 5)
    assert terms.place == (RUN, 2, 5)
    assert terms.dimension == state.params.numel()
