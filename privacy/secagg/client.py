"""A site's steps in one round: advertise, share, accept, mask, commit if a site was lost, reveal.

Each step runs once: it consumes the secrets of the step before and leaves only those of the next. The same request
again is answered with the stored bytes. Any other request, and any violation of the protocol, ends the round for
this site and drops its secrets. docs/protocol.md, section 6, lists what a site refuses, and why.

Python cannot promise to wipe memory, so each secret loses its last reference as early as possible: root, mask
secret, seeds of excess noise and polynomials when shares are sealed, the keys of incoming seals when shares are
accepted, self seed and halves when the vector is masked, held shares when they are revealed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import IntEnum
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.errors import FaultyServer, ProtocolError, SuspectedClient
from privacy.roster import Roster
from privacy.secagg.dealing import End, named, split_all, take
from privacy.secagg.keys import SECRET_BYTES, Channel, Secrets, channel_pair, kem_pair
from privacy.secagg.masks import Mask, masked, pair_mask, self_mask
from privacy.secagg.messages import (
    WRAP_BYTES,
    Adverts,
    Certificate,
    Delivery,
    Masked,
    Portion,
    Reveal,
    SealedShares,
    Survivors,
)
from privacy.secagg.parameters import Floor, Parameters, member_keys
from privacy.secagg.ring import RingVector, Vector, packed_size, write
from privacy.secagg.statements import (
    accepted_digest,
    bind_adverts,
    bind_masks,
    bind_session,
    cast,
    check_certificate,
    check_firsts,
    has_repeated_keys,
    is_genuine,
    make_advert,
    sign_reveal,
    taken_digest,
    upload_digest,
)
from privacy.secagg.states import Accepted, Advertised, Finished, Fresh, Pair, Shared, State
from privacy.secagg.states import Masked as HasMasked
from privacy.signing import SIGNATURE_BYTES, public_identity
from privacy.suite import label
from privacy.wire import Held, Sink, digest

Entropy = Callable[[int], bytes]

_INTO = b"into a file"  # a request to mask into a file is another one than to mask

_Expected = TypeVar("_Expected", Fresh, Advertised, Shared, Accepted, HasMasked)


class _Step(IntEnum):
    """What a site is asked for."""

    ADVERTISE = 1
    SHARE = 2
    ACCEPT = 3
    MASK = 4
    COMMIT = 5
    CHECK = 6
    REVEAL = 7


class ClientMachine:
    """One site in one round. Bytes in, bytes out; randomness is the caller's `entropy`.

    `session` is the caller's 32-byte digest of run, round, attempt, plan and policy; `identity` is the site's
    signing key on the verified `roster`; `floor` is what the site demands of any cohort; `excess` are the round's
    seeds of excess noise, 32 bytes for each of `parameters.levels`. A machine serves one attempt at one round: a
    second attempt needs a new machine and a new session.
    """

    def __init__(
        self,
        site: str,
        identity: Ed25519PrivateKey,
        roster: Roster,
        parameters: Parameters,
        session: bytes,
        floor: Floor,
        entropy: Entropy,
        excess: Sequence[bytes] = (),
    ) -> None:
        if [len(seed) for seed in excess] != [SECRET_BYTES] * len(parameters.levels):
            raise ValueError(f"a site has {SECRET_BYTES} bytes of excess noise for each level")
        if site not in parameters.slots:
            raise ProtocolError("this site is not a member of the cohort it was asked to join")
        floor.check(parameters, roster)
        if roster.by_site[site].key != public_identity(identity):
            raise ProtocolError("the roster knows this site by another identity key")
        self._identity = identity
        self._parameters = parameters
        self._keys = member_keys(parameters, roster)
        self._slot = parameters.slots[site]
        self._session = bind_session(session, roster.root, parameters)
        self._graph = parameters.graph(self._session)
        self._peers = frozenset(self._graph.neighbors(self._slot))
        self._entropy = entropy
        self._state: State = Fresh(tuple(excess))
        self._answered: dict[int, tuple[bytes, bytes]] = {}

    def __repr__(self) -> str:
        return f"ClientMachine(slot={self._slot}, {type(self._state).__name__.lower()})"

    def advertise(self) -> bytes:
        """This site's signed one-time public keys, as an Advert."""
        return self._once(_Step.ADVERTISE, b"", Fresh, self._advertise)

    def share(self, adverts: bytes) -> bytes:
        """Answer Adverts with this site's sealed shares, one for each neighbor."""
        return self._once(_Step.SHARE, adverts, Advertised, lambda state: self._share(state, adverts))

    def accept(self, delivery: bytes) -> None:
        """Open what the neighbors sealed, in a Delivery, and keep it. Sends nothing; needs neither vector nor
        params.

        SuspectedClient, with the dealer's `site`, if it does not open or is not what the dealer signed. So a site
        accepts before it charges or trains anything.
        """
        self._once(_Step.ACCEPT, delivery, Shared, lambda state: self._accept(state, delivery))

    def mask(self, vector: RingVector, context: bytes) -> bytes:
        """This site's masked vector and its vote for the sum over all who shared, as a Masked.

        `vector` has `parameters.length` elements in [0, 2^ring_bits), dtype uint64 or as narrow as holds them, and
        is not changed.
        `context` is the caller's 32-byte digest of what is only known now: params and codec. When the request is
        repeated the vector is not looked at: two vectors under one mask would reveal their difference.

        The caller must have recorded (run, round, attempt) durably before it calls (docs/protocol.md, section 8).
        """

        def answer(state: Accepted) -> tuple[HasMasked, bytes]:
            out = Held(_head_bytes(state) + packed_size(*self._shape))
            return self._mask(state, vector, context, out), out.whole()

        return self._once(_Step.MASK, context, Accepted, answer)

    def mask_into(self, vector: Vector, context: bytes, out: Sink) -> None:
        """As `mask`, of a vector that comes in blocks, into a file: it holds what `mask` returns.

        Each element is asked for once. What is before the vector is written last, so what is half written is no
        message. When the request is repeated nothing is read or written: the file still holds the answer. A
        machine either masks or masks into a file.
        """
        self._once(
            _Step.MASK,
            context + _INTO,
            Accepted,
            lambda state: (self._mask(state, vector, context, out), b""),
        )

    def commit(self, survivors: bytes) -> bytes:
        """Answer Survivors with a vote for the sum over these; for one set in a round, and no other after."""
        return self._once(_Step.COMMIT, survivors, HasMasked, lambda state: self._commit(state, survivors))

    def check(self, certificate: bytes) -> tuple[str, ...]:
        """The sites whose sum a Certificate opens, if this site would answer it. Sends nothing.

        So a site can record what is about to be opened before the answer exists.
        """
        self._once(_Step.CHECK, certificate, HasMasked, lambda state: self._check(state, certificate))
        survivors = Certificate.from_bytes(certificate).survivors
        return tuple(self._parameters.members[slot] for slot in sorted(survivors))

    def reveal(self, certificate: bytes) -> bytes:
        """Answer a Certificate with one share per neighbor: of its seed if it survived, else of its mask secret."""
        return self._once(
            _Step.REVEAL, certificate, HasMasked, lambda state: self._reveal(state, certificate)
        )

    def abort(self) -> None:
        """Leave the round: drop every secret and refuse all that follows."""
        self._state = Finished()
        self._answered.clear()

    def _once(
        self,
        step: _Step,
        request: bytes,
        expected: type[_Expected],
        answer: Callable[[_Expected], tuple[State, bytes]],
    ) -> bytes:
        asked = digest(label("request"), request)
        if step in self._answered:
            seen, reply = self._answered[step]
            if seen == asked:
                return reply
        try:
            if step in self._answered or not isinstance(self._state, expected):
                raise FaultyServer("a request out of order, or a second one of its kind with other content")
            self._state, reply = answer(self._state)
        except BaseException:
            # Whatever went wrong, a half-done phase must not be entered again with the same secrets.
            self.abort()
            raise
        self._answered[step] = asked, reply
        return reply

    def _advertise(self, state: Fresh) -> tuple[Advertised, bytes]:
        root = self._entropy(SECRET_BYTES)
        secrets = Secrets.of(root, self._session)
        shared = named(secrets, state.excess)
        advert = make_advert(self._identity, self._session, self._slot, secrets.channel, shared)
        return Advertised(root, state.excess, advert), advert.to_bytes()

    def _share(self, state: Advertised, data: bytes) -> tuple[Shared, bytes]:
        adverts = Adverts.from_bytes(data, len(self._parameters.levels))
        self._check_adverts(state, adverts)
        link = bind_adverts(self._session, adverts)
        advertisers = frozenset(adverts.by_slot)
        peers = sorted(self._peers & advertisers)
        secrets = Secrets.of(state.root, self._session)
        shares = self._split(state, secrets, link, [*peers, self._slot])
        end = End(self._slot, link, self._identity, channel_pair(secrets.channel, self._session))
        given, agreed, sealed = {}, {}, {}
        for peer in peers:
            advert = adverts.by_slot[peer]
            portion = end.portion(secrets.mask, peer, shares[peer])
            agreed[peer], given[peer] = end.keys.agree(advert.channel_key), portion.mask_half
            sealed[peer] = end.seal(agreed[peer], peer, advert, portion)
        kem = kem_pair(secrets.channel, self._session)
        after = Shared(link, secrets.seed, given, advertisers, agreed, kem, shares[self._slot])
        return after, SealedShares(sealed).to_bytes()

    def _split(
        self, state: Advertised, secrets: Secrets, link: bytes, holders: list[int]
    ) -> dict[int, tuple[int, ...]]:
        shared = named(secrets, state.excess)
        return split_all(state.root, link, shared, self._parameters.threshold, holders)

    def _check_adverts(self, state: Advertised, adverts: Adverts) -> None:
        """Everything here an honest server checks first, so a failure is the server's."""
        shown = adverts.by_slot
        if shown.get(self._slot) != state.advert:
            raise FaultyServer("this site's own advert is missing, or altered")
        if max(shown) >= self._parameters.count:
            raise FaultyServer("an advert of no member")
        if has_repeated_keys(shown.values()):
            raise FaultyServer("two adverts with the same key")
        self._check_enough("a set of adverts", len(shown))
        for peer in sorted(self._peers & shown.keys()):
            if not is_genuine(shown[peer], self._keys[peer], self._session, peer):
                raise FaultyServer(
                    f"an advert that {self._parameters.members[peer]} did not sign for this round"
                )

    def _check_enough(self, what: str, count: int) -> None:
        required = self._parameters.required
        if count < required:
            raise FaultyServer(f"{what} of {count} sites, {required} are required")

    def _accept(self, state: Shared, data: bytes) -> tuple[Accepted, bytes]:
        delivery = Delivery.from_bytes(data, len(self._parameters.levels))
        self._check_delivery(state, delivery)
        portions = {peer: self._open(state, peer, delivery) for peer in delivery.by_slot}
        held = {peer: portion.shares for peer, portion in portions.items()}
        held[self._slot] = state.own_shares
        pairs = {
            peer: Pair(state.given[peer], portion.mask_half, portion.wrap_half)
            for peer, portion in portions.items()
        }
        taken = {peer: taken_digest(sealed.dealt) for peer, sealed in delivery.by_slot.items()}
        accepted = accepted_digest(state.adverts, taken)
        return Accepted(state.adverts, state.seed, pairs, delivery.sharers, accepted, held), b""

    def _check_delivery(self, state: Shared, delivery: Delivery) -> None:
        sharers = delivery.sharers
        if not sharers <= state.advertisers:
            raise FaultyServer("a sharer that never advertised")
        if self._slot not in sharers:
            raise FaultyServer("this site is said not to have shared")
        if delivery.by_slot.keys() != self._peers & sharers:
            raise FaultyServer("the delivered shares are not one from each neighbor that shared")
        self._check_enough("a set of sharers", len(sharers))

    def _open(self, state: Shared, peer: int, delivery: Delivery) -> Portion:
        agreed, key, ends = state.agreed[peer], self._keys[peer], (peer, self._slot)
        portion = take(delivery.by_slot[peer], state.kem, agreed, key, state.adverts, ends)
        if portion is None:
            raise SuspectedClient(
                self._parameters.members[peer],
                "what it sealed does not open, or is not what it signed",
                hint="it was altered, or made for other adverts, another round or another recipient",
            )
        return portion

    def _mask(self, state: Accepted, vector: Vector, context: bytes, out: Sink) -> HasMasked:
        length, bits = self._shape
        if vector.shape != (length,):
            raise ValueError(f"the vector has shape {vector.shape}, not ({length},)")
        transcript = bind_masks(state.adverts, context, state.sharers)
        wraps = {peer: self._wrap(pair, transcript, peer) for peer, pair in state.pairs.items()}
        head = _head_bytes(state)
        lanes = masked(vector, bits, self._masks(state, transcript))
        write(lanes, length, bits, lambda at, block: out.write(head + at, block))
        upload = upload_digest(out.part(head, packed_size(length, bits)), wraps, state.accepted)
        vote = cast(self._identity, transcript, state.sharers, upload)
        out.write(0, Masked(vote.signature, wraps, b"").head())
        return HasMasked(transcript, vote.upload, state.sharers, frozenset(), state.accepted, state.held)

    @property
    def _shape(self) -> tuple[int, int]:
        return self._parameters.length, self._parameters.ring_bits

    def _masks(self, state: Accepted, transcript: bytes) -> list[Mask]:
        masks = [self_mask(state.seed, transcript, self._slot)]
        for peer, pair in state.pairs.items():
            masks.append(pair_mask(pair.given, pair.taken, transcript, self._slot, peer))
        return masks

    def _wrap(self, pair: Pair, transcript: bytes, peer: int) -> bytes:
        """This site's mask half, for whoever holds the mask secret of the peer, should the peer be lost."""
        return Channel.of_wrap(pair.wrap, transcript, self._slot, peer).seal(pair.given)

    def _commit(self, state: HasMasked, data: bytes) -> tuple[HasMasked, bytes]:
        survivors = Survivors.from_bytes(data).slots
        self._check_survivors(state, survivors)
        if survivors == state.sharers:
            raise FaultyServer("a second vote is asked for though nobody is missing")
        vote = cast(self._identity, state.transcript, survivors, state.upload)
        return replace(state, committed=survivors), vote.to_bytes()

    def _check(self, state: HasMasked, data: bytes) -> tuple[HasMasked, bytes]:
        self._certified(state, data)
        return state, b""

    def _reveal(self, state: HasMasked, data: bytes) -> tuple[Finished, bytes]:
        survivors, held = self._certified(state, data), state.held
        level = self._parameters.opened_level(len(survivors))
        present = {slot: shares for slot, shares in held.items() if slot in survivors}
        reveal = Reveal(
            {slot: shares[1] for slot, shares in present.items()},
            {slot: shares[0] for slot, shares in held.items() if slot not in survivors},
            {slot: shares[1 + level] for slot, shares in present.items()} if level is not None else {},
            signature=b"",
        )
        signed = sign_reveal(self._identity, state.transcript, survivors, state.accepted, reveal)
        return Finished(), signed.to_bytes()

    def _certified(self, state: HasMasked, data: bytes) -> frozenset[int]:
        """The survivors of a certificate that this site answers."""
        certificate = Certificate.from_bytes(data)
        survivors = certificate.survivors
        self._check_survivors(state, survivors)
        if state.committed and survivors != state.committed:
            raise FaultyServer("a certificate for another set than this site voted for")
        check_certificate(certificate, state.transcript, self._keys, self._parameters.quorum)
        needed = self._peers & survivors if self._parameters.is_ring else frozenset[int]()
        check_firsts(certificate, state.transcript, self._keys, state.sharers, needed)
        return survivors

    def _check_survivors(self, state: HasMasked, survivors: frozenset[int]) -> None:
        if not survivors <= state.sharers:
            raise FaultyServer("a survivor that never shared its secrets")
        if self._slot not in survivors:
            raise FaultyServer("this site is asked to open a sum without its own vector")
        self._check_enough("a set of survivors", len(survivors))
        if self._graph.fewest_neighbors(survivors) < self._parameters.fewest_neighbors:
            raise FaultyServer("a set of survivors that leaves one of them with too few neighbors")


def _head_bytes(state: Accepted) -> int:
    """How many bytes are before the vector of a Masked."""
    wraps = dict.fromkeys(state.pairs, bytes(WRAP_BYTES))
    return len(Masked(bytes(SIGNATURE_BYTES), wraps, b"").head())
