"""What a machine remembers of runs that are over: for its owner only, and nothing where it cannot."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from simulations.endings import remembered
from simulations.endings.remembered import recall, remember

KEY, INPUTS = b"k" * 32, {"sites": {"ash": {"training data": "ab"}}}


@pytest.fixture
def result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "report.json").write_text('{"engine": "vectorized"}')
    return tmp_path / "report.json"


def kept(result: Path) -> Path:
    (path,) = (result.parent / "state").rglob("*.json")
    return path


def test_it_goes_by_what_the_result_says_wherever_that_lies_and_is_for_the_owner_only(result: Path) -> None:
    remember(result, KEY, INPUTS)
    assert recall(result) == (KEY, INPUTS)
    moved = result.rename(result.with_name("copy.json"))
    assert recall(moved) == (KEY, INPUTS)
    assert stat.S_IMODE(kept(result).stat().st_mode) == 0o600
    moved.write_text('{"engine": "protocol"}')
    assert recall(moved) is None


def test_what_another_version_wrote_or_nobody_can_read_is_not_known(
    result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(result, KEY, INPUTS)
    told = json.loads(kept(result).read_text())
    for damaged in ({**told, "made_by": ["0.0.9", "2"]}, {"key": ""}, [], {**told, "key": 3}):
        kept(result).write_text(json.dumps(damaged))
        assert recall(result) is None
    kept(result).write_text("{")
    assert recall(result) is None

    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.setattr(remembered, "registry_path", homeless)
    remember(result, KEY, INPUTS)
    assert recall(result) is None
