"""`federation leave` by the command line: what it says, asks and refuses."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import typer

from clients.approvals import open_journal
from clients.policy import load_site
from tests.clients.test_join import SITE, write_site
from tests.clients.test_leaving import NAME, ROUNDS, reserve
from tests.federation.command import Command


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = write_site(tmp_path, SITE.replace("epsilon_max = 8.0", "epsilon_max = 50.0"))
    reserve(path, 1)
    return path


def closed(site: Path) -> bool:
    with_journal = open_journal(load_site(site))
    try:
        return with_journal.entries()[-1].kind == "close"
    finally:
        with_journal.close()


def test_it_says_what_stays_and_what_is_given_back_and_then_does_it(command: Command, site: Path) -> None:
    done = command("leave", site, NAME[:8], "--yes")
    assert done.code == 0
    assert f"1 of {ROUNDS} rounds were begun and stay charged; the {ROUNDS - 1} that never began" in done.out
    assert "epsilon charged per record" in done.out and f"berlin has left run {NAME}" in done.out
    assert "sees that this site left" in done.out
    assert "left" in command("ledger", "show", site).out
    again = command("leave", site, NAME, "--yes")
    assert (again.code, again.out) == (3, "")
    assert "left already" in again.err


def test_json_is_the_same_as_facts(command: Command, site: Path) -> None:
    refused = command("leave", site, NAME, "--json")
    assert (refused.code, refused.out) == (2, "") and "--yes" in refused.err
    facts = command("leave", site, NAME, "--json", "--yes").json
    assert (facts["left"], facts["rounds_begun"], facts["rounds_returned"]) == (True, 1, ROUNDS - 1)
    assert facts["units"]["record"]["epsilon_after"] < facts["units"]["record"]["epsilon_before"]


def test_without_yes_a_person_is_asked_and_a_script_refused(
    command: Command, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert command("leave", site, NAME).code == 2
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(typer, "confirm", lambda text, **_: asked.append(text))
    declined = command("leave", site, NAME)
    assert (declined.code, closed(site)) == (2, False)
    assert "nothing was changed" in declined.err and NAME in asked[0]
    monkeypatch.setattr(typer, "confirm", lambda *_, **__: True)
    assert command("leave", site, NAME).code == 0
    assert closed(site)


@pytest.mark.parametrize("run", ["ff" * 16, "x", "nothing"])
def test_a_run_that_the_site_never_joined_is_refused(command: Command, site: Path, run: str) -> None:
    refused = command("leave", site, run, "--yes")
    assert refused.code == 2
    assert "cannot leave what it has not joined" in refused.err


def test_a_run_is_closed_by_the_letters_that_tables_show(command: Command, site: Path) -> None:
    reserve(site, 0, "ab" * 16)
    short = command("ledger", "close", site, NAME[:7])
    assert (short.code, short.out) == (3, "") and not closed(site)
    done = command("ledger", "close", site, NAME[:8])
    assert (done.code, closed(site)) == (0, True) and done.out.startswith(f"{NAME}: closed")
    reserve(site, 0, "ab" * 4 + "f" * 24)
    twice = command("ledger", "close", site, "ab" * 4)
    assert (twice.code, twice.out) == (3, "") and not closed(site)
