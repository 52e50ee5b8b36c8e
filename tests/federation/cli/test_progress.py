"""A sign of life: a line where people wait for more than a moment, and none where they do not."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from federation.cli import progress
from federation.cli.progress import show_progress, working
from tests.patience import patience


def test_rounds_are_told_by_tenths(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress() as shown:
        for done in range(1, 41):
            shown.rounds("trees", done, 40, {"accuracy": 0.5, "auc": None, "f1": 1.0})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[-1] == "trees: round 40 of 40 accuracy 0.500  auc n/a"


def test_each_of_many_runs_is_told_with_the_time_that_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 108.0, 116.0, 300.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with show_progress() as shown:
        for done, what in ((3, "epsilon 1"), (4, "epsilon 2"), (5, "epsilon 4"), (6, "the page")):
            shown.trials("trade-off", done, 6, what)
    assert capsys.readouterr().err.splitlines() == [
        "trade-off: 3 of 6 done; epsilon 1",  # an earlier process made these: nobody knows how fast
        "trade-off: 4 of 6 done, about 16 s left; epsilon 2",
        "trade-off: 5 of 6 done, about 8 s left; epsilon 4",
        "trade-off: 6 of 6 done; the page",
    ]


def test_what_is_quick_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    with working("reading"):
        pass
    with show_progress() as shown:
        for done in range(20):
            shown.stage("comparison", done, 20)
    assert capsys.readouterr().err == ""


def test_what_takes_long_is_told_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.01)
    with working("working out the noise"):
        told, ends = "", time.monotonic() + patience(5)
        while not told and time.monotonic() < ends:
            time.sleep(0.01)
            told += capsys.readouterr().err
    assert told + capsys.readouterr().err == "working out the noise ...\n"


def test_a_long_comparison_is_told_by_tenths(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    with show_progress() as shown:
        for done in range(1, 21):
            shown.stage("comparison", done, 20)
    lines = [line for line in capsys.readouterr().err.splitlines() if " of " in line]
    assert lines == [f"comparison: {done} of 20" for done in range(2, 21, 2)]


def test_a_terminal_has_a_bar_for_the_rounds_and_for_what_else_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr("rich.console.Console", lambda **_: terminal)
    with show_progress() as shown:
        shown.stage("reading the data")
        shown.rounds("trees", 1, 2, {"auc": 0.5})
        shown.rounds("trees", 2, 2, {"auc": 0.75})
        shown.stage("comparison", 1, 2)
        shown.stage("comparison", 2, 2)
        shown.stage("drawing the report")
    text = screen.getvalue()
    assert "2/2" in text
    assert "auc 0.750" in text
    last = text[text.rindex("trees") :]
    assert "comparison" in last


def test_bars_of_folds_stand_in_their_order_and_what_went_on_in_between_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr("rich.console.Console", lambda **_: terminal)
    with show_progress() as shown:
        for fold in (1, 2, 3):
            shown.stage(f"fold {fold} of 3: reading the data")
            shown.rounds(f"trees, fold {fold} of 3", 4, 4, {})
            shown.stage(f"fold {fold} of 3: comparison", 4, 4)
    last = screen.getvalue()
    last = last[last.rindex("trees, fold 1 of 3") :]
    order = [last.index(f"trees, fold {fold} of 3") for fold in (1, 2, 3)]
    assert order == sorted(order)
    assert order[-1] < last.index("fold 3 of 3: comparison")
    assert "1 of 3: comparison" not in last
    assert "2 of 3: comparison" not in last
