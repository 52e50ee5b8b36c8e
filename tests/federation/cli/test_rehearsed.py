"""What a terminal shows of a rehearsal, and of a task on made-up records."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.cli.tables import print_findings, print_rehearsal
from server.rehearsal import Rehearsal, Rehearsed
from tests.federation.command import Command

FOUND = Rehearsal(
    plan_digest="sha256:1",
    rehearsal_digest="sha256:2",
    run="00",
    date="2026-11-28T22:00:00Z",
    version="1",
    deadline_seconds=60.0,
    planned_rounds=200,
    rounds=2,
    seconds_a_round=0.5,
    failure=None,
    sites=(
        Rehearsed("ash", "took part", rounds=2, seconds={"joining": 1.25, "training": 31.5}, bytes_up=2048),
        Rehearsed("birch", "refused", "code"),
        Rehearsed("cedar", "refused", "protocol", "consents to another noise multiplier"),
    ),
    unnamed=({"address": "17", "reason": "policy", "detail": None},),
    warnings=("ash: training took 31.5 s of a deadline of 60 s",),
)


def test_a_rehearsal_is_called_one_and_each_site_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_rehearsal(FOUND.to_json())
    shown = capsys.readouterr().out
    assert shown.startswith("REHEARSAL on made-up records: no budget was charged, and no params were written")
    assert "birch" in shown
    assert "refused (code)" in shown
    assert "31.50" in shown
    assert "cedar: consents to another noise multiplier" in shown
    assert "somebody at 17 refused (policy)" in shown
    assert "warning: ash: training took 31.5 s of a deadline of 60 s" in shown
    assert "200 rounds about 100 s" in shown


def test_findings_are_a_table_with_what_to_do_below_and_none_are_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_findings([], "16 things asked hold")
    assert capsys.readouterr().out == "16 things asked hold\n"
    print_findings([{"check": "loss", "outcome": "fault", "detail": "a mean", "hint": "say none"}], "15 hold")
    shown = capsys.readouterr().out
    assert "fault" in shown
    assert shown.endswith("loss: say none\n")


def test_json_is_for_a_rehearsal_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    federation = Command(monkeypatch, capsys)
    words = ("--roster", tmp_path / "roster.toml", "--state", tmp_path / "state")
    done = federation("serve", tmp_path / "plan.toml", *words, "--json")
    assert (done.code, "add --rehearse" in done.err) == (2, True)
