"""A coordinator's runs at a glance, from their files alone: for `federation status` and the live page.

The files are the same whether anybody is at work in them or not, so a snapshot is true after a kill, too.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from federation.errors import InputError
from federation.plan.plan import Plan, parse
from federation.round.plays import folds_in, rounds_before
from server.showing.now import read_now

SCHEMA: Final = "federation.status/1"
LINK: Final = "link"
"""The folder in a state folder that is no part of a run: of the SuperLink, and of what is going on."""
_LAST: Final = 200  # rounds that are listed one by one


class Glance:
    """Makes snapshots of one state folder; what of it did not change is not read again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, tuple[object, dict[str, Any]]] = {}

    def __call__(self) -> dict[str, Any]:
        """The snapshot, as JSON. InputError if the folder holds no run."""
        now, is_running = read_now(self._folder / LINK), is_locked(self._folder / LINK)
        runs = [self._run(path) for path in run_folders(self._folder)]
        if not runs and not now:
            hint = "name the folder of federation serve --state, or a run folder"
            raise InputError(f"{self._folder} holds no run", hint=hint)
        return {
            "schema": SCHEMA,
            "running": is_running,
            "phase": self._phase(now, runs, is_running=is_running),
            "address": now.get("address"),
            "pin": now.get("pin"),
            "sites": _sites(now, runs, is_running=is_running),
            "cohort": now.get("cohort", []) if is_running else [],
            "round": now.get("round") if is_running else None,
            "attempt": now.get("attempt") if is_running else None,
            "epsilon": now.get("epsilon") if is_running else None,
            "error": None if is_running else now.get("error"),
            "updated": now.get("updated"),
            "runs": runs,
        }

    def _phase(self, now: Mapping[str, Any], runs: list[dict[str, Any]], *, is_running: bool) -> str:
        """Of the coordinator of all these runs; "none" where each has one of its own, which says so itself."""
        if not (self._folder / LINK).is_dir() and any(run["phase"] for run in runs):
            return "none"
        return _phase(now, runs, is_running=is_running)

    def _run(self, folder: Path) -> dict[str, Any]:
        link = folder / LINK
        own = (read_now(link), is_locked(link)) if link.is_dir() else None
        files = [folder / name for name in ("plan.toml", "receipts.jsonl", "report.json", "checkpoint")]
        mark = _mark([*files, *_folds(folder)]), own
        known = self._read.get(folder)
        if known is None or known[0] != mark:
            run = _read_run(folder)
            run["phase"] = None if own is None else _phase(own[0], [run], is_running=own[1])
            self._read[folder] = known = mark, run
        return known[1]


def run_folders(folder: Path) -> list[Path]:
    """The run in a folder, or the runs in folders in it, in the order in which they were begun."""
    if (folder / "plan.toml").exists():
        return [folder]
    found = [path.parent for path in folder.glob("*/plan.toml")] if folder.is_dir() else []
    return sorted(found, key=lambda path: ((path / "plan.toml").stat().st_mtime_ns, path.name))


def is_locked(folder: Path) -> bool:
    """Whether a coordinator is at work: the kernel takes its lock away, however it ended."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _read_run(folder: Path) -> dict[str, Any]:
    stored = folder / "plan.toml"
    plan = parse(stored.read_text("utf-8-sig"), stored)
    lines = list(_lines(folder / "receipts.jsonl"))
    rounds = _numbered(plan, [line for part in _folds(folder) for line in _lines(part)] + lines)
    report = _json(folder / "report.json")
    published = next((line["evaluation"] for line in lines if "evaluation" in line), None)
    return {
        "folder": str(folder),
        "name": plan.federation.name,
        "plan_digest": plan.digest,
        "run": next((line["run"] for line in lines if "run" in line), None),
        "rounds": plan.reserved[0],
        "rounds_done": max(rounds, default=0),
        "begun": bool(lines) or (folder / "checkpoint").exists(),
        "finished": bool(report),
        "refused": next((line["check"] for line in lines if "refused" in line), None),
        "epsilon": _epsilon(report),
        "evaluation": published,
        "faults": _faults(rounds),
        "history": [_round(rounds[number]) for number in sorted(rounds)][-_LAST:],
        "totals": _totals(rounds),
    }


def _folds(folder: Path) -> list[Path]:
    """The receipts of each fold of a plan that has folds."""
    return [receipts for fold in folds_in(folder) if (receipts := fold / "receipts.jsonl").exists()]


def _numbered(plan: Plan, lines: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Rounds by the numbers that ledgers have, which go on through all folds."""
    found = {}
    for line in lines:
        if isinstance(line.get("round"), int) and re.fullmatch("[0-9a-f]{32}", str(line.get("run"))):
            number = rounds_before(plan, bytes.fromhex(line["run"])) + line["round"]
            found[number] = {**line, "round": number}
    return found


def _round(line: Mapping[str, Any]) -> dict[str, Any]:
    """A finished round: who answered, who did not and why."""
    survivors = list(line.get("survivors", ()))
    reasons: dict[str, str] = {}
    for void in line.get("void", ()):
        reasons |= void.get("reasons", {})
    missing = {site: reasons.get(site, "silent") for site in line.get("cohort", ()) if site not in survivors}
    return {
        "round": line["round"],
        "seconds": line.get("seconds"),
        "attempts": line.get("attempts"),
        "answered": survivors,
        "missing": missing,
        "lost": not survivors,
    }


def _totals(rounds: Mapping[int, Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """By site: rounds to which it was asked, and in whose sum it is; bytes both ways."""
    found: dict[str, dict[str, int]] = {}
    for line in rounds.values():
        for site in line.get("cohort", ()):
            one = found.setdefault(site, {"asked": 0, "answered": 0, "bytes_up": 0, "bytes_down": 0})
            one["asked"] += 1
            one["answered"] += site in line.get("survivors", ())
            one["bytes_up"] += line.get("bytes_up", {}).get(site, 0)
            one["bytes_down"] += line.get("bytes_down", {}).get(site, 0)
    return found


def _faults(rounds: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """What the newest receipt knows of faults, in words."""
    line = rounds[max(rounds)] if rounds else {}
    proven = [f"{site} is proven to be at fault" for site in line.get("proven", ())]
    accused = [
        f"{one} says that its share from {other} does not open" for one, other in line.get("accused", ())
    ]
    return [*proven, *accused]


def _sites(now: Mapping[str, Any], runs: list[dict[str, Any]], *, is_running: bool) -> list[dict[str, Any]]:
    """Every site that is known, and how it stands in the newest run."""
    totals = runs[-1]["totals"] if runs else {}
    states = now.get("sites", {})
    return [
        {
            "id": site,
            "connected": bool(states.get(site, {}).get("connected")) if is_running else None,
            "reason": states.get(site, {}).get("reason") if is_running else None,
            "asked": totals.get(site, {}).get("asked", 0),
            "answered": totals.get(site, {}).get("answered", 0),
        }
        for site in sorted({*states, *totals})
    ]


def _phase(now: Mapping[str, Any], runs: list[dict[str, Any]], *, is_running: bool) -> str:
    if is_running:
        return str(now.get("phase", "running"))
    if runs and all(run["finished"] for run in runs):
        return "finished"
    return "failed" if now.get("phase") == "failed" else "interrupted"


def _epsilon(report: Mapping[str, Any]) -> float | None:
    """Of training and evaluation together, for one unit that the plan protects."""
    privacy = report.get("privacy", {})
    found = (privacy.get("together") or privacy).get("epsilon")
    return found if isinstance(found, float | int) else None


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with suppress(OSError):
        for line in path.read_text("utf-8").splitlines():
            with suppress(ValueError):  # the last line of a killed process
                found = json.loads(line)
                if isinstance(found, dict):
                    yield found


def _json(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text("utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def _mark(files: list[Path]) -> tuple[int, int]:
    """Changes when one of the files does."""
    size = moment = 0
    for path in files:
        with suppress(OSError):
            found = path.stat()
            size, moment = size + found.st_size, max(moment, found.st_mtime_ns)
    return size, moment
