"""report.json for programs and report.html for people, in a run folder."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path

from federation.errors import CheckpointError
from federation.files import kept, replace_file
from federation.report.report import Report

PAGE, REPORT = "report.html", "report.json"
_log = logging.getLogger(__name__)


def write_report(folder: Path, report: Report) -> None:
    """Write `folder`/report.json as a whole: a reader never sees half a file. CheckpointError if it cannot be."""
    text = json.dumps(report.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with kept(folder / REPORT) as path:
        replace_file(path, text.encode())


def write_page(folder: Path, report: Report, verdict: str = "") -> None:
    """Write `folder`/report.html, with the `verdict` of an audit. Nothing depends on it: a warning says why not."""
    path = folder / PAGE
    try:
        from federation.report.page import render  # draws plots: nothing else needs matplotlib
        from federation.report.said.section import section_of

        replace_file(path, render(report, verdict, section=section_of(folder)).encode())
    except Exception as error:
        with suppress(OSError):
            path.unlink(missing_ok=True)  # an older one would contradict report.json
        why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        _log.warning("%s: n/a (%s); the same command again makes it, and nothing else", path, why)


def read_report(folder: Path) -> Report:
    """The report of a complete run. CheckpointError if report.json cannot be read."""
    path = folder / REPORT
    try:
        return Report.from_json(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, RecursionError):
        hint = "the run is complete: federation audit RUN shows what it was"
        raise CheckpointError(f"{path} cannot be read", hint=hint) from None
