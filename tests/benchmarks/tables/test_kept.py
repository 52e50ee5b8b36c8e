"""Judged figures are kept as they come: what was stopped goes on, and other code begins anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.tables import kept as module
from benchmarks.tables.kept import Kept


def test_a_stopped_run_goes_on_with_what_it_has_and_computes_a_torn_line_again(tmp_path: Path) -> None:
    path = tmp_path / "build" / "found.jsonl"
    first = Kept(path)
    first.add("heart", 1, "ours", (0.8, 0.01))
    first.add("heart", 0, "ours", (0.7, 0.02))
    first.add("heart", 0, "theirs", (0.6, 0.03))
    path.write_bytes(path.read_bytes()[:-5])  # killed while it wrote
    second = Kept(path)
    assert second.get("heart", 0, "theirs") is None and len(second) == 2
    second.add("heart", 0, "theirs", (0.5, 0.04))
    third = Kept(path)
    assert third.found() == {
        ("heart", "ours"): [(0.7, 0.02), (0.8, 0.01)],
        ("heart", "theirs"): [(0.5, 0.04)],
    }


def test_figures_of_other_code_are_not_of_this_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "found.jsonl"
    Kept(path).add("heart", 0, "ours", (0.8, 0.01))
    monkeypatch.setattr(module, "code", lambda: "another")
    assert len(Kept(path)) == 0
