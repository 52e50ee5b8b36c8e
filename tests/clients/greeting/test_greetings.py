"""The newest greeting is remembered over the life of a process."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from clients.greeting.greetings import Greetings
from privacy.errors import FaultyServer, RecordsUnavailable

KEY, OTHER = bytes(32), bytes([1]) * 32
ONE, TWO = bytes(16), bytes([2]) * 16


def test_an_older_greeting_of_another_run_is_refused_by_every_process(tmp_path: Path) -> None:
    path = tmp_path / "berlin.greetings"
    Greetings(path).remember(KEY, 100, ONE)
    Greetings(path).remember(KEY, 200, TWO)
    memory = Greetings(path)
    with pytest.raises(FaultyServer, match="older than the newest"):
        memory.check(KEY, 199, ONE)
    memory.check(KEY, 150, TWO)  # the same run: nothing comes of it
    memory.check(KEY, 200, ONE)
    memory.check(OTHER, 1, ONE)
    memory.remember(KEY, 150, TWO)
    with pytest.raises(FaultyServer):
        Greetings(path).check(KEY, 199, ONE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_read_is_no_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "berlin.greetings"
    path.write_text("[]")
    with pytest.raises(RecordsUnavailable, match="are not known"):
        Greetings(path).check(KEY, 1, ONE)
