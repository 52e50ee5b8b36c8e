"""The one ledger of all sites of a large simulation: what each of them charged is the rounds that invited it.

The ledger says of a round which question was asked, which binds cohort and params; receipts say who the cohort is,
and are held against that. It is of the site "*", signed by the coordinator, and counts only where it says that it
was simulated: no real run has one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import replace

from federation.audit.evidence import Ledger, Rosters
from federation.audit.findings import Findings
from federation.audit.receipts import Receipts
from federation.ledger.store import EVERY_SITE
from federation.round.terms import evaluation_run
from privacy.ledger.state import Account, Run


def expanded(
    books: dict[str, Ledger],
    accounts: dict[str, Account],
    receipts: Receipts,
    rosters: Rosters | None,
    found: Findings,
) -> Account | None:
    """Put an account of each site in the place of the shared one, if there is one; the shared one."""
    shared = accounts.pop(EVERY_SITE, None)
    if shared is None:
        return None
    ledger = books[EVERY_SITE]
    coordinator = rosters.newest.coordinator if rosters is not None else b""
    if not shared.tip.genesis.simulated:
        found.add(
            "ledger-of-no-participant", f"{ledger.source} is of all sites, and says it is no simulation"
        )
        return None
    if coordinator not in shared.tip.keys:
        found.add("ledger-key", f"{ledger.source} is not signed by the coordinator on the roster")
    serials = [step.body for step in ledger.entries if step.kind == "roster"]
    if rosters is not None and not any(rosters.holds(body["serial"], body["root"]) for body in serials):
        found.add("ledger-roster", f"{ledger.source} never accepted the roster of this run")
    named = () if rosters is None else rosters.everybody.by_site
    for site, numbers in _invited(receipts, named).items():
        if site not in accounts:
            accounts[site] = _of(shared, receipts.run, numbers)
            books[site] = Ledger(ledger.source, ())
    return shared


def _invited(receipts: Receipts, named: Iterable[str]) -> Mapping[str, tuple[set[int], bool]]:
    """By site: the rounds that it was invited to, and whether to the evaluation."""
    rounds: dict[str, set[int]] = {site: set() for site in named}
    for line in receipts.lines:
        for site in line.cohort:
            rounds.setdefault(site, set()).add(line.round)
    tested = frozenset(site for line in receipts.evaluations for site in line.cohort)
    return {site: (numbers, site in tested) for site, numbers in rounds.items()}


def _of(shared: Account, run: str, invited: tuple[set[int], bool]) -> Account:
    """The account of one site."""
    numbers, tested = invited
    kept = {run: numbers, evaluation_run(run): {1} if tested else set[int]()}
    own = copy(shared)
    own.runs = {name: _within(known, kept.get(name, set())) for name, known in shared.runs.items()}
    return own


def _within(run: Run, numbers: set[int]) -> Run:
    begun = {number: run.begun[number] for number in numbers if number in run.begun}
    released = {number: run.released[number] for number in numbers if number in run.released}
    return replace(run, begun=begun, released=released)
