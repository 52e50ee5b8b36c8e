"""A ledger backed up while its site runs, and a site that goes on from a backup without spending anything twice.

A backup holds the entries of one moment and no release bytes: they are the last vector that left under a mask. It
is marked, and no site works on it. What the site did after that moment is in no backup, so `restore` takes one of
two ways:

* All that the lost entries could have charged is charged: what was left of every budget, and every open run as a
  whole, which is over.
* Two approvers sign that nothing is missing after the last entry that is still there. Then the open runs go on, but
  for the rounds that were begun.

Either way the heads of this ledger that others hold are compared first. A head proves that something is missing, or
that the backup is of another history; no head proves that nothing is, since nobody need have kept the last one.
A restore is remembered beside the keys (`clients.journal.restored`), so that no word on its end is used again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.approvals import genesis_of, read_proposal
from clients.journal.lock import alone
from clients.journal.ownership import require_owner
from clients.journal.restored import RestoreMemory
from clients.policy import SiteFile, load_site
from federation.errors import InputError, UnusableFile
from federation.files import write_output
from federation.ledger import durable
from federation.ledger.export import load_entries
from federation.ledger.store import Store, create, create_backup, explained, stable_entries
from federation.round.plays import folds_in
from privacy.canonical import JSON
from privacy.errors import LedgerCorrupt, LedgerRefusal, MalformedMessage, PolicyViolation
from privacy.ledger import chain as ledger
from privacy.ledger.approvals import Approval, Restoration, to_text
from privacy.ledger.chain import HASH_BYTES, Entry
from privacy.ledger.heads import Head, head_from_json
from privacy.ledger.state import Account, fold

_FRESH = timedelta(days=7)  # how long two approvers' word on a backup counts


@dataclass(frozen=True)
class Known:
    """What is still there of a ledger, and the newest head of it that others have shown."""

    entries: tuple[Entry, ...]
    account: Account
    newest: int
    heads: int  # how many were compared
    restored: int = 0  # the entry at which a restore of it went on before

    @property
    def last(self) -> Entry:
        """The last entry that is still there."""
        return self.entries[-1]

    @property
    def lacks(self) -> bool:
        """Whether something is missing beyond doubt."""
        return max(self.newest, self.restored) > self.last.seq

    def remembering(self, rules: SiteFile) -> Known:
        """The same, with what the site remembers of restores."""
        newest = RestoreMemory(rules.restores_file).newest(self.entries[0].hash)
        return replace(self, restored=max(self.restored, newest))


def back_up(path: Path, out: Path) -> Account:
    """Write a backup of the ledger of the site at `path`, which may be running; the account as the backup has it.

    UnusableFile if `out` exists, or cannot be written.
    """
    rules = load_site(path)
    if not rules.journal.exists():
        raise UnusableFile(
            "there is no journal yet", hint="a site makes it when it joins", path=rules.journal
        )
    entries = stable_entries(rules.journal)
    account = fold(entries)
    if not out.parent.is_dir():
        raise UnusableFile("cannot be written: there is no such folder", hint="name another", path=out)
    try:
        is_new = not out.is_symlink() and create_backup(out, entries)
    except durable.ERRORS as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UnusableFile(f"cannot be written ({reason})", hint="name another file", path=out) from None
    if not is_new:
        raise UnusableFile("exists already", hint="name a new file: a backup replaces nothing", path=out)
    return account


def examine(path: Path, backup: Path, newer: Path | None, shown: Sequence[Path]) -> Known:
    """What a backup and, if given, a newer copy of the same ledger hold, compared with the heads that others keep.

    LedgerCorrupt if they do not verify, are of another site, or contradict each other or a head.
    """
    rules = load_site(path)
    entries = load_entries(backup)
    fold(entries)
    if newer is not None:
        entries = _longer(entries, load_entries(newer))
    account = fold(entries)
    require_owner(account, genesis_of(rules))
    _require_strict(rules, account)
    heads = [head for source in shown for head in _heads(source) if _is_own(head, account)]
    for head in heads:
        if head.seq <= account.tip.last.seq:
            account.check_own(head)
    newest = max((head.seq for head in heads), default=0)
    return Known(entries, account, newest, len(heads)).remembering(rules)


def require_choice(known: Known, approved: Path | None, charge_all: bool) -> None:
    """LedgerRefusal unless exactly one of the two ways was chosen."""
    if (approved is not None) == charge_all:
        story = f"what came after entry {known.last.seq} may be missing"
        if known.restored > known.last.seq:
            story = f"what came after entry {known.restored}, of an earlier restore, is missing"
        elif known.lacks:
            story = f"entries {known.last.seq + 1} to {known.newest} are missing, and maybe others"
        raise LedgerRefusal(
            f"{story}, so nothing is restored yet",
            hint="choose: --propose FILE, for two approvers to sign that nothing is, or --charge-all",
        )


def propose_restore(known: Known, out: Path, today: date) -> None:
    """Write what two approvers sign if nothing is missing. LedgerRefusal where something is beyond doubt."""
    _require_complete(known)
    write_output(out, to_text(known.account.restoration(today.isoformat())))


def restore(path: Path, known: Known, approved: Path | None, today: date) -> Account:
    """Put the journal of the site at `path` in place again, with an entry that says so; the account after it.

    What was left of every budget is charged, unless `approved` is a proposal that two approvers signed this week.
    LedgerRefusal if a journal is there already, or the approvals are of no use.
    """
    rules = load_site(path)
    key = rules.identity()
    with alone(rules.journal):
        if rules.journal.exists():
            raise _replaces(rules)
        known = known.remembering(rules)
        entries = (*known.entries, _entry(known, key, approved, today))
        fold(entries)
        with explained(rules.journal):
            if not create(rules.journal, entries):
                raise _replaces(rules)
        RestoreMemory(rules.restores_file).remember(entries[0].hash, entries[-1].seq)
    with closing(Store.open(rules.journal)) as store, store.transaction() as account:
        return account


def _entry(known: Known, key: Ed25519PrivateKey, approved: Path | None, today: date) -> Entry:
    """What the ledger goes on with: the word of two approvers, or none."""
    made, approvals = ("", ()) if approved is None else _vouched(known, approved, today)
    body: dict[str, JSON] = {
        "salt": os.urandom(HASH_BYTES).hex(),
        "made": made,
        "approvals": [approval.to_json() for approval in approvals],
    }
    return ledger.append(known.last, "restore", body, key, beyond=max(known.newest, known.restored))


def _replaces(rules: SiteFile) -> LedgerRefusal:
    return LedgerRefusal(
        f"there is a journal at {rules.journal}, and nothing replaces it",
        hint="move it away; if it is a backup, name it with --from; if newer, with --entries",
    )


def _longer(one: tuple[Entry, ...], other: tuple[Entry, ...]) -> tuple[Entry, ...]:
    fold(other)
    common = min(len(one), len(other))
    if one[:common] != other[:common]:
        raise LedgerCorrupt(
            f"the two files tell two histories: they differ before entry {one[common - 1].seq + 1}",
            "history",
            hint="ask which of them the site has signed last; restore from one alone",
        )
    return max(one, other, key=len)


def _require_strict(rules: SiteFile, account: Account) -> None:
    """A limit that was raised after the backup would not be known: what was lost may have been charged up to it."""
    for limit in rules.policy.limits():
        known = account.terms.get(limit.unit)
        if known is not None and limit.is_looser(known.limit):
            raise PolicyViolation(
                f"site.toml allows more per {limit.unit} than this ledger: it was raised later, or by mistake",
                hint="name a copy that holds the raise with --entries, or lower the limit in site.toml",
            )


def _require_complete(known: Known) -> None:
    if known.restored > known.last.seq:
        raise LedgerRefusal(
            f"this ledger was restored before and went on at entry {known.restored}, so a word on entry "
            f"{known.last.seq} as its last is used up, and no longer true",
            hint="name a copy that was made after that restore, or --charge-all",
        )
    if known.lacks:
        raise LedgerRefusal(
            f"something is missing beyond doubt: the site has shown others its entry {known.newest}, "
            f"and this ledger ends at {known.last.seq}",
            hint="name a newer copy with --entries, or restore without approvals, which charges what was left",
        )


def _vouched(known: Known, path: Path, today: date) -> tuple[str, tuple[Approval, ...]]:
    _require_complete(known)
    statement, approvals = read_proposal(path)
    if not isinstance(statement, Restoration):
        raise InputError("is no proposal of a restore", hint="make one: --propose FILE", path=path)
    if statement != known.account.restoration(statement.made):
        raise LedgerRefusal(
            "the approvals are for another ledger, or another end of it", hint="propose again"
        )
    with suppress(ValueError):
        if timedelta() <= today - date.fromisoformat(statement.made) <= _FRESH and approvals:
            return statement.made, approvals
    raise LedgerRefusal(
        f"the approvals are missing or not of the last {_FRESH.days} days",
        hint="propose again: after another loss they would be wrong",
    )


def _is_own(head: Head, account: Account) -> bool:
    genesis = account.tip.genesis
    same = (head.site, head.ledger) == (genesis.site, genesis.ledger)
    return same and any(head.is_signed_by(key) for key in account.tip.keys)


def _heads(source: Path) -> Iterator[Head]:
    """Every head in a run folder's receipts, or that a peer's ledger has witnessed. UnusableFile for others."""
    if not source.is_dir():
        yield from fold(load_entries(source)).witnessed.values()
        return
    parts = [folder / "receipts.jsonl" for folder in (source, *folds_in(source))]
    try:
        there = [path for path in parts if path.exists()] or parts[:1]
        lines = [line for path in there for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        raise UnusableFile("holds no receipts", hint="name the folder of a run", path=source) from None
    for line in lines:
        with suppress(ValueError, AttributeError, MalformedMessage):  # a torn line, or none of ours
            yield from map(head_from_json, json.loads(line).get("heads", {}).values())
