"""Checks what a report says of its own making: who signed the roster, when it ended, how many lines were read.

Most of it is the word of whoever ran it. What other files hold is compared; the rest must at least be possible.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from federation.audit.findings import Findings
from federation.audit.report import differs, rows_of
from federation.errors import FederationError
from federation.identity.roster_file import load_roster
from privacy.errors import PrivacyError

_MOMENT = "%Y-%m-%dT%H:%M:%SZ"


def check_made(run: Path, report: Mapping[str, Any], is_by_record: bool, found: Findings) -> None:
    """Check `made`, and that no site read fewer lines than it has records.

    `is_by_record`: `records` counts records, not patients, so that each is a line of its own.
    """
    made = report.get("made")
    if isinstance(made, Mapping):
        if not _is_moment(made.get("finished")) or not _is_word(made.get("version")):
            differs("made does not say when the run ended, and under which version", found)
        _check_signers(run, report, made.get("signers", []), found)
    if is_by_record:
        _check_lines(report, found)
    found.skip("report.json: sites[].lines, beyond that they are enough for the records of a site")
    found.skip("made.finished, made.version and every number of seconds: the word of whoever ran it")
    found.skip("receipts.jsonl: attempts, and the bytes up and down: the server's own word")


def _check_signers(run: Path, report: Mapping[str, Any], told: object, found: Findings) -> None:
    """A real run names the keys that signed its roster; a simulation has a roster of its own and names none."""
    if report.get("simulated") is True:
        if told != []:
            differs("made.signers names signers of a simulation, which has none", found)
        return
    with suppress(
        FederationError, PrivacyError, OSError, ValueError
    ):  # a roster that is none is a finding already
        if told != sorted(key.hex() for key in load_roster(run / "roster.toml").signatures):
            differs("made.signers are not the keys that signed roster.toml", found)


def _check_lines(report: Mapping[str, Any], found: Findings) -> None:
    """A table has a line or more for every record, trained on or held out; not each has a header."""
    told = report.get("evaluation")
    sites = told.get("sites") if isinstance(told, Mapping) else None
    held_out = sites if isinstance(sites, Mapping) else {}
    for row in rows_of(report.get("sites")):
        lines, records = (
            row.get(name) if isinstance(row, Mapping) else None for name in ("lines", "records")
        )
        if lines is None or type(records) is not int:
            continue
        figures = held_out.get(row.get("id"))
        count = figures.get("n") if isinstance(figures, Mapping) else 0
        least = records + (count if type(count) is int else 0)
        if type(lines) is not int or lines < least:
            differs("sites[].lines are fewer than the records of a site", found)


def _is_word(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 64


def _is_moment(value: object) -> bool:
    with suppress(ValueError, TypeError):
        return bool(datetime.strptime(str(value), _MOMENT))
    return False
