"""The folder of a frontier: what it began with, and each figure as soon as it is made.

    begun.json      plan, epsilons, places of noise, seeds; until it is over also keyed fingerprints of the data
    begun.key       their key: whoever has both can try guesses at rows, so both go when the frontier is finished,
                    and stay on this machine alone (simulations/endings)
    runs/           a run folder for each point and seed
    comparisons/    figures of what stands beside: exact ones about people, so nobody else may read them
    plans/          a plan for each point
    frontier.json, frontier.csv, tradeoff.html

A process that is killed leaves whole files only. The same command goes on; another one is refused.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from federation.errors import CheckpointError, OtherRun
from federation.files import kept, replace_file
from federation.model.params import initial_params, params_bytes
from federation.plan.plan import Plan
from simulations.endings.remembered import recall, remember
from simulations.fingerprints import fingerprint, parts_of
from simulations.inputs import code_of
from simulations.world import World

SCHEMA = "federation.tradeoff/1"
FRONTIER = "frontier.json"
_BEGUN, _KEY = "begun.json", "begun.key"
_OTHER = "name another folder"
_HINT = "bring back what the trade-off began with, or name another folder"

Json = dict[str, Any]


@dataclass(frozen=True)
class Folder:
    """The folder `path`, claimed for what `asked` says by `open`."""

    path: Path
    asked: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path, plan: Plan, asked: Mapping[str, Any]) -> Folder:
        """Claim it, or go on in it. CheckpointError if it holds anything else."""
        wanted = {"schema": SCHEMA, "plan": plan.digest, **asked}
        folder = cls(path, wanted)
        begun = folder._begun()
        if begun is None:
            with kept(path):
                path.mkdir(parents=True, exist_ok=True)
                if any(path.iterdir()):
                    raise OtherRun(f"{path} is not empty and holds no trade-off", hint=_OTHER)
                replace_file(path / _BEGUN, _text(wanted))
            return folder
        for name, value in wanted.items():
            if begun.get(name) != value:
                what = "of another plan or seed" if name == "plan" else f"with other {name}"
                raise OtherRun(f"{path} holds a trade-off {what}", hint=_OTHER)
        return folder

    @property
    def is_finished(self) -> bool:
        """Whether the frontier is there, and nothing is left to be done."""
        return (self.path / FRONTIER).exists() and not (self.path / _KEY).exists()

    def keep_inputs(self, world: World) -> None:
        """Record the data that it begins with; CheckpointError, which names the site, if it began with others."""
        begun = self._begun() or {}
        known, key = begun.get("inputs"), self.path / _KEY
        with kept(key):
            if known is None:
                secret = os.urandom(32)
                replace_file(key, secret, is_secret=True)
                replace_file(self.path / _BEGUN, _text({**self.asked, "inputs": _inputs(world, secret)}))
                return
            try:
                now = _inputs(world, key.read_bytes())
                _compare(known, now)
            except (FileNotFoundError, KeyError, TypeError, AttributeError):
                message = f"{self.path} does not say what data it began with"
                raise CheckpointError(message, hint="start again in another folder") from None

    def require_ended(self, world: World) -> bool:
        """OtherRun if the finished frontier is of other data; whether this machine still knows of which it is."""
        known = recall(self.path / FRONTIER)
        if known is None:
            names: dict[str, dict[str, str]] = {site["id"]: {} for site in self.finished()["sites"]}
            _compare_sites(names, {name: {} for name in world.training})
            return False
        _compare(known[1], _inputs(world, known[0]))
        return True

    def is_kept(self, name: str) -> bool:
        """Whether these figures are made."""
        return self._place(name).exists()

    def made(self, name: str, work: Callable[[], Json]) -> Json:
        """Figures from an earlier process, or those of `work`, kept."""
        place = self._place(name)
        with suppress(OSError, ValueError, RecursionError):
            found = json.loads(place.read_text("utf-8"))
            if isinstance(found, dict):
                return found
        result = work()
        with kept(place):
            place.parent.mkdir(mode=0o700, exist_ok=True)
            replace_file(place, _text(result), is_secret=True)
        return result

    def finished(self) -> Json:
        """The frontier of an earlier process."""
        try:
            found = json.loads((self.path / FRONTIER).read_text("utf-8"))
            if found["schema"] == SCHEMA:
                return dict(found)
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            pass
        raise CheckpointError(f"{self.path / FRONTIER} cannot be read", hint=_OTHER)

    def write(self, name: str, content: str | Json) -> None:
        """One of its files."""
        with kept(self.path / name) as path:
            replace_file(path, content.encode() if isinstance(content, str) else _text(content))

    def tell_again(self, found: Json) -> None:
        """The finished frontier as another version of the program tells it, of the same data."""
        known = recall(self.path / FRONTIER)
        self.write(FRONTIER, found)
        if known is not None:
            remember(self.path / FRONTIER, *known)

    def close(self) -> None:
        """It is over: what could tell these data from others goes."""
        with suppress(OSError, CheckpointError):
            known, key = (self._begun() or {}).get("inputs"), (self.path / _KEY).read_bytes()
            if known is not None:
                remember(self.path / FRONTIER, key, known)
        with kept(self.path / _BEGUN) as path:
            replace_file(path, _text(self.asked))
            (self.path / _KEY).unlink(missing_ok=True)

    def _place(self, name: str) -> Path:
        return self.path / "comparisons" / f"{name}.json"

    def _begun(self) -> Json | None:
        try:
            found = json.loads((self.path / _BEGUN).read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise CheckpointError(f"{self.path / _BEGUN} cannot be read", hint=_OTHER)
        return found


def _text(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _inputs(world: World, key: bytes) -> Json:
    params = initial_params(world.task.model, world.plan.federation.seed)
    sites = {
        name: {
            "training data": fingerprint(key, parts_of(world.training[name])),
            "held-out data": fingerprint(key, parts_of(world.held_out.get(name))),
        }
        for name in sorted(world.training)
    }
    return {"task": fingerprint(key, [params_bytes(params), code_of(world.plan)]), "sites": sites}


def _compare(known: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    _compare_sites(known["sites"], now["sites"])
    if not hmac.compare_digest(known["task"], now["task"]):
        raise OtherRun("the task's model or code changed since the trade-off began", hint=_HINT)


def _compare_sites(before: Mapping[str, Mapping[str, str]], after: Mapping[str, Mapping[str, str]]) -> None:
    for name in sorted(before.keys() ^ after.keys()):
        what = "is not there now" if name in before else "was not there then"
        raise OtherRun(f"the trade-off began with other sites: {name} {what}", hint=_HINT)
    for name, parts in after.items():
        for what, found in parts.items():
            if not hmac.compare_digest(before[name][what], found):
                raise OtherRun(f"the {what} of site {name} changed since the trade-off began", hint=_HINT)
