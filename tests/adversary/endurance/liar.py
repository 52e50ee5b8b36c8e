"""A site that follows the protocol but for one lie, with its own signature under what it says."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

from privacy.secagg.client import ClientMachine
from privacy.secagg.dealing import End
from privacy.secagg.keys import Channel, Secrets, channel_pair, kem_pair
from privacy.secagg.messages import Advert, Adverts, Portion, Reveal, Sealed, SealedShares
from privacy.secagg.shamir import PRIME
from privacy.secagg.statements import bind_adverts, deal, make_advert, sign_reveal
from privacy.secagg.states import Advertised, Finished, Pair, Shared
from privacy.secagg.states import Masked as HasMasked

FEW = 3  # so many peers are lied to


class Lie(Enum):
    """What it does wrong, and whether the round can be opened all the same, whether what it signed proves it."""

    SHARES = "deals wrong shares to some, and signs them"
    SEALS = "seals for some what it did not sign"
    ALL_SEALS = "seals for everybody what it did not sign"
    HALVES = "deals wrong halves, and stays"
    HALVES_THEN_GONE = "deals wrong halves, and vanishes"
    WRAPS = "wraps another half than it dealt"
    BROKEN_WRAPS = "sends wraps that do not open"
    REVEAL = "reveals a wrong share of another site's secret"
    OWN_REVEAL = "reveals a wrong share of its own secret"
    TWO_ADVERTS = "advertises twice"
    TWO_SHARES = "shares twice"
    TWO_VOTES = "votes for two sets"
    TWO_REVEALS = "reveals twice, differently"
    BYTES = "sends malformed bytes"


VOIDING = {Lie.SHARES, Lie.ALL_SEALS, Lie.HALVES_THEN_GONE, Lie.WRAPS, Lie.BROKEN_WRAPS}
PROVEN = {Lie.SHARES, Lie.HALVES_THEN_GONE, Lie.WRAPS, Lie.BROKEN_WRAPS, Lie.REVEAL, Lie.OWN_REVEAL}
REFUSED = {Lie.SEALS, Lie.ALL_SEALS}
SUSPECTED = {Lie.TWO_ADVERTS, Lie.TWO_SHARES, Lie.TWO_VOTES, Lie.TWO_REVEALS, Lie.BYTES}


class Liar(ClientMachine):
    """`lie` is what it does wrong; it is set right after the machine was made."""

    lie: Lie

    def another_advert(self) -> bytes:
        """A second advert of this round, under its own signature."""
        channel, shared = self._entropy(32), {"s": self._entropy(32), "m": self._entropy(32)}
        return make_advert(self._identity, self._session, self._slot, channel, shared).to_bytes()

    def _share(self, state: Advertised, data: bytes) -> tuple[Shared, bytes]:
        adverts = Adverts.from_bytes(data)
        link, secrets = bind_adverts(self._session, adverts), Secrets.of(state.root, self._session)
        peers = sorted(self._peers & adverts.by_slot.keys())
        shares = self._split(state, secrets, link, [*peers, self._slot])
        end = End(self._slot, link, self._identity, channel_pair(secrets.channel, self._session))
        given, agreed, sealed = {}, {}, {}
        for place, peer in enumerate(peers):
            portion = self._portion(end.portion(secrets.mask, peer, shares[peer]), is_chosen=place < FEW)
            agreed[peer], given[peer] = end.keys.agree(adverts.by_slot[peer].channel_key), portion.mask_half
            sealed[peer] = self._seal(end, agreed[peer], peer, adverts.by_slot[peer], portion, place < FEW)
        kem = kem_pair(secrets.channel, self._session)
        after = Shared(link, secrets.seed, given, frozenset(adverts.by_slot), agreed, kem, shares[self._slot])
        return after, SealedShares(sealed).to_bytes()

    def _portion(self, right: Portion, *, is_chosen: bool) -> Portion:
        if self.lie is Lie.SHARES and is_chosen:
            return replace(right, shares=tuple((share + 1) % PRIME for share in right.shares))
        if self.lie in (Lie.HALVES, Lie.HALVES_THEN_GONE):
            return replace(right, mask_half=bytes(32), wrap_half=bytes(32))
        return right

    def _seal(
        self, end: End, agreed: bytes, peer: int, advert: Advert, portion: Portion, is_chosen: bool
    ) -> Sealed:
        sealed = end.seal(agreed, peer, advert, portion)
        if self.lie is Lie.ALL_SEALS or (self.lie is Lie.SEALS and is_chosen):
            other = replace(portion, shares=tuple((share + 1) % PRIME for share in portion.shares))
            return replace(sealed, dealt=deal(self._identity, end.adverts, self._slot, peer, other))
        return sealed

    def _wrap(self, pair: Pair, transcript: bytes, peer: int) -> bytes:
        if self.lie is Lie.WRAPS:
            return Channel.of_wrap(pair.wrap, transcript, self._slot, peer).seal(bytes(32))
        if self.lie is Lie.BROKEN_WRAPS:
            return bytes(48)
        return super()._wrap(pair, transcript, peer)

    def _reveal(self, state: HasMasked, data: bytes) -> tuple[Finished, bytes]:
        after, answer = super()._reveal(state, data)
        if self.lie not in (Lie.REVEAL, Lie.OWN_REVEAL):
            return after, answer
        right = Reveal.from_bytes(answer)
        owner = self._slot if self.lie is Lie.OWN_REVEAL else min(right.seed_shares.keys() - {self._slot})
        seeds = {**right.seed_shares, owner: (right.seed_shares[owner] + 1) % PRIME}
        survivors = self._certified(state, data)
        wrong = replace(right, seed_shares=seeds)
        return after, sign_reveal(
            self._identity, state.transcript, survivors, state.accepted, wrong
        ).to_bytes()
