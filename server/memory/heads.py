"""Heads: the server remembers the newest signed head of every site's ledger, and shows it to the sites.

A site that restored an old copy of its ledger, or cut off its end, is shown a head of its own making that its
ledger no longer holds; it then refuses by itself. If a server shows no heads, this check is lost, but an auditor
still sees the cut in its receipts and in the peers' ledgers. A head is signed by the site it speaks of, so neither
the server nor a peer can make one up.

What a site says of its ledgers costs little: its consent names the ledger of a run, once, and every later reply
holds one head, of that ledger. A few ledgers of a site are remembered, and no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from federation.round.messages import MAX_LEDGERS, few
from privacy.errors import FaultyClient
from privacy.ledger.heads import Head
from privacy.roster import Roster

PEERS = 4  # so many others are shown, and keep, each site's head


class Heads:
    """By site of the roster, and ledger, since a site has one for each of its pools.

    A head that contradicts a known one is refused; an older head is forgotten. `rehearsed`: those of a rehearsal.
    """

    def __init__(self, roster: Roster, known: Iterable[Head] = (), *, rehearsed: bool = False) -> None:
        self._roster, self._rehearsed = roster, rehearsed
        self._newest: dict[str, dict[bytes, Head]] = {}
        self._named: dict[str, bytes] = {}  # the ledger of this run
        self._own: dict[str, Head] = {}  # what each site showed last
        for head in known:
            self.note(head)

    def note(self, head: Head) -> None:
        """Remember a head that a peer has witnessed, if its site signed it and it is newer than what is known.

        What is no news is not verified, and of one site a few ledgers are remembered: a flood of heads costs
        nothing.
        """
        entry, ledgers = self._roster.by_site.get(head.site), self._newest.get(head.site, {})
        known = ledgers.get(head.ledger)
        is_news = known.seq < head.seq if known is not None else len(ledgers) < MAX_LEDGERS
        if entry is not None and is_news and self._is_signed(head, entry.key):
            self._newest.setdefault(head.site, {})[head.ledger] = head

    def name(self, head: Head) -> bool:
        """Have a site's consent name its ledger for this run; whether it is new beside others that are known.

        FaultyClient if it is older than what is known of it, or another than this run's.
        """
        known = self._newest.get(head.site, {})
        if head.ledger not in known and len(known) >= MAX_LEDGERS:
            raise FaultyClient(head.site, f"opens a ledger beside {MAX_LEDGERS} others")
        is_new = bool(known) and head.ledger not in known
        self.take(head.site, [head])
        return is_new

    def take(self, site: str, heads: Sequence[Head]) -> Head:
        """The one head that `site` shows of the ledger that it named. FaultyClient otherwise, or if it is older."""
        own = heads[0] if len(heads) == 1 and heads[0].site == site else None
        entry = self._roster.by_site.get(site)
        if own is None or entry is None or not self._is_signed(own, entry.key):
            raise FaultyClient(site, "shows no head of its ledger")
        if self._named.get(site, own.ledger) != own.ledger:
            raise FaultyClient(site, "shows a head of another ledger than its consent names")
        if self.contradicts(own):
            raise FaultyClient(site, "shows a ledger that is older than the one it showed before")
        self._named[site] = own.ledger
        self._newest.setdefault(site, {})[own.ledger] = self._own[site] = own
        return own

    def _is_signed(self, head: Head, key: bytes) -> bool:
        return head.is_signed_by(key, rehearsed=self._rehearsed)

    def contradicts(self, head: Head) -> bool:
        """Whether a newer head of the same ledger is known, or another one of the same length."""
        known = self._newest.get(head.site, {}).get(head.ledger)
        if known is None:
            return False
        return head.seq < known.seq or (head.seq == known.seq and head.hash != known.hash)

    def shown_to(self, site: str, cohort: Sequence[str]) -> tuple[Head, ...]:
        """The heads of all that is known of `site`, and one of each of the few that come after it in the cohort."""
        place = cohort.index(site)
        ring = [*cohort[place + 1 :], *cohort[:place]][:PEERS]
        known = [self._own.get(name) or self._longest(name) for name in ring]
        return few([*self._newest.get(site, {}).values(), *(head for head in known if head is not None)])

    def _longest(self, site: str) -> Head | None:
        return max(self._newest.get(site, {}).values(), key=lambda head: head.seq, default=None)

    def of(self, sites: Iterable[str]) -> Mapping[str, Head]:
        """What these sites showed last of their own ledgers."""
        return {site: self._own[site] for site in sorted(sites) if site in self._own}

    def all(self) -> tuple[Head, ...]:
        """Every head that is known, in the order of the sites' ids."""
        return few(head for _, ledgers in sorted(self._newest.items()) for head in ledgers.values())
