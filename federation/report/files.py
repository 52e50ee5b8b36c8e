"""report.json for programs and report.html for people, in a run folder."""

from __future__ import annotations

import json
from pathlib import Path

from federation.errors import CheckpointError
from federation.files import replace_file
from federation.report.report import Report


def write_report(folder: Path, report: Report) -> None:
    """Write `folder`/report.json and report.html, each as a whole: a reader never sees half a file."""
    text = json.dumps(report.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    replace_file(folder / "report.json", text.encode())
    from federation.report.page import render  # draws plots: nothing else needs matplotlib

    replace_file(folder / "report.html", render(report).encode())


def read_report(folder: Path) -> Report:
    """The report of a complete run. CheckpointError if report.json cannot be read."""
    path = folder / "report.json"
    try:
        return Report.from_json(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, RecursionError):
        hint = "the run is complete: federation audit RUN shows what it was"
        raise CheckpointError(f"{path} cannot be read", hint=hint) from None
