"""Heads: the server remembers the newest signed head of every site's ledger, and shows it to the sites.

A site that restored an old copy of its ledger, or cut off its end, is shown a head of its own making that its
ledger no longer holds; it then refuses by itself. If a server shows no heads, this check is lost, but an auditor
still sees the cut in its receipts and in the peers' ledgers. A head is signed by the site it speaks of, so neither
the server nor a peer can make one up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from privacy.errors import FaultyClient
from privacy.ledger.heads import Head
from privacy.roster import Roster

PEERS = 4  # so many others are shown, and keep, each site's head


class Heads:
    """By site of the roster, and ledger, since a site has one for each of its pools.

    A head that contradicts a known one is refused; an older head is forgotten.
    """

    def __init__(self, roster: Roster, known: Iterable[Head] = ()) -> None:
        self._roster = roster
        self._newest: dict[str, dict[bytes, Head]] = {}
        self._own: dict[str, Head] = {}  # what each site showed last
        for head in known:
            self.note(head)

    def note(self, head: Head) -> None:
        """Remember a head that a peer has witnessed, if its site signed it and it is newer than what is known."""
        entry = self._roster.by_site.get(head.site)
        if entry is None or not head.is_signed_by(entry.key):
            return
        ledgers = self._newest.setdefault(head.site, {})
        if head.ledger not in ledgers or ledgers[head.ledger].seq < head.seq:
            ledgers[head.ledger] = head

    def take(self, site: str, heads: Sequence[Head]) -> Head:
        """The head that `site` shows of its own ledger. FaultyClient if it is missing, or was set back."""
        own = next((head for head in heads if head.site == site), None)
        entry = self._roster.by_site.get(site)
        if own is None or entry is None or not own.is_signed_by(entry.key):
            raise FaultyClient(site, "shows no head of its ledger")
        if self.contradicts(own):
            raise FaultyClient(site, "shows a ledger that is older than the one it showed before")
        self._newest.setdefault(site, {})[own.ledger] = self._own[site] = own
        return own

    def contradicts(self, head: Head) -> bool:
        """Whether a newer head of the same ledger is known, or another one of the same length."""
        known = self._newest.get(head.site, {}).get(head.ledger)
        if known is None:
            return False
        return head.seq < known.seq or (head.seq == known.seq and head.hash != known.hash)

    def shown_to(self, site: str, cohort: Sequence[str]) -> tuple[Head, ...]:
        """The heads of `site` and of the few that come after it in the cohort, as far as they are known."""
        place = cohort.index(site)
        ring = [*cohort[place:], *cohort[:place]][: PEERS + 1]
        return tuple(head for name in ring for head in self._newest.get(name, {}).values())

    def of(self, sites: Iterable[str]) -> Mapping[str, Head]:
        """What these sites showed last of their own ledgers."""
        return {site: self._own[site] for site in sorted(sites) if site in self._own}

    def all(self) -> tuple[Head, ...]:
        """Every head that is known, in the order of the sites' ids."""
        return tuple(head for _, ledgers in sorted(self._newest.items()) for head in ledgers.values())
