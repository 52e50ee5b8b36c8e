"""Checks signed heads: each holds a site to what its ledger was when it showed it to others.

A head is a signed sentence of the site: "my ledger has this entry with this number". Two heads that contradict each
other prove two histories, even if no ledger was handed in; a head that is not in the ledger proves that the ledger
was cut, restored or rewritten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from federation.audit.evidence import Ledger
from federation.audit.findings import Findings
from federation.audit.receipts import Receipts
from federation.ledger.store import EVERY_SITE
from privacy.canonical import Fields
from privacy.ledger.heads import Head, head_from_fields
from privacy.ledger.state import Account
from privacy.roster import Roster


@dataclass
class _Books:
    """What is known of the sites. `said`: the first head that a site showed, by (site, ledger, entry number)."""

    ledgers: Mapping[str, Ledger]
    accounts: Mapping[str, Account]
    roster: Roster
    said: dict[tuple[str, bytes, int], Head] = field(default_factory=dict)

    def is_genuine(self, head: Head) -> bool:
        """Whether the site, which is on the roster, signed it: with its key there, or one its ledger knows."""
        account = self.accounts.get(head.site)
        keys = {self.roster.by_site[head.site].key, *(account.tip.keys if account else ())}
        return any(head.is_signed_by(key) for key in keys)


def check_heads(
    receipts: Receipts,
    ledgers: Mapping[str, Ledger],
    accounts: Mapping[str, Account],
    roster: Roster | None,
    is_simulation: bool,
    found: Findings,
    consents: Sequence[Head] = (),
    shared: Account | None = None,
) -> None:
    """Check that every head that a site showed, to the server or a peer, is in its ledger as it is now.

    `consents`: the heads in the consents that the sites signed. `shared`: the account of all sites of a simulation,
    whose head is one for all.
    """
    if roster is None:
        return
    books = _Books(ledgers, accounts, roster)
    if shared is not None:
        books.accounts = {**accounts, EVERY_SITE: shared}
    for head in receipts.heads:
        if head.site == EVERY_SITE and shared is not None and head.is_signed_by(roster.coordinator):
            _check_head(head, "a receipt", books, found)
        elif head.site not in roster.by_site:
            detail = "a receipt holds a head of a site that is not on the roster"
            found.add("head-of-no-participant", detail, head.site)
        elif not books.is_genuine(head):
            found.add("head-forged", "a receipt holds a head that the site never signed", head.site)
        else:
            _check_head(head, "a receipt", books, found)
    for head in consents:
        _check_head(head, "its own consent", books, found)
    for witness in accounts:
        for head in _witnessed(ledgers[witness]):
            if head.site in roster.by_site:
                _check_peer(head, f"the ledger of {witness}", books, found)
    if shared is None or all(head.site != EVERY_SITE for head in receipts.heads):
        _check_shown(receipts, is_simulation, found)


def _check_shown(receipts: Receipts, is_simulation: bool, found: Findings) -> None:
    """A message from a site brings a head, so a receipt without one was made without the site, or edited."""
    rounds = [(f"round {line.round}", line.cohort, line.shown) for line in receipts.lines]
    evaluations = [("the evaluation", line.cohort, line.shown) for line in receipts.evaluations]
    for what, cohort, shown in (*rounds, *evaluations):
        if shown or not is_simulation:  # one that adds up in one process sends no messages
            for site in sorted(set(cohort) - shown):
                found.add("head-missing", f"{what}: its receipt holds no head of this ledger", site)
    for site in sorted(set(receipts.sites) - {head.site for head in receipts.heads}):
        detail = "no receipt holds a head of this ledger: its end may be missing"
        found.add("ledger-unwitnessed", detail, site)
        if receipts.closing is not None:
            found.add("head-missing", "the run ended, and no receipt holds a head of this ledger", site)


def _witnessed(ledger: Ledger) -> Iterator[Head]:
    for entry in ledger.entries:
        if entry.kind == "witness":
            for site, row in Fields(entry.body).table("heads").items():
                yield head_from_fields(site, Fields(row))


def _check_peer(head: Head, where: str, books: _Books, found: Findings) -> None:
    """Check a head that a peer kept. One from another run or pool, or under an old key, proves nothing."""
    account = books.accounts.get(head.site)
    if account is not None and (
        head.ledger != account.tip.genesis.ledger or account.holds(head.seq, head.hash)
    ):
        return
    if books.is_genuine(head):
        _check_head(head, where, books, found)
    elif account is not None:
        found.add("head-forged", f"{where} holds a head that the site never signed", head.site)


def _check_head(head: Head, where: str, books: _Books, found: Findings) -> None:
    """Check a head that the site has signed against its other heads and its ledger."""
    account = books.accounts.get(head.site)
    known = books.said.setdefault((head.site, head.ledger, head.seq), head)
    if known.hash != head.hash:
        detail = f"the site signed two different entries {head.seq}: two histories of one ledger"
        found.add("ledger-forked", detail, head.site)
    if account is None:
        return
    if head.ledger != account.tip.genesis.ledger:
        detail = f"{where} holds a head of another ledger of this site"
        found.add("ledger-of-another-pool", detail, head.site)
    elif not account.holds(head.seq, head.hash):
        if account.is_charged_loss(head.seq):
            return  # of the end that a restore lost and charged in full, which is a finding of its own
        last = account.tip.last.seq
        cut = head.seq > last or any(gap.last < head.seq < gap.next for gap in account.gaps)
        reason = "has none" if cut else f"has another entry {head.seq}"
        detail = f"{where} shows that it once had an entry {head.seq}; it now {reason}"
        found.add("ledger-truncated" if cut else "ledger-rewritten", detail, head.site)
