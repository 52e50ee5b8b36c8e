"""The log: one line per event, whatever a name or an error holds; ours alone; lost rather than in the way."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Iterator
from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from federation.log import LOGGER, heard_by, note, printable, said, to_stderr, warn, warnings_to_stderr
from privacy.errors import PolicyViolation

HOSTILE = "west\n2026-01-01T00:00:00.000Z run ends\r\x1b[2J\u202e\u2028\x00"


@pytest.fixture
def fresh() -> Iterator[None]:
    """A process that has said nothing yet."""
    LOGGER.handlers[:] = [logging.NullHandler()]
    yield
    logging.captureWarnings(False)


def test_without_a_call_there_are_no_lines(fresh: None, capsys: pytest.CaptureFixture[str]) -> None:
    warn("site_lost", site="west")
    assert capsys.readouterr() == ("", "")


def test_text_is_one_line_with_time_event_and_facts(fresh: None, capsys: pytest.CaptureFixture[str]) -> None:
    to_stderr()
    note("round_ends", run="ab", round=3, lost=["west", "east"], seconds=2.123456789, epsilon=None)
    out, err = capsys.readouterr()
    time, rest = err.rstrip("\n").split(" ", 1)
    assert out == ""
    assert rest == "round ends run=ab round=3 lost=west,east seconds=2.12346"
    assert time.endswith("Z")
    assert datetime.fromisoformat(time).utcoffset() is not None


def test_warnings_for_people_are_said_once_and_go_through_no_handler_of_a_library(
    fresh: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """As opacus sets one up for the whole process when it is imported."""
    foreign = logging.StreamHandler(sys.stderr)
    foreign.setFormatter(logging.Formatter("%(asctime)s:%(message)s"))
    logging.getLogger().addHandler(foreign)
    try:
        warnings_to_stderr()
        note("round_begins", round=1)
        for _ in range(3):
            warn("site_lost", site="west")
            logging.getLogger("simulations.world").warning("%s: left out 2 records\n", "west")
        warn("site_lost", site="east")
    finally:
        logging.getLogger().removeHandler(foreign)
    assert capsys.readouterr() == (
        "",
        "warning: site lost site=west\nwarning: west: left out 2 records?\nwarning: site lost site=east\n",
    )


def test_whoever_reads_a_line_finds_what_a_listener_made_of_it(
    fresh: None, capsys: pytest.CaptureFixture[str]
) -> None:
    to_stderr()
    written: list[str] = []
    with heard_by(lambda _: written.append(capsys.readouterr().err)):
        note("waiting", needed=3)
    assert written == [""]
    assert "waiting needed=3" in capsys.readouterr().err


def test_a_command_can_be_pasted(fresh: None, capsys: pytest.CaptureFixture[str]) -> None:
    command = """flower-supernode --node-config 'socket="/a b"'"""
    to_stderr()
    note("waiting", command=command, site="west")
    assert capsys.readouterr().err.endswith(f"waiting site=west now start: {command}\n")


def test_json_is_one_object_a_line(fresh: None, capsys: pytest.CaptureFixture[str]) -> None:
    to_stderr(as_json=True)
    note("round_ends", run="ab", round=3, lost=[], epsilon=float("inf"))
    warn("site_lost", site=HOSTILE, reason="silent")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert list(first) == ["time", "event", "level", "run", "round", "lost", "epsilon"]
    assert (first["level"], second["level"]) == ("info", "warning")
    assert (first["lost"], first["epsilon"]) == ([], None)
    assert second["site"].startswith("west?2026-01-01")


@pytest.mark.parametrize("as_json", [False, True])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(text=st.text() | st.just(HOSTILE))
def test_nothing_begins_a_line_of_its_own_or_steers_a_terminal(
    fresh: None, capsys: pytest.CaptureFixture[str], as_json: bool, text: str
) -> None:
    to_stderr(as_json=as_json)
    capsys.readouterr()
    warn("site_lost", site=text, lost=[text, text], detail=text)
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err[:-1].isprintable()


def test_a_long_name_is_cut() -> None:
    assert len(printable("x" * 10_000)) < 500


def test_of_a_foreign_error_only_its_kind_is_said() -> None:
    assert said(ValueError("Jane Doe")) == "unexpected ValueError"
    assert said(PolicyViolation("no", hint="yes")) == "no; yes"


def test_other_libraries_are_quiet_below_warnings_and_python_s_warnings_are_dropped(
    fresh: None, capsys: pytest.CaptureFixture[str]
) -> None:
    to_stderr()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("patient 12345", stacklevel=1)
    for name in ("httpx", "flwr", "urllib3"):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO)
    assert capsys.readouterr().err == ""


def test_what_other_modules_of_ours_log_is_a_line_too(
    fresh: None, capsys: pytest.CaptureFixture[str]
) -> None:
    to_stderr(as_json=True)
    logging.getLogger("clients.site").warning("%s", "left out 2 records\nof")
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert (line["event"], line["detail"]) == ("warning", "left out 2 records?of")


def test_a_closed_stderr_ends_nothing(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def write(self, _: str) -> None:
            raise BrokenPipeError

    to_stderr()
    monkeypatch.setattr(sys, "stderr", Broken())
    note("stopped")
