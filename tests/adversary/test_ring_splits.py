"""A server that tells one site of a ring that its neighbors are missing, and tells the others that they are not.

The victim then masks for a set in which it has nobody to mask with, but for neighbors whose mask secrets the
others are made to rebuild. All others agree on one set with the victim in it, a quorum votes for it, and its
neighbors hold the shares of its self seed. They must ask for the vote that came with its vector: for another set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from privacy.errors import FaultyServer
from privacy.secagg import client as site_machine
from privacy.secagg.keys import Channel, mask_half, wrap_half
from privacy.secagg.masks import Mask, apply, pair_mask, self_mask
from privacy.secagg.messages import Certificate, Delivery, Masked, Reveal, Survivors, Vote
from privacy.secagg.ring import accumulate, lane_type, packed_size, reduce
from privacy.secagg.server import Phase
from privacy.secagg.shamir import rebuild
from privacy.secagg.statements import bind_masks, upload_digest
from tests.privacy.secagg.rounds import CONTEXT, Round, mask

VICTIM = 0
Slots = frozenset[int]


@dataclass
class _Split:
    """`lost` of the victim's neighbors are lost to all others; the rest of them are lost to the victim."""

    round: Round
    lost: Slots
    excluded: Slots
    stolen: Masked
    votes: dict[int, Vote]

    @classmethod
    def of(cls, round_: Round) -> _Split:
        """As many neighbors are called lost as the others' condition on a ring allows."""
        rules, graph = round_.parameters, round_.server._graph
        neighbors, lost = frozenset(graph.neighbors(VICTIM)), frozenset[int]()
        for each in sorted(neighbors):
            if graph.fewest_neighbors(round_.everyone - lost - {each}) >= rules.fewest_neighbors:
                lost |= {each}
        excluded = neighbors - lost
        assert max(len(lost), len(excluded)) <= rules.tolerated, "both sides see enough sites"
        split = cls(round_, lost, excluded, Masked(b"", {}, b""), {})
        split._mask()
        return split

    @property
    def others(self) -> Slots:
        return self.round.everyone - self.lost - {VICTIM}

    def _mask(self) -> None:
        """Everybody masks, and all but the victim vote for the set without the lost."""
        round_, genuine = self.round, Delivery.from_bytes(self.round.inbox[VICTIM])
        seen = round_.everyone - self.excluded
        seals = {slot: sealed for slot, sealed in genuine.by_slot.items() if slot in seen}
        self.stolen = self._masked(VICTIM, Delivery(seen, seals).to_bytes())
        for slot in sorted(round_.everyone - {VICTIM}):
            upload = self._masked(slot, round_.inbox[slot])
            accepted = round_.server._bound.accepted(round_.server._taken[slot])
            digest = upload_digest(upload.packed, upload.wraps, accepted)
            self.votes[slot] = Vote(digest, upload.signature)

    def _masked(self, slot: int, delivery: bytes) -> Masked:
        rules = self.round.parameters
        data = mask(self.round.clients[slot], delivery, self.round.vectors[slot], CONTEXT)
        return Masked.from_bytes(data, packed_size(rules.length, rules.ring_bits))

    def certificate(self) -> bytes:
        """For all but the lost; the victim's vote for its own set stands in for the one that there is not."""
        survivors = self.others | {VICTIM}
        asked = Survivors(survivors).to_bytes()
        cast = {slot: Vote.from_bytes(self.round.clients[slot].commit(asked)) for slot in sorted(self.others)}
        firsts = {slot: self.votes[slot] for slot in self.others}
        firsts[VICTIM] = Vote(b"u" * 32, self.stolen.signature)
        return Certificate(
            survivors, dict(list(cast.items())[: self.round.parameters.quorum]), firsts
        ).to_bytes()

    def read(self, reveals: dict[int, Reveal]) -> list[int]:
        """The victim's vector, from what its neighbors and those of the lost revealed."""
        rules, link = self.round.parameters, self.round.server._link
        transcript = bind_masks(link, CONTEXT, self.round.everyone - self.excluded)
        off = [self_mask(self._secret(reveals, "seed_shares", VICTIM), transcript, VICTIM).inverse()]
        for slot in sorted(self.lost):
            off.append(self._pair(self._secret(reveals, "key_shares", slot), link, transcript, slot))
        lanes = np.zeros(rules.length, lane_type(rules.ring_bits))
        accumulate(lanes, self.stolen.packed, rules.ring_bits)
        apply(lanes, off)
        reduce(lanes, rules.ring_bits)
        return [int(value) for value in lanes]

    def _pair(self, secret: bytes, link: bytes, transcript: bytes, slot: int) -> Mask:
        given, key = mask_half(secret, link, slot, VICTIM), wrap_half(secret, link, slot, VICTIM)
        taken = Channel.of_wrap(key, transcript, VICTIM, slot).open(self.stolen.wraps[slot])
        assert taken is not None
        return pair_mask(taken, given, transcript, VICTIM, slot).inverse()

    def _secret(self, reveals: dict[int, Reveal], kind: str, owner: int) -> bytes:
        shares = {
            slot: getattr(each, kind)[owner] for slot, each in reveals.items() if owner in getattr(each, kind)
        }
        secret = rebuild(shares, self.round.parameters.threshold)
        assert secret is not None
        return secret


@pytest.fixture
def split() -> _Split:
    """18 neighbors each, 10 shares rebuild a secret, 10 sites may drop out: no colluder is needed."""
    round_ = Round(150, colluders=0, dropouts=10, length=3)
    assert round_.parameters.is_ring
    return _Split.of(round_.until(Phase.MASK))


def test_no_neighbor_of_a_site_that_masked_for_others_helps_to_rebuild_its_seed(split: _Split) -> None:
    """The vote that the server has of the victim is for the set that the victim was shown."""
    certificate = split.certificate()
    for slot in sorted(split.others & set(split.round.server._graph.neighbors(VICTIM))):
        with pytest.raises(FaultyServer, match="came with a neighbor's vector"):
            split.round.clients[slot].reveal(certificate)


def test_control_without_that_vote_the_server_reads_the_vector(
    split: _Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_machine, "check_firsts", lambda *_: None)
    certificate = split.certificate()
    reveals = {
        slot: Reveal.from_bytes(split.round.clients[slot].reveal(certificate))
        for slot in sorted(split.others)
    }
    assert split.read(reveals) == [int(value) for value in split.round.vectors[VICTIM]]


def test_a_ring_opens_although_sites_are_lost_at_every_step() -> None:
    """A site whose second vote is missing is in the sum: what shows that it masked is its first."""
    round_ = Round(150, colluders=0, dropouts=10, length=3).until(Phase.SHARE)
    for gone in ({3}, {40, 41}, {7, 90}, {120}):
        round_.step(round_.everyone - gone)
    assert round_.server.phase is Phase.DONE
    survivors = [round_.parameters.slots[name] for name in round_.server.survivors]
    assert round_.result() == round_.sum_over(survivors)
    assert {7, 90} <= set(survivors)
    assert not round_.server.blame
