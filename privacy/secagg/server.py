"""The server's phases: collect adverts, shares, masked vectors and reveals, in any order of arrival.

Streaming: one accumulator, never a site's own vector. A phase ends when all who are still expected have
answered, or at a deadline if enough have. A site that sends what no honest site sends is not listened to any
more; what it gave before stands, and from then on it counts as vanished. See docs/protocol.md, sections 6 and
7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from privacy.errors import MalformedMessage
from privacy.secagg.keys import KeyPair, channel_pair, mask_pair
from privacy.secagg.masks import apply, commit, pair_mask, self_mask
from privacy.secagg.messages import (
    Advert,
    Adverts,
    Kind,
    Masked,
    Reveal,
    SealedShares,
    Survivors,
    has_repeated_keys,
    kind_of,
)
from privacy.secagg.parameters import Parameters
from privacy.secagg.ring import RingVector, accumulate, lane_type, packed_size, reduce
from privacy.secagg.shamir import rebuild_checked
from privacy.secagg.transcript import bind_parameters, bind_roster, bind_sharers


class Phase(Enum):
    """What the server waits for."""

    ADVERTISE = "adverts"
    SHARE = "shares"
    MASK = "masked vectors"
    REVEAL = "reveals"
    DONE = "done"
    ABORTED = "aborted"


_KINDS = {
    Phase.ADVERTISE: Kind.ADVERT,
    Phase.SHARE: Kind.SEALED_SHARES,
    Phase.MASK: Kind.MASKED,
    Phase.REVEAL: Kind.REVEAL,
}


class TooFew(Exception):
    """Too few sites answered, or too few shares fit: the sum stays hidden and the round is void."""

    def __init__(self, got: int, needed: int, stage: Phase) -> None:
        super().__init__(f"{got} of {needed} needed {stage.value}")
        self.got, self.needed, self.stage = got, needed, stage


@dataclass(frozen=True)
class Outgoing:
    """One message to one site."""

    to: str
    data: bytes = field(repr=False)


class ServerMachine:
    """One round at the server. `result` is the sum modulo 2^ring_bits once the phase is DONE.

    `faulty` says, for each site that left the protocol, how. `survivors` are those whose vectors are in the
    sum, known from the REVEAL phase on.
    """

    def __init__(self, parameters: Parameters, context: bytes) -> None:
        self.phase = Phase.ADVERTISE
        self.result: RingVector | None = None
        self.faulty: dict[str, str] = {}
        self._parameters = parameters
        self._context = bind_parameters(context, parameters)
        self._adverts: dict[int, Advert] = {}
        self._sealed: dict[int, Mapping[int, bytes]] = {}
        self._masked: set[int] = set()
        self._reveals: dict[int, Reveal] = {}
        self._total = np.zeros(parameters.length, lane_type(parameters.ring_bits))
        self._expected = set(range(parameters.count))
        self._seen: dict[int, bytes] = {}

    @property
    def survivors(self) -> tuple[str, ...]:
        """The sites whose vectors are in the sum; empty before it is settled."""
        if self.phase not in (Phase.REVEAL, Phase.DONE):
            return ()
        return tuple(self._parameters.members[slot] for slot in sorted(self._masked))

    def receive(self, sender: str, data: bytes) -> list[Outgoing]:
        """Take one message. Returns what to send next, if it was the last one awaited; may raise TooFew.

        Late and repeated messages are ignored: a vector that arrives after the survivors were settled is in
        no sum, and its self mask, whose seed is then never rebuilt, keeps hiding it.
        """
        slot = self._parameters.slots.get(sender)
        if slot is None or self.phase not in _KINDS or sender in self.faulty:
            return []
        try:
            self._take(slot, data)
        except MalformedMessage as error:
            self._accuse(slot, error.message)
        return self._advance() if self._expected <= self._seen.keys() else []

    def deadline(self) -> list[Outgoing]:
        """Go on without those who have not answered. Returns what to send next; raises TooFew."""
        return self._advance() if self.phase in _KINDS else []

    def leave(self, sender: str) -> list[Outgoing]:
        """Do not wait for a site that says it will not answer. Returns what to send next; raises TooFew."""
        slot = self._parameters.slots.get(sender)
        if slot is None or self.phase not in _KINDS or slot in self._seen:
            return []
        self._expected.discard(slot)
        return self._advance() if self._expected <= self._seen.keys() else []

    def _take(self, slot: int, data: bytes) -> None:
        kind, due = kind_of(data), _KINDS[self.phase]
        if kind < due or slot not in self._expected:
            return
        if slot in self._seen:
            # A second masked vector is ignored unread: the first is in the sum, and its bytes were not kept.
            if due is not Kind.MASKED and data != self._seen[slot]:
                raise MalformedMessage("it answered twice, differently")
            return
        take = {
            Phase.ADVERTISE: self._take_advert,
            Phase.SHARE: self._take_shares,
            Phase.MASK: self._take_masked,
            Phase.REVEAL: self._take_reveal,
        }
        take[self.phase](slot, data)
        self._seen[slot] = b"" if due is Kind.MASKED else data

    def _take_advert(self, slot: int, data: bytes) -> None:
        advert = Advert.from_bytes(data)
        if has_repeated_keys([*self._adverts.values(), advert]):
            raise MalformedMessage("a key appears twice in the cohort")
        self._adverts[slot] = advert

    def _take_shares(self, slot: int, data: bytes) -> None:
        shares = SealedShares.from_bytes(data).by_slot
        if shares.keys() != self._adverts.keys() - {slot}:
            raise MalformedMessage("its shares are not one for each peer")
        self._sealed[slot] = shares

    def _take_masked(self, slot: int, data: bytes) -> None:
        bits = self._parameters.ring_bits
        masked = Masked.from_bytes(data, packed_size(self._parameters.length, bits))
        accumulate(self._total, masked.packed, bits)
        self._masked.add(slot)

    def _take_reveal(self, slot: int, data: bytes) -> None:
        reveal = Reveal.from_bytes(data)
        vanished = self._sealed.keys() - self._masked
        if reveal.seed_shares.keys() != self._masked or reveal.key_shares.keys() != vanished:
            raise MalformedMessage("it revealed other shares than those asked for")
        self._reveals[slot] = reveal

    def _accuse(self, slot: int, reason: str) -> None:
        self.faulty[self._parameters.members[slot]] = reason
        self._expected.discard(slot)

    def _advance(self) -> list[Outgoing]:
        needed = self._parameters.threshold if self.phase is Phase.REVEAL else self._parameters.required
        if len(self._seen) < needed:
            raise self._void(len(self._seen), needed)
        close = {
            Phase.ADVERTISE: self._send_adverts,
            Phase.SHARE: self._send_shares,
            Phase.MASK: self._send_survivors,
            Phase.REVEAL: self._unmask,
        }
        return close[self.phase]()

    def _void(self, got: int, needed: int) -> TooFew:
        """End the round and forget what it collected."""
        error = TooFew(got, needed, self.phase)
        self.phase = Phase.ABORTED
        self._sealed.clear()
        self._reveals.clear()
        self._total = self._total[:0]
        return error

    def _next(self, phase: Phase) -> list[str]:
        """Enter a phase with those who answered in the last one and were honest; their names."""
        self.phase = phase
        self._expected &= self._seen.keys()
        self._seen = {}
        return [self._parameters.members[slot] for slot in sorted(self._expected)]

    def _send_adverts(self) -> list[Outgoing]:
        data = Adverts(self._adverts).to_bytes()
        return [Outgoing(site, data) for site in self._next(Phase.SHARE)]

    def _send_shares(self) -> list[Outgoing]:
        outgoing = []
        for site in self._next(Phase.MASK):
            to = self._parameters.slots[site]
            delivered = {sender: shares[to] for sender, shares in self._sealed.items() if sender != to}
            outgoing.append(Outgoing(site, SealedShares(delivered).to_bytes()))
        return outgoing

    def _send_survivors(self) -> list[Outgoing]:
        data = Survivors(frozenset(self._masked)).to_bytes()
        return [Outgoing(site, data) for site in self._next(Phase.REVEAL)]

    def _unmask(self) -> list[Outgoing]:
        """Take the self masks out, put the vanished sites' pairwise masks in; what is left is the sum."""
        transcript = bind_sharers(bind_roster(self._context, Adverts(self._adverts)), self._sealed)
        seeds = {slot: self._rebuild_seed(slot) for slot in sorted(self._masked)}
        vanished = {slot: self._rebuild_keys(slot) for slot in sorted(self._sealed.keys() - self._masked)}
        apply(self._total, (self_mask(seed, transcript, slot).inverse() for slot, seed in seeds.items()))
        for slot, keys in vanished.items():
            self._cancel(slot, keys, transcript)
        reduce(self._total, self._parameters.ring_bits)
        self.result = self._total.astype(np.uint64)
        self.phase = Phase.DONE
        return []

    def _cancel(self, slot: int, keys: KeyPair, transcript: bytes) -> None:
        """Add the masks a vanished site would have added: each cancels the one its peer applied."""
        own = slot, keys.public
        ends = [(peer, self._adverts[peer].mask_key) for peer in self._masked]
        apply(self._total, (pair_mask(keys.agree(end[1]), transcript, own, end) for end in ends))

    def _rebuild_seed(self, owner: int) -> bytes:
        shares = {holder: reveal.seed_shares[owner] for holder, reveal in self._reveals.items()}
        commitment = self._adverts[owner].commitment
        return self._rebuild(owner, shares, lambda seed: commit(seed, self._context, owner) == commitment)

    def _rebuild_keys(self, owner: int) -> KeyPair:
        shares = {holder: reveal.key_shares[owner] for holder, reveal in self._reveals.items()}
        advert = self._adverts[owner]

        def fits(secret: bytes) -> bool:
            public = (mask_pair(secret, self._context).public, channel_pair(secret, self._context).public)
            return public == (advert.mask_key, advert.channel_key)

        return mask_pair(self._rebuild(owner, shares, fits), self._context)

    def _rebuild(self, owner: int, shares: Mapping[int, int], fits: Callable[[bytes], bool]) -> bytes:
        """The secret that fits the owner's advert. Where shares do not fit it, says whose.

        That is a suspicion: a share that does not fit was changed by its holder, dealt so by its owner, or made
        to look so by other holders together.
        """
        threshold = self._parameters.threshold
        rebuilt = rebuild_checked(shares, threshold, fits)
        name = self._parameters.members[owner]
        if rebuilt is None:
            self.faulty.setdefault(name, "its shares rebuild no secret that fits its advert")
            raise self._void(threshold - 1, threshold)
        secret, wrong = rebuilt
        for holder in wrong:
            site = self._parameters.members[holder]
            self.faulty.setdefault(site, f"its share of a secret of {name} does not fit the others")
        return secret
