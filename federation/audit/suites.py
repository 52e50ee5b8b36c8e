"""Which secure aggregation a run was made with.

Under suite 2 a hostile server could read single updates, and under suite 3 in cohorts above 128 sites, which share
along a ring. In smaller ones suite 3 holds against everybody of today; what it sent could be read by a quantum
computer later, and its sums are the server's word.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from federation.audit.findings import Findings
from federation.audit.folds.place import place_of
from federation.audit.receipts import Receipts
from federation.plan.plan import Plan
from federation.round.cohort import required_survivors
from privacy.ledger.state import Account
from privacy.roster import Roster
from privacy.secagg.graph import COMPLETE_LIMIT
from privacy.suite import BROKEN, OLDER, SUITE

_LEFT = {
    "site": "The noise that each site added still bounds what an update reveals",
    "distributed": "All that protected an update was its site's own share of the noise",
    "central": "Nothing else protected an update",
    "none": "Nothing else protected an update",
}


def check_suites(
    plan: Plan,
    receipts: Receipts,
    accounts: Mapping[str, Account],
    roster: Roster | None,
    simulated: Set[bool],
    found: Findings,
) -> None:
    """Three parties say which suite it was; any of them that names suite 2 is enough.

    The server says so in its receipts, the consortium by the label under the roster's signatures, a site in its
    ledger wherever it masked. Suite 2 wrote no suite down, so a receipt or a mask without one is of suite 2.
    `simulated` is what the ledgers say: the report, which the server writes, excuses nothing. Where a cohort
    tolerates no dropout its sites never helped to rebuild a mask secret, and nothing could be opened by it.
    """
    runs = {
        site: account.runs.get(place_of(plan, receipts.run).account) for site, account in accounts.items()
    }
    told = set(receipts.suites).union(*(run.suites for run in runs.values() if run is not None))
    told |= {roster.suite} if roster is not None else set()
    if told - {BROKEN, OLDER, SUITE}:
        found.add("suite-broken", "the run names a suite of secure aggregation that was never released")
    if BROKEN not in told:
        if any(runs.get(site) is None for site in receipts.sites):
            found.skip(f"whether all sites masked with secagg/{SUITE}: of some only the server says so")
        if OLDER in told:
            _check_older(plan, receipts, simulated, found)
        return
    detail = (
        "the run was made with secagg/2, an earlier version of the secure aggregation. A hostile server could read "
        "the updates of as many sites as may drop out, in every round, by calling them lost"
    )
    if simulated == {True}:
        found.add("suite-outdated", f"{detail}. Here one process played all sites: nobody was exposed by it")
    elif not _tolerates_dropouts(plan, receipts):
        found.add(
            "suite-outdated", f"{detail}. These cohorts tolerate no dropout, so no site was exposed by it"
        )
    else:
        found.add("suite-broken", f"{detail}. {_LEFT[plan.privacy.noise]}")


def _check_older(plan: Plan, receipts: Receipts, simulated: Set[bool], found: Findings) -> None:
    found.skip(
        "whether the sums are those of what the sites sent: secagg/3 kept nothing to count them again from"
    )
    if simulated == {True}:
        return
    if any(size > COMPLETE_LIMIT for size in _cohorts(receipts)):
        found.add(
            "suite-broken",
            f"the run was made with secagg/3, and has cohorts above {COMPLETE_LIMIT} sites. In those a hostile "
            "server could read the update of a site that it had told of other sharers than its neighbors. "
            f"{_LEFT[plan.privacy.noise]}",
        )
        return
    found.add(
        "suite-outdated",
        "the run was made with secagg/3, the version before this one. Nobody could read a single update then; "
        "whoever recorded what was sent could, with a quantum computer",
    )


def _tolerates_dropouts(plan: Plan, receipts: Receipts) -> bool:
    cohorts = _cohorts(receipts)
    if not cohorts:
        return plan.secure_aggregation.dropouts > 0
    return any(size < plan.cohort.minimum or required_survivors(plan, size) < size for size in cohorts)


def _cohorts(receipts: Receipts) -> set[int]:
    """The sizes of all cohorts."""
    cohorts = [line.cohort for line in receipts.lines] + [line.cohort for line in receipts.evaluations]
    return {len(cohort) for cohort in cohorts}
