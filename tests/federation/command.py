"""The real `federation` command, called in this process."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from federation.cli import progress
from federation.cli import start as cli


@dataclass(frozen=True)
class Outcome:
    """What a shell would have seen."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self.out)
        return result


class Command:
    """Call it with words; what is written goes nowhere else."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *words: object) -> Outcome:
        self._capsys.readouterr()
        code: object = 0
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["federation", *map(str, words)])
            patch.setenv("COLUMNS", "200")
            # Where a machine is busy a stage is told on stderr (test_progress.py): here no test waits for that.
            patch.setattr(progress, "PATIENCE", 600.0)
            try:
                cli.main()
            except SystemExit as stop:
                code = stop.code
        written = self._capsys.readouterr()
        return Outcome(code if isinstance(code, int) else 1, written.out, written.err)
