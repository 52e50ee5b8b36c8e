"""Trying is spending: counts how often the same data were simulated on this machine.

A simulation shows exact figures, and its run folder has journals of its own. So whoever tries ten plans and keeps
the best one sees ten times "epsilon 3", and the journals of the run that is kept know nothing of the others. This
registry does. It is advice and refuses nothing: the budget of real data is kept in a site's journal, also in a
simulation (site.toml). Where it cannot be used, the run goes on, and its report says that it was not counted.

Which runs count as runs on the same data: those in which a site's file lay at the same path, and those that share
a row with this one, whatever its place, the order of rows and columns, or the other rows. One row is enough: the
person it is about was in both. So a changed row, a part, a copy and a shuffled copy are all recognized; a copy at
another path with a column more or less is not. Tables of few, coarse columns may share a row by chance, and are
counted too often.

A row is known by its HMAC-SHA256 under a random key of this registry (`clients.data.populations` says which rows
are equal). Of a file with more than 4096 rows only the 4096 smallest fingerprints are kept: a sketch, the same for
the same rows in any order. With a thousandth of the larger of two files in common, they are told apart with
probability e^-4. Key and fingerprints lie in one file, readable by its owner only: it is as confidential as the
data, since whoever has it can try guesses at rows. Deleting it forgets every run.

One number for runs that were chosen one after the other is the filter's (`privacy.accounting.filters`): its order
follows from the first run alone.
"""

from __future__ import annotations

import hmac
import json
import math
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from heapq import nsmallest
from pathlib import Path
from typing import Any, Final

from clients.data.folders import SiteFiles
from clients.data.populations import fingerprints_under
from clients.rules.origin import Origin, Place
from federation.errors import DataError
from federation.ledger import durable
from federation.plan.plan import Plan
from federation.report.report import Tried
from privacy.accounting.events import Event, NonPrivateEvent
from privacy.accounting.filters import Budget
from privacy.accounting.pld import epsilon
from privacy.accounting.units import Limit, Patient, Unit, charge_from_json
from privacy.canonical import finite
from privacy.errors import PrivacyError

SKETCH: Final = 4096
_SCHEMA = (
    "CREATE TABLE prints (value BLOB, dataset BLOB, PRIMARY KEY (value, dataset)) WITHOUT ROWID",
    "CREATE TABLE runs (place INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, spent TEXT NOT NULL)",
    "CREATE TABLE secrets (key BLOB NOT NULL)",
    "CREATE TABLE uses (run TEXT, path BLOB, dataset BLOB, PRIMARY KEY (run, path)) WITHOUT ROWID",
)
# Runs that had a file where this run has one, or a row of this run.
_SHARED = """
    SELECT spent FROM runs WHERE id IN (
        SELECT run FROM uses WHERE path IN (SELECT path FROM uses WHERE run = :run)
        UNION
        SELECT run FROM uses WHERE dataset IN (
            SELECT dataset FROM prints WHERE value IN (
                SELECT value FROM prints WHERE dataset IN (SELECT dataset FROM uses WHERE run = :run))))
    ORDER BY place
"""


def registry_path() -> Path:
    """`$XDG_STATE_HOME`/private-federation/tried.sqlite; by default in ~/.local/state.

    RuntimeError if there is neither that variable, as an absolute path, nor a home folder.
    """
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    base = state if state.is_absolute() else Path.home() / ".local" / "state"
    if not base.is_absolute():  # in each folder it would be another registry
        raise RuntimeError("the home folder has no absolute path")
    return base / "private-federation" / "tried.sqlite"


def count_run(run: str, plan: Plan, files: Sequence[SiteFiles], uses: Uses | None = None) -> Tried:
    """Put a run on record, durably, and count it among those on the same data. The same run again counts once.

    Call it when every site has consented and before the first round: a run that crashes has been tried. `uses` is
    `uses_of`, or something that remembers what that said.
    """
    try:
        return _counted(run, plan, files, uses or uses_of)
    except RuntimeError:
        reason = "there is no home folder"
    except DataError:
        reason = "a site's file cannot be read again"
    except durable.ERRORS as error:
        reason = _why(error)
    except (ValueError, LookupError, TypeError):
        reason = "the registry is damaged"
    return Tried(runs=None, without_privacy=None, epsilon=None, exact=False, reason=reason)


def shared_rows(place: Place) -> int:
    """How many rows of a table are a site's in a run of this registry, at least: of large files it has a sketch.

    0 where there is no registry, or it cannot be used: it is advice.
    """
    path, found = registry_path(), 0
    with suppress(*durable.ERRORS, RuntimeError):
        if not path.exists():
            return 0
        with closing(durable.connect(path, synchronous="EXTRA")) as registry:
            if durable.tables(registry) != _SCHEMA:
                return 0
            ((secret,),) = registry.execute("SELECT key FROM secrets")
            is_known = "SELECT EXISTS (SELECT 1 FROM prints WHERE value = ?)"
            for value in fingerprints_under(secret, place):
                found += registry.execute(is_known, (value,)).fetchone()[0]
    return found


def _counted(run: str, plan: Plan, files: Sequence[SiteFiles], of: Uses) -> Tried:
    path = registry_path()
    if durable.needs_creation(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        durable.create(path, _SCHEMA, _with_key, logged=False)
    with closing(durable.connect(path, synchronous="EXTRA")) as registry:
        if durable.tables(registry) != _SCHEMA:
            raise sqlite3.DatabaseError("it is no registry of this version")
        ((secret,),) = registry.execute("SELECT key FROM secrets")
        uses = of(secret, files)  # reads files: before the lock, not under it
        with durable.transaction(registry):
            _put(registry, run, _spent(plan), uses)
            spent = [json.loads(text) for (text,) in registry.execute(_SHARED, {"run": run})]
    return _summed(plan, spent)


def _with_key(registry: sqlite3.Connection) -> None:
    registry.execute("INSERT INTO secrets VALUES (?)", (os.urandom(32),))


_Use = tuple[bytes, bytes, list[bytes]]  # of a path, of a data set, and of its rows
Uses = Callable[[bytes, Sequence[SiteFiles]], Sequence[_Use]]


def uses_of(secret: bytes, files: Sequence[SiteFiles]) -> Sequence[_Use]:
    """Which files a run uses, and fingerprints of their rows under the registry's key."""
    return list(_each(secret, files))


def _each(secret: bytes, files: Sequence[SiteFiles]) -> Iterator[_Use]:
    """One for each file of each site. A data set is known by the fingerprint of its sketch."""
    for origin in (one for site in files for one in site.places() if one is not None):
        rows = nsmallest(SKETCH, fingerprints_under(secret, origin))
        path = Origin.of(origin).file
        place = hmac.digest(secret, b"path\0" + os.fsencode(path.resolve()), "sha256")
        yield place, hmac.digest(secret, b"set\0" + b"".join(rows), "sha256"), rows


def _put(registry: sqlite3.Connection, run: str, spent: Mapping[str, Any], uses: Sequence[_Use]) -> None:
    row = (run, json.dumps(spent, sort_keys=True))
    registry.execute("INSERT OR IGNORE INTO runs (id, spent) VALUES (?, ?)", row)
    for path, dataset, rows in uses:
        registry.execute("INSERT OR IGNORE INTO uses VALUES (?, ?, ?)", (run, path, dataset))
        new = "INSERT OR IGNORE INTO prints VALUES (?, ?)"
        registry.executemany(new, ((value, dataset) for value in rows))


def _spent(plan: Plan) -> dict[str, Any]:
    """What a run of this plan spends, in a form that other plans can be counted with."""
    charges = [charge.to_json() for charge in plan.charges] if plan.is_private else []
    return {"charges": charges, "delta": plan.privacy.delta, "records": plan.privacy.records_per_patient}


def _summed(plan: Plan, spent: Sequence[Mapping[str, Any]]) -> Tried:
    private = [one for one in spent if one["charges"]]
    whole = math.inf
    if plan.privacy.delta is not None:
        try:
            whole = _together(private, plan.privacy.unit, plan.privacy.delta)
        except PrivacyError:
            whole = (
                math.inf
            )  # a charge of a later version, or one so large that no number would mean anything
    return Tried(
        runs=len(spent),
        without_privacy=len(spent) - len(private),
        epsilon=finite(whole),
        exact=len(private) == 1 and math.isfinite(whole),
    )


def _together(runs: Sequence[Mapping[str, Any]], unit: Unit, delta: float) -> float:
    """Epsilon of all these runs for one unit at one site: exact for a single run, else what a filter says."""
    events = [_events(run, unit) for run in runs]
    everything = [event for of in events for event in of]
    if any(isinstance(event, NonPrivateEvent) for event in everything):
        return math.inf
    if len(runs) == 1:
        return epsilon(everything, delta)
    first, at = events[0], runs[0]["delta"]
    return Limit(unit, Budget(epsilon(first, at), at)).frozen(first[0]).least(everything, delta)


def _events(run: Mapping[str, Any], unit: Unit) -> list[Event]:
    """What one unit is charged by a run. A patient holds as many records as that run's own plan declared."""
    charges = [charge_from_json(charge) for charge in run["charges"]]
    if unit == "patient" and run["records"] is None and any(one.protects == "record" for one in charges):
        return [NonPrivateEvent()]  # nobody said how many records a patient has
    return [charge.to(unit, Patient(run["records"] or 1)) for charge in charges]


def _why(error: Exception) -> str:
    """In a few words: no path, since a report travels, and nothing that a damaged file holds."""
    if isinstance(error, OSError):
        return f"the registry cannot be used: {(error.strerror or type(error).__name__).lower()}"
    if isinstance(error, sqlite3.OperationalError):
        return f"the registry cannot be used: {' '.join(str(error).split())}"
    return "the registry is damaged, or of another version"
