"""What people copy comes out on one line, however narrow the terminal, and other people's words are only words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from rich.text import Text

from federation.cli.screen import show, styled, titled
from federation.cli.statements import print_statement
from federation.cli.tables import print_budget, print_facts, print_report
from tests.federation.report.pages import typed

DIGEST = "sha256:" + 8 * "0123abcd"
SITE = "a-hospital-with-a-name-as-long-as-a-roster-allows-it-to-be-64-ch"
TERMINALS: tuple[Mapping[str, str], ...] = (
    {"COLUMNS": "80"},
    {"COLUMNS": "40"},
    {"COLUMNS": "20"},
    {"TERM": "dumb"},
    {"NO_COLOR": "1", "COLUMNS": "40"},
    {"FORCE_COLOR": "1", "COLUMNS": "40"},
    {},
)
LIMIT = {
    "epsilon_before": 0.25,
    "epsilon_after": 2.75,
    "epsilon_max": 3.0,
    "delta": 1e-5,
    "room_for_foreseen": 0.2,
}
SPENT = {"epsilon": 1.0, "epsilon_max": 3.0, "delta": 1e-5, "used": 0.5, "records": 1, "sites": 1}
RUN = {
    "run": "5c" * 16, "plan": DIGEST, "unit": "record", "noise_multiplier": 1.0, "sample_rate": 0.1,
    "rounds_begun": 3, "rounds": 4, "rounds_released": 3, "closed": False, "left": False,
    "epsilon": 1.0, "delta": 1e-5,
    "of_its_rounds": {"epsilon": 0.75},
}  # fmt: skip


def _facts() -> None:
    print_facts({"plan_digest": DIGEST, "site": {"id": SITE, "pool": "p" * 90, "units": {"record": LIMIT}}})


def _statement() -> None:
    print_statement(
        {
            "simulated": True, "site": SITE, "pool": "p" * 90, "entries": 3, "head": DIGEST, "refusals": 0,
            "units": {"record": SPENT}, "runs": [RUN], "witnessed": {SITE: 7},
            "restored": [],
        }
    )  # fmt: skip


def _budget() -> None:
    unit = {"unit": "record", "records": 1, "sites": 1, "epsilon": 2.5}
    rule = {"type": "rdp", "order": 7, "load": 1.2, "room_from": 3.2934}
    print_budget({"plan": DIGEST, "units": [unit], "rounds": [], "filter": rule})


def _report() -> None:
    print_report(typed(), Path("/a/rather/long/path/to/the/folders/of/all/runs/of/this/federation/first"))


PRINTED: tuple[tuple[Callable[[], None], tuple[str, ...]], ...] = (
    (_facts, (DIGEST, SITE, "p" * 90, "with this plan")),
    (_statement, (DIGEST, SITE, "p" * 90, f"{SITE} up to entry 7", "5c5c5c5c", "0123abcd")),
    (_budget, (DIGEST, "records at a site")),
    (
        _report,
        ("/a/rather/long/path/to/the/folders/of/all/runs/of/this/federation/first/params.safetensors",),
    ),
)


@pytest.mark.parametrize("terminal", TERMINALS, ids=str)
@pytest.mark.parametrize(("output", "whole"), PRINTED, ids=["facts", "ledger", "budget", "report"])
def test_nothing_is_broken_to_fit(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: Mapping[str, str],
    output: Callable[[], None],
    whole: tuple[str, ...],
) -> None:
    for name in ("COLUMNS", "TERM", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in terminal.items():
        monkeypatch.setenv(name, value)
    output()
    text = capsys.readouterr().out
    lines = Text.from_ansi(text).plain.splitlines()
    for words in whole:
        assert any(words in line for line in lines), words
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    assert ("\x1b" in text) is ("FORCE_COLOR" in terminal)


def test_names_are_no_markup_and_move_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    table = titled("Sites", "site", "records")
    table.add_row("[bold]ash[/] :smile:", "12")
    show("[red]plan[/] :warning:", "a\x1b[2Jb\u202ec\rd", styled(("[x]", "bold"), "e\x1b[1A"), table)
    text = capsys.readouterr().out
    for words in ("[red]plan[/] :warning:", "[bold]ash[/] :smile:", "[x]e"):
        assert words in text
    assert not {"\x1b", "\u202e", "\r"} & set(text)
