"""Which secure aggregation a run was made with: under suite 2 a hostile server could read single updates."""

from __future__ import annotations

from collections.abc import Mapping

from federation.audit.findings import Findings
from federation.audit.receipts import Receipts
from federation.plan.plan import Plan
from privacy.ledger.state import Account
from privacy.suite import BROKEN, SUITE

_LEFT = {
    "site": "The noise that each site added still bounds what it reveals",
    "distributed": "All that protected it was one site's share of the noise",
    "central": "Nothing else protected it",
    "none": "Nothing else protected it",
}


def check_suites(
    plan: Plan,
    receipts: Receipts,
    accounts: Mapping[str, Account],
    is_simulation: bool | None,
    found: Findings,
) -> None:
    """The server says in every receipt which suite it spoke, and a site in its ledger, wherever it masked.

    Receipts and ledgers of suite 2 say nothing, so what says nothing counts as suite 2. Where the plan tolerates no
    dropouts the sites never helped to rebuild a mask secret, and nothing could be opened by it.
    """
    told = set(receipts.suites)
    for account in accounts.values():
        run = account.runs.get(receipts.run)
        told |= run.suites if run is not None else set()
    if told - {BROKEN, SUITE}:
        found.add("suite-broken", "the run names a suite of secure aggregation that was never released")
    if BROKEN not in told:
        return
    detail = (
        "the run was made with secagg/2, an earlier version of the secure aggregation. With dropouts of 1 or "
        "more a hostile server could read the update of any one site in every round, by calling it lost"
    )
    if is_simulation:
        found.add("suite-outdated", f"{detail}. Here one process played all sites: nobody was exposed by it")
    elif plan.secure_aggregation.dropouts == 0:
        found.add("suite-outdated", f"{detail}. This plan tolerates none, so no site was exposed by it")
    else:
        found.add("suite-broken", f"{detail}. {_LEFT[plan.privacy.noise]}")
