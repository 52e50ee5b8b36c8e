"""What is going on at this moment, kept in a file beside a run: what no file of the run tells.

It is made of the lines of the log, so it holds what the log may hold: names of sites, counts, reasons from the
fixed list. It is for people who look; nothing reads it to go on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from federation.log import Line

FILE = "now.json"
_PHASES = {
    "ready": "waiting",
    "waiting": "waiting",
    "run_begins": "running",
    "run_resumed": "running",
    "evaluation_begins": "evaluating",
    "run_ends": "finished",
}
_KEPT = {
    "ready": ("address", "pin"),
    "round_begins": ("run", "round", "attempt"),
    "evaluation_begins": ("run", "round", "attempt"),
    "round_ends": ("epsilon",),
}


class Now:
    """Keeps `folder`/now.json, of what it hears (`federation.log.heard_by`)."""

    def __init__(self, folder: Path, sites: tuple[str, ...]) -> None:
        self._path = folder / FILE
        self._told: dict[str, Any] = {
            "process": os.getpid(),
            "phase": "starting",
            "sites": {site: {"connected": False, "reason": None} for site in sites},
        }

    def tell(self, **facts: Any) -> None:
        """Note something that the log does not say."""
        self._told |= facts
        self._store()

    def hear(self, line: Line) -> None:
        """Note what a line of the log says."""
        event = line.event
        facts: Mapping[str, Any] = line.facts
        self._told["phase"] = _PHASES.get(event, self._told["phase"])
        self._told |= {name: facts[name] for name in _KEPT.get(event, ()) if name in facts}
        if event in ("round_begins", "evaluation_begins"):
            self._told["cohort"] = facts.get("sites", [])
        for name, change in _changes(event, facts).items():
            self._told["sites"].setdefault(name, {"connected": False, "reason": None}).update(change)
        if event == "round_ends":
            for name in self._told["sites"].keys() - set(facts.get("lost", ())):
                self._told["sites"][name]["reason"] = None
        self._store()

    def _store(self) -> None:
        self._told["updated"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        beside = self._path.with_suffix(".new")
        with suppress(OSError):  # a full disk: the run itself will say so
            beside.write_text(json.dumps(self._told), "utf-8")
            beside.replace(self._path)


def _changes(event: str, facts: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a line says of single sites."""
    site = facts.get("site")
    if event == "site_connected" and site:
        return {site: {"connected": True}}
    if event == "site_gone" and site:
        return {site: {"connected": False}}
    if event == "site_lost" and site:
        return {site: {"reason": facts.get("reason")}}
    return {}


def read_now(folder: Path) -> dict[str, Any]:
    """What `Now` wrote last; empty if there is nothing that can be read."""
    with suppress(OSError, ValueError, RecursionError):
        told = json.loads((folder / FILE).read_text("utf-8"))
        return told if isinstance(told, dict) else {}
    return {}
