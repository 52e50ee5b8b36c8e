"""Opening a sum: rebuild secrets from shares, check them, take out the masks that did not cancel.

A rebuilt secret counts only if it fits what its owner signed, so a sum is never wrong: it is exact or stays
hidden. Where shares do not fit, their holders are suspected, not proven guilty: a share that does not fit was
changed by its holder, dealt so by its owner, or made to look so by other holders together. See docs/protocol.md,
section 7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from privacy.secagg.graph import Graph
from privacy.secagg.keys import KeyPair, mask_pair
from privacy.secagg.masks import Mask, commit, pair_mask, self_mask
from privacy.secagg.messages import Advert, Reveal
from privacy.secagg.shamir import rebuild_checked

_Fits = Callable[[bytes], bool]


class NotRebuilt(Exception):
    """A secret stays hidden: only `got` shares came, or no set of them fits what `owner` signed."""

    def __init__(self, got: int, owner: int | None = None) -> None:
        super().__init__(f"a secret stays hidden with {got} shares")
        self.got, self.owner = got, owner


@dataclass(frozen=True)
class Opening:
    """All that the server holds once the reveals are in.

    `suspected` fills with the holders of shares that do not fit, and for each the owners of the shared secrets.
    """

    session: bytes
    transcript: bytes
    graph: Graph
    threshold: int
    adverts: Mapping[int, Advert]
    masked: frozenset[int]
    vanished: frozenset[int]
    reveals: Mapping[int, Reveal] = field(repr=False)
    suspected: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def masks(self) -> list[Mask]:
        """What turns the sum of the uploads into the sum of the vectors. NotRebuilt if a secret stays hidden."""
        seeds = {slot: self._seed(slot) for slot in sorted(self.masked)}
        keys = {slot: self._keys(slot) for slot in sorted(self.vanished)}
        masks = [self_mask(seed, self.transcript, slot).inverse() for slot, seed in seeds.items()]
        for slot, pair in keys.items():
            masks.extend(self._missing(slot, pair))
        return masks

    def _missing(self, slot: int, keys: KeyPair) -> Iterator[Mask]:
        """The masks a vanished site would have added: each cancels the one its neighbor applied."""
        own = slot, keys.public
        for peer in self.graph.neighbors(slot):
            if peer in self.masked:
                end = peer, self.adverts[peer].mask_key
                yield pair_mask(keys.agree(end[1]), self.transcript, own, end)

    def _seed(self, owner: int) -> bytes:
        given = {holder: reveal.seed_shares for holder, reveal in self.reveals.items()}
        commitment = self.adverts[owner].commitment
        return self._rebuild(owner, given, lambda seed: commit(seed, self.session, owner) == commitment)

    def _keys(self, owner: int) -> KeyPair:
        given = {holder: reveal.key_shares for holder, reveal in self.reveals.items()}
        public = self.adverts[owner].mask_key
        secret = self._rebuild(owner, given, lambda secret: mask_pair(secret, self.session).public == public)
        return mask_pair(secret, self.session)

    def _rebuild(self, owner: int, given: Mapping[int, Mapping[int, int]], fits: _Fits) -> bytes:
        shares = {holder: by_owner[owner] for holder, by_owner in given.items() if owner in by_owner}
        if len(shares) < self.threshold:
            raise NotRebuilt(len(shares))
        rebuilt = rebuild_checked(shares, self.threshold, fits)
        if rebuilt is None:
            raise NotRebuilt(self.threshold - 1, owner)
        secret, wrong = rebuilt
        for holder in wrong:
            self.suspected[holder] = (*self.suspected.get(holder, ()), owner)
        return secret
