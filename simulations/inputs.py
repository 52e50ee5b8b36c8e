"""What a simulation began with: its sites, their data, its task and its engine. A resumed run takes nothing else.

The journals charge a run once, so whoever resumes it on other data would use records that nobody is charged for,
and one report would speak of two data sets. The inputs are kept as HMAC-SHA256 under a random key of this run: a
plain hash of a small file would tell whoever finds it whether a guess at the rows is right.
The key lies with the other keys of the run (checkpoint/keys), and goes with them when the run is finished. Then
this machine alone keeps both (simulations/endings): a finished run is not shown to who asks for it with other data.
"""

from __future__ import annotations

import hmac
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from federation.errors import CheckpointError, OtherRun
from federation.files import kept, replace_file
from federation.model.params import initial_params, params_bytes
from federation.plan.plan import Plan
from federation.plan.tabular import TabularTask
from federation.report.files import REPORT
from federation.report.report import Report
from federation.sums.engines import option
from privacy.signing import public_identity
from server import checkpoint
from simulations.endings.remembered import recall, remember
from simulations.fingerprints import fingerprint, parts_of
from simulations.world import World

_KEY_FILE = "inputs"  # not a site's key: those end in .key
_FILE = "inputs.json"
_HINT = "bring back what the run began with, or start another run in another folder"

Inputs = dict[str, Any]  # what: its fingerprint, by site under "sites"


def keep_inputs(world: World, engine: str, folder: Path) -> None:
    """Record what this run begins with in its checkpoint folder; if it began already, refuse anything else.

    CheckpointError names the site, and is raised before any journal is opened.
    """
    if not checkpoint.exists(folder):  # nothing was charged yet
        key = os.urandom(32)
        text = json.dumps(_inputs(world, engine, key), indent=1, sort_keys=True)
        with kept(folder):
            (folder / "keys").mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(folder / "keys" / _KEY_FILE, key, is_secret=True)
            replace_file(folder / _FILE, text.encode())
        return
    try:
        key = (folder / "keys" / _KEY_FILE).read_bytes()
        known = json.loads((folder / _FILE).read_text("utf-8"))
        _compare(known, _inputs(world, engine, key))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        message = f"{folder} does not say what data its run began with"
        raise CheckpointError(message, hint="start again in another folder") from None


def keep_ended(folder: Path, result: Path) -> None:
    """Before the checkpoint folder of a finished run goes: have this machine know what its `result` is of."""
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
        known = json.loads((folder / _FILE).read_text("utf-8"))
        remember(result, (folder / "keys" / _KEY_FILE).read_bytes(), _lasting(known))


def require_ended(world: World, report: Report, result: Path) -> bool:
    """OtherRun if a finished run, of which `report` in the file `result` tells, was of anything else.

    Whether data were compared; else this machine knows of its sites what the report tells of them, and no more.
    """
    known = recall(result)
    if known is not None:
        with suppress(LookupError, TypeError, AttributeError):
            _compare(known[1], _lasting(_inputs(world, report.engine, known[0])))
            return True
    if world.listed:
        count = "number of training records"
        told = {site.id: {count: str(site.records)} for site in report.sites}
        _compare_sites(told, {name: {count: str(len(world.training[name]))} for name in world.listed})
    return False


def said_of_ended(world: World, report: Report, out: Path) -> str:
    """That the finished run in a folder is shown, and what was compared before. OtherRun as `require_ended`."""
    how = f"by engine {report.engine} with seed {report.seed}"
    said = f"nothing was run: {out} holds this run already, finished {how}"
    if require_ended(world, report, out / REPORT):
        return f"{said}, on these data"
    least = "only names of sites and their numbers of records were compared"
    return f"{said}; this machine knows no fingerprints of its data, so {least}"


def _lasting(inputs: Inputs) -> Inputs:
    """Without the keys of sites: those of simulated ones are made for a run, and go with it."""
    sites = inputs["sites"].items()
    lasting = {name: {what: of for what, of in each.items() if what != "key"} for name, each in sites}
    return {**inputs, "sites": lasting}


def _inputs(world: World, engine: str, key: bytes) -> Inputs:
    params = initial_params(world.task.model, world.plan.federation.seed)
    sites = {
        name: {
            "training data": fingerprint(key, parts_of(world.began_with(name)[0])),
            "held-out data": fingerprint(key, parts_of(world.began_with(name)[1])),
            "site.toml": fingerprint(key, _rules(world, name)),
            "key": fingerprint(key, [public_identity(world.identities[name])]),
        }
        for name in world.listed
    }
    held_out = (
        [] if world.listed else [b"", *(part for data in world.held_out.values() for part in parts_of(data))]
    )
    count = [] if world.listed else [str(world.size).encode()]
    task = fingerprint(key, [params_bytes(params), code_of(world.plan), *count, *held_out])
    return {"engine": engine, "task": task, "sites": sites}


def code_of(plan: Plan) -> bytes:
    """The file that the user's own task or model is in: another loss leaves data and first params as they were.

    What that file imports from elsewhere is not looked at.
    """
    name = plan.task.model if isinstance(plan.task, TabularTask) else plan.task
    module, is_own, _ = name.partition(":")
    place = getattr(sys.modules.get(module), "__file__", None) if is_own else None  # a world has loaded it
    return b"" if place is None else Path(place).read_bytes()


def _rules(world: World, name: str) -> list[bytes]:
    """What a run may not change of a site.toml on its way. A stricter policy is welcome at any time.

    The journal counts by its place beside the keys: a folder of sites that moved as a whole is still the same.
    """
    rules = world.rules.get(name)
    if rules is None:
        return []
    journal = os.path.relpath(rules.journal.resolve(), rules.keys.resolve())
    return [text.encode() for text in (rules.data.pool, journal, str(rules.data.size))]


def _compare(known: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if known["engine"] != now["engine"]:
        hint = f"give {option(known['engine'])}, or name another folder"
        raise OtherRun(f"the run was begun with engine {known['engine']}", hint=hint)
    _compare_sites(known["sites"], now["sites"])
    if not hmac.compare_digest(known["task"], now["task"]):
        raise OtherRun("the task's model or code changed since the run began", hint=_HINT)


def _compare_sites(before: Mapping[str, Mapping[str, str]], after: Mapping[str, Mapping[str, str]]) -> None:
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            raise OtherRun(f"the run began with site {name}, which is not there now", hint=_HINT)
        if name not in before:
            raise OtherRun(f"the run began without site {name}", hint=_HINT)
        for what, found in after[name].items():
            if not hmac.compare_digest(before[name][what], found):
                raise OtherRun(f"the {what} of site {name} changed since the run began", hint=_HINT)
