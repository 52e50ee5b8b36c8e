"""A round that was opened: what is kept of it, and its sum counted again from that.

`ServerMachine` fills an `Opened` and hands every `Upload` to its caller as it comes. Neither holds a seal, a
share, or a vector of a site that is not in the sum. Whoever has both, the roster and the parameters can take the
sum from them by `recount`, and needs to believe nobody: each site signed its keys, what it dealt, its upload and
its vote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from privacy.errors import FaultyServer, MalformedMessage, RecordsUnavailable
from privacy.roster import Roster
from privacy.secagg.masks import apply
from privacy.secagg.messages import Advert, Certificate, Dealt, Masked, Vote
from privacy.secagg.parameters import Parameters
from privacy.secagg.ring import (
    Lanes,
    RingVector,
    accumulate,
    accumulate_stored,
    check_stored,
    lane_type,
    reduce,
)
from privacy.secagg.statements import (
    check_certificate,
    has_repeated_keys,
    is_cast,
    is_genuine,
    upload_of,
    vector_digest,
    vector_hash,
)
from privacy.secagg.unmasking import Bound, check_taken, masks
from privacy.wire import Content, Stored


@dataclass(frozen=True)
class Upload:
    """What one site of the sum sent as its masked vector, and its first vote, which is for all who shared."""

    slot: int
    vote: Vote
    wraps: Mapping[int, bytes]
    packed: Content = field(repr=False)


@dataclass(frozen=True)
class Opened:
    """What was signed and opened in a round, but for the uploads. All by slot.

    `session` and `context` are the caller's 32 bytes. `sharers` is U2; U3 is `certificate.survivors`. `votes` are
    the first votes of U3, for U2. `taken` is, for each of U3, the digest of every signature that it took from a
    dealer, by dealer. `dealt` are the signatures between U3 and those who were lost, by dealer and recipient.
    `seeds` are m of U3, `secrets` are s of U2 without U3, `excess` is level and seed of the excess noise that was
    opened.
    """

    session: bytes
    context: bytes
    adverts: Mapping[int, Advert]
    sharers: frozenset[int]
    votes: Mapping[int, Vote]
    certificate: Certificate
    taken: Mapping[int, Mapping[int, bytes]]
    dealt: Mapping[tuple[int, int], Dealt]
    seeds: Mapping[int, bytes] = field(repr=False)
    secrets: Mapping[int, bytes] = field(repr=False)
    excess: Mapping[int, tuple[int, bytes]] = field(repr=False)

    @classmethod
    def of(
        cls,
        asked: tuple[bytes, bytes],
        bound: Bound,
        signed: tuple[Mapping[int, Vote], Certificate],
        shared: tuple[Mapping[int, Mapping[int, bytes]], Mapping[tuple[int, int], Dealt]],
        secrets: tuple[Mapping[int, bytes], Mapping[int, bytes], Mapping[int, tuple[int, bytes]]],
    ) -> Opened:
        """Of what a server has of a round: session and context, votes and certificate, what was taken and dealt,
        what was opened. Of the signatures of dealers it keeps those between the sum's sites and the lost.
        """
        (votes, certificate), (taken, dealt) = signed, shared
        inside = certificate.survivors
        return cls(
            *asked,
            adverts=bound.adverts,
            sharers=bound.sharers,
            votes=votes,
            certificate=certificate,
            taken={slot: taken[slot] for slot in inside},
            dealt={ends: each for ends, each in dealt.items() if len(inside.intersection(ends)) == 1},
            seeds=secrets[0],
            secrets=secrets[1],
            excess=secrets[2],
        )

    @property
    def survivors(self) -> frozenset[int]:
        """U3."""
        return self.certificate.survivors


def signed(bound: Bound, slot: int, masked: Masked, taken: Mapping[int, bytes]) -> tuple[Upload, bytes]:
    """What a site uploads by its message, and the digest of the vector. MalformedMessage if it did not sign this.

    `taken` is the digest of every signature that the site took from a dealer, by dealer.
    """
    if masked.wraps.keys() != bound.peers(slot):
        raise MalformedMessage("its wraps are not one for each peer")
    vector = vector_digest(masked.packed)
    vote = Vote(upload_of(vector, masked.wraps, bound.accepted(taken)), masked.signature)
    if not is_cast(vote, bound.keys[slot], bound.transcript, bound.sharers):
        raise MalformedMessage("its masked vector is not signed for these params, sharers and shares")
    return Upload(slot, vote, masked.wraps, masked.packed), vector


def add(total: Lanes, packed: Content, bits: int, vector: bytes = b"") -> None:
    """Add the packed vector of an upload whose vote was checked; `vector` is the digest that it was checked with.

    What is stored is read again for that. If it is not the same any more `total` is spoiled: RecordsUnavailable.
    MalformedMessage, for what no honest site signs, leaves it untouched.
    """
    if not isinstance(packed, Stored):
        accumulate(total, packed, bits)
        return
    hashed = vector_hash(len(packed))
    try:
        check_stored(packed, total.size, bits)
    except MalformedMessage:
        _require_same(packed, vector)
        raise
    try:
        accumulate_stored(total, packed, bits, hashed.update)
    except MalformedMessage:
        raise _changed() from None
    if hashed.digest() != vector:
        raise _changed()


def _require_same(packed: Stored, vector: bytes) -> None:
    """RecordsUnavailable if this is not what was checked: then nobody is to blame but this machine's disk."""
    try:
        if vector_digest(packed) == vector:
            return
    except MalformedMessage:
        pass
    raise _changed()


def _changed() -> RecordsUnavailable:
    message = "a masked vector that is stored on this machine changed while it was read"
    return RecordsUnavailable(message, hint="look at the disk, then try again: no sum is opened")


def recount(roster: Roster, parameters: Parameters, opened: Opened, uploads: Iterable[Upload]) -> RingVector:
    """The sum of the vectors, from what the sites signed. Holds one vector, and takes uploads one at a time.

    FaultyServer if anything is missing, added, altered or not signed; FaultyClient if what a site signed
    contradicts itself, as in a round that would not have been opened. `excess` is checked, and not taken out.
    """
    bound = check(roster, parameters, opened)
    total = np.zeros(parameters.length, lane_type(parameters.ring_bits))
    wraps: dict[int, Mapping[int, bytes]] = {}
    for upload in uploads:
        vector = _check_upload(bound, opened, upload)
        if upload.slot in wraps:
            raise FaultyServer("an upload that is there twice")
        wraps[upload.slot] = upload.wraps
        try:
            add(total, upload.packed, parameters.ring_bits, vector)
        except MalformedMessage as error:
            raise FaultyServer(error.message) from None
    if wraps.keys() != opened.survivors:
        raise FaultyServer("the uploads are not those of the sites in the sum")
    apply(total, masks(bound, opened.seeds, opened.secrets, opened.dealt, opened.taken, wraps))
    reduce(total, parameters.ring_bits)
    return total


def check(roster: Roster, parameters: Parameters, opened: Opened) -> Bound:
    """The round as its transcript fixes it, if all that was signed and opened fits; FaultyServer otherwise."""
    if not opened.survivors <= opened.sharers <= opened.adverts.keys() <= set(range(parameters.count)):
        raise FaultyServer("sites in the sum, sharers and adverts are not each within the next")
    if not parameters.slots.keys() <= roster.by_site.keys():
        raise FaultyServer("a member of the cohort is not on the roster")
    bound = Bound.of(roster, parameters, opened.session, opened.context, opened.adverts, opened.sharers)
    _check_adverts(bound)
    if len(opened.survivors) < parameters.required:
        raise FaultyServer(f"a sum of {len(opened.survivors)} sites, {parameters.required} are required")
    if bound.graph.fewest_neighbors(opened.survivors) < parameters.fewest_neighbors:
        raise FaultyServer("a sum that leaves a site with too few neighbors")
    check_certificate(opened.certificate, bound.transcript, bound.keys, parameters.quorum)
    _check_dealt(bound, opened)
    if opened.certificate.firsts != (opened.votes if parameters.is_ring else {}):
        raise FaultyServer("a certificate without the votes that came with the vectors, or with others")
    if any(opened.votes[slot].upload != vote.upload for slot, vote in opened.certificate.votes.items()):
        raise FaultyServer("a certificate about another upload than its site sent")
    _check_secrets(bound, opened)
    return bound


def _check_adverts(bound: Bound) -> None:
    for slot, advert in bound.adverts.items():
        if not is_genuine(advert, bound.keys[slot], bound.session, slot):
            raise FaultyServer(f"an advert that {bound.name(slot)} did not sign for this round")
    if has_repeated_keys(bound.adverts.values()):
        raise FaultyServer("two adverts with the same key")


def _check_dealt(bound: Bound, opened: Opened) -> None:
    """The signatures between those in the sum and the lost, each as its recipient took it."""
    survivors, lost = opened.survivors, opened.sharers - opened.survivors
    if opened.votes.keys() != survivors or opened.taken.keys() != survivors:
        raise FaultyServer("the votes, or what was taken, are not those of the sites in the sum")
    if any(opened.taken[slot].keys() != bound.peers(slot) for slot in survivors):
        raise FaultyServer("a site that did not take one signature from each neighbor")
    pairs = {(one, other) for one in lost for other in bound.peers(one) & survivors}
    if opened.dealt.keys() != pairs | {(other, one) for one, other in pairs}:
        raise FaultyServer("the signatures of dealers are not those between the lost and the others")
    for ends, dealt in opened.dealt.items():
        check_taken(bound, ends, dealt, opened.taken.get(ends[1]))


def _check_secrets(bound: Bound, opened: Opened) -> None:
    """The opened secrets are those due, and each is the one that its owner advertised."""
    survivors, level = opened.survivors, bound.parameters.opened_level(len(opened.survivors))
    if opened.seeds.keys() != survivors or opened.secrets.keys() != opened.sharers - survivors:
        raise FaultyServer("the opened secrets are not those that the sum needs")
    if not opened.excess.keys() <= survivors or any(at != level for at, _ in opened.excess.values()):
        raise FaultyServer("opened excess noise that the sum may need")
    secrets = [(slot, "m", seed) for slot, seed in opened.seeds.items()]
    secrets += [(slot, "s", secret) for slot, secret in opened.secrets.items()]
    secrets += [(slot, f"e{at}", seed) for slot, (at, seed) in opened.excess.items()]
    for slot, what, secret in secrets:
        if not bound.fits(slot, what, secret):
            raise FaultyServer(f"an opened secret that {bound.name(slot)} did not advertise")


def _check_upload(bound: Bound, opened: Opened, upload: Upload) -> bytes:
    """The digest of its vector."""
    slot = upload.slot
    if slot not in opened.survivors or upload.vote != opened.votes[slot]:
        raise FaultyServer("an upload of no site in the sum, or beside another vote")
    if upload.wraps.keys() != bound.peers(slot):
        raise FaultyServer(f"the wraps of {bound.name(slot)} are not one for each peer")
    accepted = bound.accepted(opened.taken[slot])
    vector = vector_digest(upload.packed)
    if upload.vote.upload != upload_of(vector, upload.wraps, accepted):
        raise FaultyServer(f"an upload that {bound.name(slot)} did not vote for")
    if not is_cast(upload.vote, bound.keys[slot], bound.transcript, opened.sharers):
        raise FaultyServer(f"a vote that {bound.name(slot)} did not cast for those who shared")
    return vector
