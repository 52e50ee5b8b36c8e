"""The server's phases: collect adverts, shares, masked vectors, votes if a site was lost, and reveals.

The server keeps one running sum and no site's own vector. A phase ends when all sites still expected have answered,
or at a deadline if enough have. A site that sends what no honest site sends is ignored from then on and counts as
vanished; what it gave before stands. See docs/protocol.md, section 7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

import numpy as np

from privacy.errors import FaultyClient, MalformedMessage, RecordsUnavailable, SuspectedClient
from privacy.roster import Roster
from privacy.secagg.kem import require_kem
from privacy.secagg.masks import apply
from privacy.secagg.messages import (
    Advert,
    Adverts,
    Certificate,
    Dealt,
    Delivery,
    Kind,
    Masked,
    Reveal,
    Sealed,
    SealedShares,
    Survivors,
    Vote,
    kind_of,
)
from privacy.secagg.opened import Opened, Upload, add, signed
from privacy.secagg.parameters import Parameters, member_keys
from privacy.secagg.ring import RingVector, lane_type, packed_size, reduce
from privacy.secagg.statements import (
    bind_adverts,
    bind_session,
    has_repeated_keys,
    is_cast,
    is_dealt,
    is_genuine,
    taken_digest,
)
from privacy.secagg.unmasking import Bound, NotRebuilt, Opening, check_reveal, masks
from privacy.wire import Content, Stored


class Phase(Enum):
    """What the server waits for."""

    ADVERTISE = "adverts"
    SHARE = "shares"
    MASK = "masked vectors"
    COMMIT = "votes"
    REVEAL = "reveals"
    DONE = "done"
    ABORTED = "aborted"


_KINDS = {
    Phase.ADVERTISE: Kind.ADVERT,
    Phase.SHARE: Kind.SEALED_SHARES,
    Phase.MASK: Kind.MASKED,
    Phase.COMMIT: Kind.VOTE,
    Phase.REVEAL: Kind.REVEAL,
}


class TooFew(Exception):
    """Too few sites answered, or one has proven that it spoils the sum: it stays hidden and the round is void."""

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

    `session` is the same 32 bytes as the sites'; `bind` gives the second context before the first masked vector.
    `blame` says, for each site that left the protocol, how: a FaultyClient if what the site signed proves it, a
    SuspectedClient otherwise. `certificate` is the quorum's agreement to open this sum, as they signed it.

    `sink` is called once for each upload that goes into the sum, as it comes; the machine keeps none. `opened` is
    all else that was signed and opened, once the phase is DONE: with the uploads, `opened.recount` gives the sum.
    `opened_excess` is level and seed, by slot, of the excess noise that the sum does not need.
    """

    def __init__(
        self,
        roster: Roster,
        parameters: Parameters,
        session: bytes,
        sink: Callable[[Upload], None] | None = None,
    ) -> None:
        require_kem()
        self.phase = Phase.ADVERTISE
        self.result: RingVector | None = None
        self.certificate: Certificate | None = None
        self.opened: Opened | None = None
        self.blame: dict[str, FaultyClient | SuspectedClient] = {}
        self._roster = roster
        self._parameters = parameters
        self._asked = session
        self._sink = sink
        self._keys = member_keys(parameters, roster)
        self._session = bind_session(session, roster.root, parameters)
        self._graph = parameters.graph(self._session)
        self._context: bytes | None = None
        self._adverts: dict[int, Advert] = {}
        self._sealed: dict[int, Mapping[int, Sealed]] = {}
        self._sharers: frozenset[int] = frozenset()
        self._dealt: dict[tuple[int, int], Dealt] = {}
        self._taken: dict[int, dict[int, bytes]] = {}
        self._first: dict[int, Vote] = {}
        self._votes: dict[int, Vote] = {}
        self._wraps: dict[int, Mapping[int, bytes]] = {}
        self._masked: set[int] = set()
        self._reveals: dict[int, Reveal] = {}
        self._total = np.zeros(parameters.length, lane_type(parameters.ring_bits))
        self._expected = set(range(parameters.count))
        self._seen: dict[int, bytes] = {}

    def bind(self, context: bytes) -> None:
        """Give the 32 bytes that the sites mask with: the digest of params and codec. Once, before MASK answers."""
        if self._context not in (None, context):
            raise ValueError("a round has one context")
        self._context = context

    @property
    def survivors(self) -> tuple[str, ...]:
        """The sites whose vectors are in the sum; empty before it is settled."""
        if self.phase not in (Phase.COMMIT, Phase.REVEAL, Phase.DONE):
            return ()
        return tuple(self._parameters.members[slot] for slot in sorted(self._masked))

    @property
    def faulty(self) -> dict[str, str]:
        """What is said of each site in `blame`, in one line."""
        return {site: error.message for site, error in self.blame.items()}

    @property
    def opened_excess(self) -> Mapping[int, tuple[int, bytes]]:
        """Level and seed of the excess noise that was opened, by slot."""
        return self.opened.excess if self.opened is not None else {}

    @property
    def transcript(self) -> bytes:
        """32 bytes that the votes of the certificate are about. ValueError before `bind` and the MASK phase."""
        return self._bound.transcript

    @cached_property
    def _bound(self) -> Bound:
        if self._context is None or self.phase in (Phase.ADVERTISE, Phase.SHARE, Phase.ABORTED):
            raise ValueError("a round's transcript needs its context and its sharers")
        return Bound.of(
            self._roster, self._parameters, self._asked, self._context, self._adverts, self._sharers
        )

    @cached_property
    def _link(self) -> bytes:
        return bind_adverts(self._session, Adverts(self._adverts))

    def receive(self, sender: str, data: Content) -> list[Outgoing]:
        """Take one message. Returns what to send next, if it was the last one awaited; may raise TooFew.

        A masked vector may be `Stored`: it is read in blocks, twice. RecordsUnavailable if it changes meanwhile.
        Late and repeated messages are ignored: a vector that arrives after the survivors were settled is in
        no sum, and its self mask, whose seed is never rebuilt, keeps hiding it.
        """
        slot = self._parameters.slots.get(sender)
        if slot is None or self.phase not in _KINDS or sender in self.blame:
            return []
        try:
            self._take(slot, data)
        except MalformedMessage as error:
            self._accuse(SuspectedClient(sender, error.message))
        except FaultyClient as error:
            self._accuse(error)
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

    def _take(self, slot: int, given: Content) -> None:
        due = _KINDS[self.phase]
        if kind_of(given) < due or slot not in self._expected:
            return
        if due is Kind.MASKED:
            if (
                slot not in self._seen
            ):  # a first is in the sum, and its bytes were not kept: no second is read
                self._take_masked(slot, given)
                self._seen[slot] = b""
            return
        if isinstance(given, Stored):
            raise MalformedMessage("only a masked vector may be stored")
        data = bytes(given)
        if slot in self._seen:
            if data != self._seen[slot]:
                self._refuse_second(slot, data)
            return
        take = {
            Phase.ADVERTISE: self._take_advert,
            Phase.SHARE: self._take_shares,
            Phase.COMMIT: self._take_vote,
            Phase.REVEAL: self._take_reveal,
        }
        take[self.phase](slot, data)
        self._seen[slot] = data

    def _refuse_second(self, slot: int, data: bytes) -> None:
        if self.phase is Phase.ADVERTISE:
            self._check_signed(slot, Advert.from_bytes(data, self._levels))
            # No proof of a fault: a site that restarted has lost its keys, and advertises new ones.
            raise MalformedMessage("it signed two adverts for one round, as after a restart")
        raise MalformedMessage("it answered twice, differently")

    @property
    def _levels(self) -> int:
        return len(self._parameters.levels)

    def _check_signed(self, slot: int, advert: Advert) -> None:
        if not is_genuine(advert, self._keys[slot], self._session, slot):
            raise MalformedMessage("its advert is not signed by its identity for this round")

    def _take_advert(self, slot: int, data: bytes) -> None:
        advert = Advert.from_bytes(data, self._levels)
        self._check_signed(slot, advert)
        if has_repeated_keys([*self._adverts.values(), advert]):
            raise MalformedMessage("a key appears twice in the cohort")
        self._adverts[slot] = advert

    def _take_shares(self, slot: int, data: bytes) -> None:
        shares = SealedShares.from_bytes(data, self._levels).by_slot
        if shares.keys() != self._adverts.keys() & set(self._graph.neighbors(slot)):
            raise MalformedMessage("its shares are not one for each peer")
        key = self._keys[slot]
        if not all(is_dealt(each.dealt, key, self._link, slot, peer) for peer, each in shares.items()):
            raise MalformedMessage("it did not sign what it sealed, for these adverts")
        self._sealed[slot] = shares

    def _take_masked(self, slot: int, data: Content) -> None:
        bits = self._parameters.ring_bits
        masked = Masked.from_bytes(data, packed_size(self._parameters.length, bits))
        upload, vector = signed(self._bound, slot, masked, self._taken[slot])
        try:
            add(self._total, upload.packed, bits, vector)
        except MalformedMessage as error:
            raise FaultyClient(self._parameters.members[slot], error.message) from None
        except RecordsUnavailable:
            self._void(len(self._seen), self._parameters.required)  # the sum is spoiled
            raise
        self._first[slot] = self._votes[slot] = upload.vote
        self._wraps[slot] = upload.wraps
        self._masked.add(slot)
        if self._sink is not None:
            self._sink(upload)

    def _take_vote(self, slot: int, data: bytes) -> None:
        vote = Vote.from_bytes(data)
        if vote.upload != self._votes[slot].upload:
            raise MalformedMessage("its vote is about another vector than it sent")
        if not is_cast(vote, self._keys[slot], self.transcript, self._masked):
            raise MalformedMessage("its vote is not signed for these survivors")
        self._votes[slot] = vote

    def _take_reveal(self, slot: int, data: bytes) -> None:
        reveal, survivors = Reveal.from_bytes(data), frozenset(self._masked)
        check_reveal(self._bound, survivors, slot, reveal, self._dealt, self._taken[slot])
        self._reveals[slot] = reveal

    def _accuse(self, blame: FaultyClient | SuspectedClient) -> None:
        self.blame.setdefault(blame.site, blame)
        self._expected.discard(self._parameters.slots[blame.site])

    def _advance(self) -> list[Outgoing]:
        rules = self._parameters
        needed = {Phase.COMMIT: rules.quorum, Phase.REVEAL: rules.threshold}.get(self.phase, rules.required)
        if len(self._seen) < needed:
            raise self._void(len(self._seen), needed)
        close = {
            Phase.ADVERTISE: self._send_adverts,
            Phase.SHARE: self._send_shares,
            Phase.MASK: self._send_survivors,
            Phase.COMMIT: self._send_certificate,
            Phase.REVEAL: self._unmask,
        }
        return close[self.phase]()

    def _void(self, got: int, needed: int) -> TooFew:
        """End the round and forget what it collected."""
        error, self.phase = TooFew(got, needed, self.phase), Phase.ABORTED
        for kept in (self._sealed, self._dealt, self._taken, self._wraps, self._reveals):
            kept.clear()
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
        """Relay what was sealed, and keep of it what the dealers signed, also for a sharer blamed since."""
        self._sharers, outgoing = frozenset(self._sealed), []
        for sender, sealed in self._sealed.items():
            self._dealt |= {(sender, slot): sealed[slot].dealt for slot in self._sharers & sealed.keys()}
        for site in self._next(Phase.MASK):
            slot = self._parameters.slots[site]
            senders = self._sharers.intersection(self._graph.neighbors(slot))
            delivery = Delivery(self._sharers, {sender: self._sealed[sender][slot] for sender in senders})
            self._taken[slot] = {
                sender: taken_digest(each.dealt) for sender, each in delivery.by_slot.items()
            }
            outgoing.append(Outgoing(site, delivery.to_bytes()))
        self._sealed.clear()
        return outgoing

    def _send_survivors(self) -> list[Outgoing]:
        """Ask for votes, unless the ones that came with the vectors are for everyone who shared."""
        if self._masked == self._sharers:
            return self._send_certificate()
        self._check_ring()
        data = Survivors(frozenset(self._masked)).to_bytes()
        return [Outgoing(site, data) for site in self._next(Phase.COMMIT)]

    def _send_certificate(self) -> list[Outgoing]:
        voters = sorted(self._seen.keys() & self._votes.keys())[: self._parameters.quorum]
        votes = {slot: self._votes[slot] for slot in voters}
        firsts = {slot: self._first[slot] for slot in self._masked} if self._parameters.is_ring else {}
        self.certificate = Certificate(frozenset(self._masked), votes, firsts)
        data = self.certificate.to_bytes()
        return [Outgoing(site, data) for site in self._next(Phase.REVEAL)]

    def _check_ring(self) -> None:
        """On a ring the sites refuse to open a sum that chance has cut too thin."""
        fewest, needed = self._graph.fewest_neighbors(self._masked), self._parameters.fewest_neighbors
        if fewest < needed:
            raise self._void(fewest, needed)

    def _unmask(self) -> list[Outgoing]:
        """Take the self masks out, put the lost sites' pairwise masks in; what is left is the sum."""
        opening = Opening(self._bound, frozenset(self._masked), self._reveals)
        try:
            seeds, secrets = opening.seeds(), opening.keys()
            removed = masks(self._bound, seeds, secrets, self._dealt, self._taken, self._wraps)
            excess = opening.excess()
        except NotRebuilt as error:
            raise self._void(error.got, self._parameters.threshold) from None
        except FaultyClient as fatal:
            self._accuse(fatal)
            raise self._void(self._parameters.threshold - 1, self._parameters.threshold) from None
        finally:
            for fault in opening.faults:
                self._accuse(fault)
        apply(self._total, removed)
        reduce(self._total, self._parameters.ring_bits)
        self.result = self._total
        self.opened = Opened.of(
            (self._asked, self._context or b""),
            self._bound,
            (self._first, self.certificate or Certificate(frozenset(), {})),
            (self._taken, self._dealt),
            (seeds, secrets, excess),
        )
        self.phase = Phase.DONE
        return []
