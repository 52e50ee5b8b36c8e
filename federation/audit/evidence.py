"""Reads what a run left behind. Whatever a file holds, the outcome is evidence or a finding, and never a traceback.

Nothing is believed here: a signature, a digest or a number is only put where the audit compares it. No code that a
plan names is run.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from federation.audit.findings import Findings
from federation.audit.untrusted import is_regular, json_of, text_of
from federation.errors import FederationError
from federation.identity.roster_file import load_roster, roster_of
from federation.ledger.export import load_entries
from federation.ledger.store import EVERY_SITE
from federation.log import printable
from federation.plan.plan import Plan, load
from federation.report.deleting import RECORD
from privacy.errors import PrivacyError
from privacy.ledger.chain import Entry
from privacy.roster import Entry as RosterEntry
from privacy.roster import Roster
from privacy.suite import SUITE


@dataclass(frozen=True)
class Params:
    """params.safetensors: tensors by name, and what is said of them."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Ledger:
    """A site's ledger as its file has it."""

    source: str
    entries: tuple[Entry, ...]

    @property
    def site(self) -> str:
        """Whose it says it is; "" if it says nothing."""
        site = self.entries[0].body.get("site")
        return site if isinstance(site, str) else ""


@dataclass(frozen=True)
class Rosters:
    """The roster that a run ended under, and those that it went by before, if a site was revoked on the way.

    `signers`: the keys that signed the newest under the present suite, as those of a transcript's roster have to.
    """

    newest: Roster
    earlier: tuple[Roster, ...] = ()
    signers: frozenset[bytes] = frozenset()

    @cached_property
    def by_root(self) -> Mapping[bytes, Roster]:
        """Each by its root."""
        return {roster.root: roster for roster in (*self.earlier, self.newest)}

    @cached_property
    def everybody(self) -> Roster:
        """The newest, and beside its sites those that were on an earlier one only."""
        entries = {entry.site: entry for roster in self.by_root.values() for entry in roster.entries}
        if len(entries) == len(self.newest.entries):
            return self.newest
        gone = [entry for site, entry in entries.items() if site not in self.newest.by_site]
        known = {entry.key for entry in self.newest.entries}
        kept = [*self.newest.entries, *(entry for entry in gone if entry.key not in known)]
        return replace(self.newest, entries=tuple(sorted(kept, key=lambda entry: entry.site)))

    def holds(self, serial: object, root: object) -> bool:
        """Whether one of them has this serial and root, as a ledger puts it on record."""
        return any((roster.serial, roster.root.hex()) == (serial, root) for roster in self.by_root.values())


_DAMAGE = (FederationError, PrivacyError, OSError, ValueError, RecursionError, sqlite3.Error, OverflowError)


def read_plan(run: Path, found: Findings) -> Plan | None:
    """plan.toml, as it was meant when the run was made."""
    try:
        plan = load(run / "plan.toml")
    except _DAMAGE as error:
        reason = getattr(error, "message", type(error).__name__)
        found.add("plan-unreadable", f"plan.toml is no plan that could be run: {reason}")
        return None
    older = plan.older
    if older is None or not _is_recorded(run, older):
        return plan
    found.add("plan-older", "the run was made while server.tau was 0.001 by default, and is verified so")
    return older


def _is_recorded(run: Path, plan: Plan) -> bool:
    """Whether the first receipt of a run is of this plan."""
    with suppress(OSError, ValueError):
        first = json_of(text_of(run / "receipts.jsonl").partition("\n")[0])
        return isinstance(first, Mapping) and first.get("plan") == plan.digest
    return False


@dataclass(frozen=True)
class _Signed:
    """A roster file: what it says, and whose signatures it bears."""

    name: str
    roster: Roster
    signers: frozenset[bytes]


def read_rosters(run: Path, found: Findings) -> Rosters | None:
    """roster.toml, and those before it that it vouches for; whose signatures it bears is for the reader to say."""
    newest = _roster(run / "roster.toml", "roster.toml", found)
    if newest is None:
        return None
    read = (
        _roster(path, f"rosters/{printable(path.name)}", found)
        for path in sorted((run / "rosters").glob("*.toml"))
    )
    earlier = _vouched(newest, [each for each in read if each is not None], found)
    signers = newest.signers if newest.roster.suite == SUITE else frozenset[bytes]()
    rosters = Rosters(newest.roster, earlier, signers)
    for site in sorted(rosters.everybody.by_site.keys() - newest.roster.by_site.keys()):
        found.add("site-revoked", "a later roster, which the run went on under, is without this site", site)
    keys = ", ".join(sorted(key.hex()[:16] for key in newest.signers)) or "none"
    found.skip(f"whether you trust the keys that signed the roster: {keys}")
    return rosters


def _vouched(newest: _Signed, earlier: Sequence[_Signed], found: Findings) -> tuple[Roster, ...]:
    """The earlier rosters that one of the newest's signers signed, or that say nothing else than these.

    Whoever keeps the run can sign a roster of sites of its own making. The consortium may have had other keys then.
    """
    kept = [each for each in earlier if each.signers & newest.signers]
    known = {_told(entry) for each in (newest, *kept) for entry in each.roster.entries}
    for each in earlier:
        if each in kept:
            continue
        if {_told(entry) for entry in each.roster.entries} <= known:
            kept.append(each)
        else:
            detail = (
                "nobody who signed roster.toml signed it, and it names other sites or keys: it is not used"
            )
            found.add("roster-of-others", f"{each.name}: {detail}")
    return tuple(each.roster for each in kept)


def _told(entry: RosterEntry) -> tuple[str, str, bytes, int]:
    return entry.site, entry.organization, entry.key, entry.size


def _roster(path: Path, name: str, found: Findings) -> _Signed | None:
    """A roster that is signed by all that it names as signers."""
    try:
        text_of(path)
        roster, signed = roster_of(load_roster(path))
    except _DAMAGE:
        found.add("roster-unreadable", f"{name} is missing or no roster: no key of a site can be told")
        return None
    genuine = frozenset(key for key in signed.signatures if signed.is_signed_by(key))
    if not genuine or len(genuine) < len(signed.signatures):
        found.add("roster-unsigned", f"{name} is not signed by every key that it names as a signer")
    return _Signed(name, roster, genuine)


def read_report(run: Path, found: Findings) -> Mapping[str, Any] | None:
    """report.json; None if there is none, as of a run that did not end."""
    path = run / "report.json"
    if not path.exists():
        return None
    try:
        report = json_of(text_of(path))
        if isinstance(report, dict):
            return report
    except (OSError, ValueError):
        pass
    found.add("report-unreadable", "report.json is no report that all readers read alike")
    return None


def check_forgotten(run: Path, found: Findings) -> None:
    """Tell of what was deleted on purpose, as the folder says itself. It excuses nothing: nobody signed it."""
    path = run / RECORD
    if not path.exists():
        return
    try:
        deletions = [(str(one["time"]), len(one["files"])) for one in json_of(text_of(path))["deletions"]]
    except (OSError, ValueError, KeyError, TypeError):
        found.add("run-forgotten", f"{RECORD} is there and cannot be read")
        return
    for time, files in deletions:
        found.add("run-forgotten", f"{RECORD} says that {files} files were deleted on purpose at {time}")


def read_params(run: Path, found: Findings) -> Params | None:
    """params.safetensors; None if there is none."""
    path = run / "params.safetensors"
    if not path.exists():
        return None
    try:
        if not is_regular(path):
            raise OSError("no regular file")
        with safe_open(path, framework="pt") as file:
            return Params({name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {})  # noqa: SIM118
    except (OSError, ValueError, SafetensorError, RuntimeError, AttributeError, KeyError, TypeError):
        found.add("params-unreadable", "params.safetensors cannot be read")
    return None


def read_ledgers(run: Path, extra: Sequence[Path], found: Findings) -> dict[str, Ledger]:
    """The ledgers of journals/, then those handed in, which come first: by the site that they say they are of."""
    ledgers: dict[str, Ledger] = {}
    for path in sorted((run / "journals").glob("*.sqlite")):
        site = printable(path.stem)
        ledger = _ledger(path, site, found)
        if ledger is None:
            continue
        if ledger.site == EVERY_SITE:
            site = EVERY_SITE
        elif ledger.site != site:
            found.add("ledger-swapped", f"journals/{ledger.source} is the ledger of another site", site)
        ledgers[site] = ledger
    for path in extra:
        ledger = _ledger(path, None, found)
        if ledger is None:
            continue
        site = ledger.site
        known = ledgers.get(site)
        if known is not None and not _continue_each_other(known.entries, ledger.entries):
            found.add(
                "ledger-forked", f"{ledger.source} and {known.source} are two histories of one site", site
            )
        if known is None or len(known.entries) <= len(ledger.entries):
            ledgers[site] = ledger
    return ledgers


def _ledger(path: Path, site: str | None, found: Findings) -> Ledger | None:
    name = printable(path.name)
    log = path.with_name(f"{path.name}-wal")
    if not is_regular(path) or (log.exists() and not is_regular(log)):
        found.add("ledger-unreadable", f"{name} is no regular file", site)
        return None
    try:
        entries = load_entries(path)
        if not entries:
            raise ValueError("no entries")
    except _DAMAGE as error:
        found.add("ledger-unreadable", f"{name}: {getattr(error, 'message', 'cannot be read')}", site)
        return None
    return Ledger(name, entries)


def _continue_each_other(one: Sequence[Entry], other: Sequence[Entry]) -> bool:
    common = min(len(one), len(other))
    return one[common - 1] == other[common - 1]
