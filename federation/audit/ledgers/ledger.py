"""Checks one ledger by itself: its chain and history, its budgets at every moment, and its owner."""

from __future__ import annotations

import math
from collections.abc import Mapping

from federation.audit.evidence import Ledger, Rosters
from federation.audit.findings import Findings
from federation.audit.recounting import bounds, charges
from privacy.errors import LedgerCorrupt, PrivacyError
from privacy.ledger.chain import Entry
from privacy.ledger.state import Account

_MOMENTS = 64  # reservations of one ledger at which its budget is recounted
_BROKEN: Mapping[str, str] = {"budget": "budget-raise-unapproved"}


def replayed(site: str, ledger: Ledger, found: Findings) -> Account | None:
    """The account of a ledger; None, with a finding, if it does not verify from its first entry to its last.

    Each reservation and each change of a budget is recounted (the first 64, and then the last state).
    """
    entries = ledger.entries
    at, recounts = entries[0], 0
    try:
        account = Account(at)
        for at in entries[1:]:
            raised = at.kind == "budget" and at.body.get("unit") in account.terms
            account.extend((at,))
            _note(site, at, raised, found)
            if at.kind in ("reserve", "budget") and recounts < _MOMENTS:
                recounts += 1
                _within_budgets(site, at, account, found)
    except LedgerCorrupt as error:
        kind = "ledger-broken" if error.kind == "chain" else _BROKEN.get(at.kind, "ledger-history")
        found.add(kind, f"{ledger.source}: {error.message}", site)
        return None
    except (PrivacyError, ValueError, TypeError, OverflowError, RecursionError) as error:
        found.add("ledger-history", f"{ledger.source}: entry {at.seq} is none ({type(error).__name__})", site)
        return None
    _check_blinds(site, account, found)
    if recounts == _MOMENTS:
        untold = f"whether {site} kept its budgets after its first {_MOMENTS} reservations, but for the last"
        found.skip(untold)
        _within_budgets(site, entries[-1], account, found)
    return account


def _note(site: str, entry: Entry, raised: bool, found: Findings) -> None:
    if raised:
        found.add("budget-raised", f"entry {entry.seq}: two approvers changed a budget", site)
    if entry.kind == "restore":
        detail = "two approvers vouch that nothing is missing before it"
        if not entry.body["approvals"]:
            detail = "what may be missing before it is charged in full"
        found.add("ledger-restored", f"entry {entry.seq}: the ledger goes on from a backup; {detail}", site)
    if entry.kind == "rotate":
        found.add("key-rotated", f"entry {entry.seq}: another key signs from here on", site)


def _check_blinds(site: str, account: Account, found: Findings) -> None:
    unblinded = sum(len(run.unblinded) for run in account.runs.values())
    if unblinded:
        detail = (
            f"an earlier version wrote {unblinded} releases into this ledger as plain hashes, which give small "
            "releases away to whoever reads them: do not hand this ledger on further"
        )
        found.add("release-unblinded", detail, site)


def _within_budgets(site: str, entry: Entry, account: Account, found: Findings) -> None:
    held = charges(account)
    for unit, term in account.terms.items():
        allowed = term.limit.budget.epsilon
        if math.isinf(allowed):
            continue
        spent = bounds(held, unit, term.limit.patient, term.limit.budget.delta).lower
        if spent > allowed * (1 + 1e-9):
            detail = f"entry {entry.seq}: epsilon {spent:.4g} per {unit} is charged, {allowed:.4g} is allowed"
            found.add("budget-exceeded", detail, site)


def check_owner(
    site: str, ledger: Ledger, account: Account, rosters: Rosters | None, run: str, found: Findings
) -> None:
    """Check that the site's key on the roster signs the ledger, and that the site accepted this very roster."""
    if rosters is None:
        return
    entry = rosters.everybody.by_site.get(site)
    if entry is None or entry.key not in account.tip.keys:
        found.add("ledger-key", "the ledger is not signed by the site's key on the roster", site)
    accepted = any(
        step.kind == "roster" and rosters.holds(step.body["serial"], step.body["root"])
        for step in ledger.entries
    )
    if not accepted and run in account.runs:
        found.add("ledger-roster", "the ledger never accepted the roster of this run", site)
