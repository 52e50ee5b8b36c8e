"""The board of a site: it says what the log says, is bounded, holds no data, and breaks no round."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.board.board import MAX_ROUNDS, MAX_RUNS, MAX_TROUBLES, Board
from clients.board.past import remind
from clients.board.snapshot import Pool, RunSeen
from clients.board.words import lately, rows
from clients.site import Site
from federation.log import Line, heard_by, note, warn
from federation.round.messages import Kind
from privacy.wire import digest
from tests.clients.sites import (
    RUN,
    SIZES,
    Round,
    closing,
    hello,
    joined,
    make_plan,
    make_site,
    make_sites,
    make_terms,
)

PLAN = make_plan()
FIRST = make_terms(PLAN)


@pytest.fixture
def board() -> Iterator[Board]:
    """A board that hears the log of this process."""
    board = Board("amsterdam", clock=lambda: 1000.0)
    with heard_by(board.hear):
        yield board


class Heard:
    """A site of which the board hears, and no other: they are all in this process."""

    def __init__(self, site: Site, board: Board) -> None:
        self._site, self._board = site, board
        self.states: list[str] = []

    def receive(self, data: bytes) -> bytes:
        with heard_by(self._hear):
            return self._site.receive(data)

    def _hear(self, line: Line) -> None:
        self._board.hear(line)
        run = self._board.standing().present
        self.states.append("" if run is None else run.state)


def test_a_board_follows_a_run_from_consent_to_its_end(tmp_path: Path) -> None:
    sites = make_sites(tmp_path, PLAN)
    board = Board("amsterdam")
    heard = Heard(sites["amsterdam"], board)
    sites["amsterdam"] = heard  # type: ignore[assignment]
    for site in sites.values():
        site.receive(hello(PLAN))
    run = board.standing().present
    assert run is not None
    assert (run.run, run.plan, run.name) == (RUN.hex(), PLAN.digest, PLAN.federation.name)
    assert (run.rounds, run.round, run.sites, run.state) == (PLAN.federation.rounds, 0, 5, "waiting")
    (pool,) = board.standing().pools
    assert pool.unit == "record"
    assert pool.epsilon is not None and 0 < pool.epsilon <= (pool.epsilon_max or 0)
    assert pool.left == pytest.approx((pool.epsilon_max or 0) - pool.epsilon)

    Round(FIRST, sites).play()
    assert heard.states[1:] == ["invited", "training", "sent", "waiting"]
    (first,) = board.standing().rounds
    assert (first.round, first.survivors, first.lost) == (1, len(sites), ())
    Round(replace(FIRST, round=2), sites).play()
    second = board.standing().rounds[1]
    assert first.epsilon is not None and second.epsilon is not None
    assert 0 < first.epsilon < second.epsilon <= (pool.epsilon or 0) + 1e-9

    heard.receive(closing(PLAN, digest("x", b"")))
    run = board.standing().present
    assert run is not None and run.state == "finished"


def test_a_refusal_is_on_the_board_with_its_reason(tmp_path: Path, board: Board) -> None:
    site = make_site(tmp_path, make_plan("client", "central"), "amsterdam", SIZES["amsterdam"])
    site.receive(hello(PLAN))
    told = board.standing()
    assert told.refusals == 1
    (trouble,) = told.troubles
    assert trouble.event == "refused"
    assert "policy.noise" in trouble.detail
    assert told.present is None


def test_a_refused_request_of_a_run_is_its_state_until_the_next(tmp_path: Path, board: Board) -> None:
    sites = joined(tmp_path, PLAN)
    sites["amsterdam"].receive(b"nonsense")
    assert board.standing().present is not None
    assert "refused" not in (board.standing().present or RunSeen("", "")).state, "it named no run"
    round_ = Round(FIRST, sites).play()
    sites["amsterdam"].receive(round_.requests["amsterdam", Kind.INVITE][:-1])
    warn("refused", run=RUN.hex(), round=2, reason="protocol", detail="too late")
    assert (board.standing().present or RunSeen("", "")).state == "refused: too late"
    note("round_begins", run=RUN.hex(), round=3, attempt=1, cohort=3)
    assert (board.standing().present or RunSeen("", "")).state == "training"


def test_the_connection_is_told_once_until_it_changes(board: Board, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    board.connecting("fed.example.org:8443")
    assert board.standing().connection == "connecting"
    for _ in range(3):
        board.contacted()
    assert (board.standing().connection, board.standing().last_contact) == ("connected", 1000.0)
    for why in ("timed out", "timed out", "the name is not known"):
        board.lost(why)
    assert (board.standing().connection, board.standing().why) == ("lost", "the name is not known")
    board.contacted()
    events = [getattr(record, "event", "") for record in caplog.records]
    assert events == ["connected", "connection_lost", "connection_lost", "connected"]
    assert [trouble.detail for trouble in board.standing().troubles] == ["timed out", "the name is not known"]
    assert board.standing().refusals == 0


def test_every_reply_counts_as_an_exchange_whatever_becomes_of_it() -> None:
    board = Board("amsterdam", clock=lambda: 7.0)

    def fails(_: bytes) -> bytes:
        raise ValueError("x")

    assert board.counted(lambda data: data + b"!")(b"a") == b"a!"
    with pytest.raises(ValueError, match="x"):
        board.counted(fails)(b"a")
    assert (board.standing().exchanges, board.standing().last_contact) == (2, 7.0)


def test_a_server_cannot_make_a_board_grow() -> None:
    board = Board("amsterdam")
    for number in range(MAX_ROUNDS + 50):
        facts = {"run": f"{number:032x}", "round": 1, "detail": "no", "lost": [], "survivors": 3}
        for event in ("run_begins", "round_ends", "refused"):
            board.hear(Line(1.0, event, facts, event == "refused"))
    told = board.standing()
    assert (len(told.runs), len(told.rounds), len(told.troubles)) == (MAX_RUNS, MAX_ROUNDS, MAX_TROUBLES)
    assert told.refusals == MAX_ROUNDS + 50


facts = st.dictionaries(
    st.sampled_from(
        ["run", "round", "sites", "lost", "epsilon", "epsilon_max", "unit", "detail", "survivors"]
    ),
    st.none() | st.text(max_size=5) | st.integers() | st.floats() | st.lists(st.text(max_size=3), max_size=3),
)
EVENTS = [
    "run_begins",
    "run_resumed",
    "invited",
    "round_begins",
    "update_sent",
    "round_ends",
    "run_ends",
    "refused",
]


@given(st.lists(st.tuples(st.sampled_from(EVENTS), facts, st.booleans()), max_size=8))
def test_whatever_a_line_says_a_board_bears_it_and_stays_json(
    lines: list[tuple[str, dict[str, object], bool]],
) -> None:
    board = Board("amsterdam")
    board.begins_with([Pool("record", 1.0, 5.0, 1e-5)], [RunSeen("ab", "sha256:0")], 2)
    for event, told, is_warning in lines:
        board.hear(Line(1.0, event, told, is_warning))  # type: ignore[arg-type]
    json.dumps(board.standing().to_json())


def test_words_that_are_no_event_of_ours_do_not_reach_a_board(board: Board) -> None:
    """A warning of the task's tally names how many records raised, which is for the terminal alone."""
    logging.getLogger("clients.site").warning("amsterdam: left out 2 records")
    assert board.standing().troubles == ()


def test_what_a_listener_raises_ends_no_round(board: Board, capsys: pytest.CaptureFixture[str]) -> None:
    def breaks(_: Line) -> None:
        raise RuntimeError("no")

    with heard_by(breaks):
        note("run_begins", run="ab", plan="sha256:0", rounds=3, rounds_begun=0, sites=["a"])
    assert board.standing().present is not None


def test_many_threads_lose_nothing() -> None:
    board = Board("amsterdam")
    threads = [
        threading.Thread(target=lambda: [board.exchanged() or board.lost("x") for _ in range(500)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert board.standing().exchanges == 2000


def test_a_board_begins_with_what_the_ledger_holds(tmp_path: Path) -> None:
    sites = joined(tmp_path, PLAN)
    Round(FIRST, sites).play()
    board = Board("amsterdam")
    remind(board, tmp_path / "amsterdam.sqlite")
    told = board.standing()
    (run,) = told.runs
    assert (run.run, run.plan, run.round, run.state) == (RUN.hex(), PLAN.digest, 1, "open")
    assert run.epsilon is not None and run.epsilon > 0
    assert [pool.unit for pool in told.pools] == ["record"]
    assert told.pools[0].epsilon == pytest.approx(sites["amsterdam"].journal.spent()["record"])


def test_a_site_without_a_ledger_begins_with_an_empty_board(tmp_path: Path) -> None:
    board = Board("amsterdam")
    remind(board, tmp_path / "none.sqlite")
    assert board.standing().runs == ()
    assert not (tmp_path / "none.sqlite").exists()


def test_a_coordinator_that_ended_after_its_run_is_no_alarm(board: Board) -> None:
    note("run_begins", run=RUN.hex(), rounds=2)
    board.contacted()
    board.lost("fed:1 refuses the connection", is_gone=True)
    assert "lost" in dict(rows(board.standing()))["connection"], "in the middle of a run it is one"
    assert lately(board.standing())
    note("run_ends", run=RUN.hex())
    told = dict(rows(board.standing()))["connection"]
    assert told.startswith("the coordinator has ended; waiting for the next run")
    assert lately(board.standing()) == []
    board.lost("the certificate is for another")
    assert "trying again: the certificate" in dict(rows(board.standing()))["connection"]
    assert lately(board.standing())
