"""The coordinator's log: every round, and every lost site by name, with a reason from the fixed list."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from federation.errors import TooFewSurvivors
from federation.log import to_stderr
from federation.round.messages import Frame, Kind, Reason, abort_body
from federation.sums.state import begin
from privacy.errors import FaultyServer
from server.app import _told_once
from server.events import note_round
from tests.federation.audit.audited import EVALUATED, served
from tests.server.test_run import RUN, network_of
from tests.stories.network import Fate, vanish
from tests.worlds import opened, opened_lines, plan_of, rounds_of, start

Lines = Callable[[], list[Any]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    """What the log says, as objects."""
    to_stderr(as_json=True)
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def of(told: list[Any], event: str) -> list[Any]:
    return [line for line in told if line["event"] == event]


def test_a_site_that_falls_silent_is_named_on_both_sides(tmp_path: Path, lines: Lines) -> None:
    plan = plan_of(rounds=2, dropouts=1)
    with opened(plan, tmp_path, 5) as (world, sites):
        network = network_of(sites, vanish("ash", Kind.BROADCAST, 1))
        for _, receipt in rounds_of(world, network, begin(plan, RUN, start(plan))):
            note_round(plan, RUN, receipt)
    told = lines()
    assert [(line["site"], line["reason"], line["round"]) for line in of(told, "site_lost")] == [
        ("ash", "silent", 1)
    ]
    ends = [line for line in of(told, "round_ends") if "rounds" in line]
    assert [(line["round"], line["cohort"], line["survivors"], line["lost"]) for line in ends] == [
        (1, 5, 4, ["ash"]), (2, 5, 5, []),
    ]  # fmt: skip
    assert all(line["seconds"] > 0 and line["run"] == RUN.hex() for line in ends)
    seen = [line for line in of(told, "round_ends") if "rounds" not in line and line["round"] == 1]
    assert [line["lost"] for line in seen] == [["ash"]] * 4, "the other sites' own logs"


@pytest.mark.parametrize("reason", sorted(set(Reason) - {Reason.SHARE}))
def test_a_site_that_refuses_is_named_with_its_reason(reason: Reason, tmp_path: Path, lines: Lines) -> None:
    plan = plan_of(rounds=1, dropouts=0)

    def decide(site: str, frame: Frame) -> Fate:
        return "keep"

    with opened(plan, tmp_path) as (world, sites):
        network = network_of(sites, decide)
        carried = network.send

        def send(messages: Any) -> None:
            carried(messages)
            for place, arrival in enumerate(network._arrivals):
                frame = Frame.from_bytes(arrival.data)
                if arrival.sender == "birch" and frame.kind is Kind.SHARES:
                    body = frame.reply(Kind.ABORT, abort_body(reason)).to_bytes()
                    network._arrivals[place] = type(arrival)(arrival.sender, body)

        network.send = send  # type: ignore[method-assign]
        with pytest.raises(TooFewSurvivors, match="birch"):
            list(rounds_of(world, network, begin(plan, RUN, start(plan))))
    lost = of(lines(), "site_lost")
    assert {(line["site"], line["reason"]) for line in lost} == {("birch", reason.name.lower())}


def test_a_site_that_does_not_join_is_told(tmp_path: Path, lines: Lines) -> None:
    plan = plan_of()
    with opened(plan, tmp_path, 4) as (world, sites):
        network = network_of(sites, vanish("ash", Kind.HELLO, 0, attempts=range(1)))
        opened_lines(world, network, RUN)
    assert [(line["address"], line["reason"]) for line in of(lines(), "site_refused")] == [("ash", "silent")]


def test_a_failure_is_told_once_and_a_foreign_text_goes_nowhere(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("flwr"), "level", logging.INFO)
    with pytest.raises(Exception) as raised, _told_once(False):
        raise ValueError("patient 12345")
    assert "12345" not in str(raised.value)
    with pytest.raises(FaultyServer, match="twice"), _told_once(False):
        raise FaultyServer("twice")
    told = lines()
    assert [line["detail"] for line in told] == ["unexpected ValueError", "twice"]
    assert not logging.getLogger("flwr").isEnabledFor(logging.ERROR), "Flower would print a traceback"


def test_the_end_of_a_run_tells_what_all_of_it_cost(tmp_path: Path, lines: Lines) -> None:
    run = served(tmp_path, EVALUATED)
    (end,) = [line for line in of(lines(), "run_ends") if "rounds" in line]
    assert end["report"] == str(run / "report.html"), "where to look next"
    report = json.loads((run / "report.json").read_text("utf-8"))
    assert end["epsilon"] == pytest.approx(report["privacy"]["together"]["epsilon"], rel=1e-5)
    assert end["epsilon"] > report["privacy"]["epsilon"] + 0.1
