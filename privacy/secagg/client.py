"""A client's phases: advertise, share, mask, reveal.

Each phase is one-shot: it consumes the secrets of the phase before and leaves only those of the next. The
same request again is answered with the stored bytes; any other request, and any violation of the protocol,
ends the round for this site and drops its secrets. What a site refuses, and why, is in docs/protocol.md,
section 6.

Python cannot promise to wipe memory. Dropping the last reference is what can be done, as early as possible:
key secrets go once they are shared, pairwise secrets once the vector is masked, shares once revealed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from privacy.errors import FaultyServer, MalformedMessage, ProtocolError, SuspectedClient
from privacy.secagg.keys import SECRET_BYTES, Channel, KeyPair, channel_pair, mask_pair
from privacy.secagg.masks import Mask, apply, commit, pair_mask, self_mask
from privacy.secagg.messages import (
    Advert,
    Adverts,
    Masked,
    Reveal,
    SealedShares,
    SharePair,
    Survivors,
    has_repeated_keys,
)
from privacy.secagg.parameters import Parameters
from privacy.secagg.ring import RingVector, pack, reduce, to_lanes
from privacy.secagg.shamir import split
from privacy.secagg.transcript import bind_parameters, bind_roster, bind_sharers

Entropy = Callable[[int], bytes]


@dataclass(frozen=True, repr=False)
class _Fresh:
    """Nothing was sent yet."""


@dataclass(frozen=True, repr=False)
class _Advertised:
    """Waits for everyone's adverts."""

    secret: bytes
    seed: bytes
    mask_keys: KeyPair
    channel_keys: KeyPair
    advert: Advert


@dataclass(frozen=True, repr=False)
class _Shared:
    """Waits for the peers' shares. `pairs` and `inbound` hold, by slot, X25519 secrets and channels."""

    roster: bytes
    adverts: Mapping[int, Advert]
    seed: bytes
    own_shares: SharePair
    pairs: Mapping[int, bytes]
    inbound: Mapping[int, Channel]


@dataclass(frozen=True, repr=False)
class _Masked:
    """Waits for the survivors. `held` are this site's shares of every sharer's secrets, its own included."""

    held: Mapping[int, SharePair]


@dataclass(frozen=True, repr=False)
class _Finished:
    """Revealed or aborted: no secret is left."""


_State = _Fresh | _Advertised | _Shared | _Masked | _Finished
_Expected = TypeVar("_Expected", _Fresh, _Advertised, _Shared, _Masked)


class ClientMachine:
    """One site in one round. Bytes in, bytes out; randomness is the caller's `entropy`.

    `context` is the caller's 32-byte digest of all that the round must agree on. A machine serves one attempt
    at one round: a second attempt needs a new machine and a new context.
    """

    def __init__(self, site: str, parameters: Parameters, context: bytes, entropy: Entropy) -> None:
        if site not in parameters.slots:
            raise ProtocolError("this site is not a member of the cohort it was asked to join")
        self._parameters = parameters
        self._slot = parameters.slots[site]
        self._context = bind_parameters(context, parameters)
        self._entropy = entropy
        self._state: _State = _Fresh()
        self._answered: dict[type[_State], tuple[bytes, bytes]] = {}

    def __repr__(self) -> str:
        return f"ClientMachine(slot={self._slot}, {type(self._state).__name__.strip('_').lower()})"

    def advertise(self) -> bytes:
        """This site's one-time public keys, as an Advert."""
        return self._once(_Fresh, b"", lambda _, __: self._advertise())

    def share(self, adverts: bytes) -> bytes:
        """Answer Adverts with this site's sealed shares, one for each peer."""
        return self._once(_Advertised, adverts, self._share)

    def mask(self, shares: bytes, vector: RingVector) -> bytes:
        """Answer the peers' sealed shares with this site's masked vector.

        `vector` has `parameters.length` elements in [0, 2^ring_bits), dtype uint64, and is not changed. When
        the request is repeated it is not looked at: two vectors under one mask would reveal their difference.
        """
        return self._once(_Shared, shares, lambda state, data: self._mask(state, data, vector))

    def reveal(self, survivors: bytes) -> bytes:
        """Answer Survivors with one share per sharer: of its seed if it survived, else of its key secret."""
        return self._once(_Masked, survivors, self._reveal)

    def abort(self) -> None:
        """Leave the round: drop every secret and refuse all that follows."""
        self._state = _Finished()
        self._answered.clear()

    def _once(
        self,
        expected: type[_Expected],
        request: bytes,
        answer: Callable[[_Expected, bytes], tuple[_State, bytes]],
    ) -> bytes:
        if expected in self._answered:
            seen, reply = self._answered[expected]
            if seen == request:
                return reply
        try:
            if not isinstance(self._state, expected):
                raise FaultyServer("a request out of order, or a second one of its kind with other content")
            self._state, reply = answer(self._state, request)
        except BaseException:
            # Whatever went wrong, a half-done phase must not be entered again with the same secrets.
            self.abort()
            raise
        self._answered[expected] = request, reply
        return reply

    def _advertise(self) -> tuple[_Advertised, bytes]:
        secret, seed = self._entropy(SECRET_BYTES), self._entropy(SECRET_BYTES)
        mask_keys, channel_keys = mask_pair(secret, self._context), channel_pair(secret, self._context)
        commitment = commit(seed, self._context, self._slot)
        advert = Advert(mask_keys.public, channel_keys.public, commitment)
        return _Advertised(secret, seed, mask_keys, channel_keys, advert), advert.to_bytes()

    def _share(self, state: _Advertised, data: bytes) -> tuple[_Shared, bytes]:
        adverts = Adverts.from_bytes(data)
        self._check_adverts(state, adverts)
        roster = bind_roster(self._context, adverts)
        slots, threshold = adverts.by_slot, self._parameters.threshold
        key_shares = split(state.secret, threshold, slots, self._entropy)
        seed_shares = split(state.seed, threshold, slots, self._entropy)
        shares = {slot: SharePair(key_shares[slot], seed_shares[slot]) for slot in slots}
        pairs, inbound, sealed = {}, {}, {}
        for peer, advert in adverts.by_slot.items():
            if peer != self._slot:
                pairs[peer] = state.mask_keys.agree(advert.mask_key)
                channel = state.channel_keys.agree(advert.channel_key)
                inbound[peer] = Channel.between(channel, roster, peer, self._slot)
                outbound = Channel.between(channel, roster, self._slot, peer)
                sealed[peer] = outbound.seal(shares[peer].to_bytes())
        after = _Shared(roster, adverts.by_slot, state.seed, shares[self._slot], pairs, inbound)
        return after, SealedShares(sealed).to_bytes()

    def _check_adverts(self, state: _Advertised, adverts: Adverts) -> None:
        """Everything here an honest server checks first, so a failure is the server's."""
        if adverts.by_slot.get(self._slot) != state.advert:
            raise FaultyServer("this site's own advert is missing from the roster, or altered")
        if max(adverts.by_slot) >= self._parameters.count:
            raise FaultyServer("the roster holds an advert of no member")
        if has_repeated_keys(adverts.by_slot.values()):
            raise FaultyServer("the roster holds the same key twice")
        self._check_enough("roster", len(adverts.by_slot))

    def _check_enough(self, what: str, count: int) -> None:
        required = self._parameters.required
        if count < required:
            raise FaultyServer(f"a {what} of {count} sites, {required} are required")

    def _mask(self, state: _Shared, data: bytes, vector: RingVector) -> tuple[_Masked, bytes]:
        if vector.shape != (self._parameters.length,):
            raise ValueError(f"the vector has shape {vector.shape}, not ({self._parameters.length},)")
        delivered = SealedShares.from_bytes(data).by_slot
        if not delivered.keys() <= state.inbound.keys():
            raise FaultyServer("a share from a site outside the roster, or from this site itself")
        self._check_enough("set of sharers", len(delivered) + 1)
        held = {self._slot: state.own_shares}
        for peer, sealed in delivered.items():
            held[peer] = self._open(state.inbound[peer], sealed, peer)
        masks = self._masks(state, held)
        bits = self._parameters.ring_bits
        lanes = to_lanes(vector, bits)
        apply(lanes, masks)
        reduce(lanes, bits)
        return _Masked(held), Masked(pack(lanes, bits)).to_bytes()

    def _open(self, channel: Channel, sealed: bytes, peer: int) -> SharePair:
        plaintext = channel.open(sealed)
        try:
            if plaintext is not None:
                return SharePair.from_bytes(plaintext)
        except MalformedMessage:
            pass
        raise SuspectedClient(
            self._parameters.members[peer],
            "its share does not open",
            hint="it was altered, or made for another roster, round or recipient",
        )

    def _masks(self, state: _Shared, sharers: Mapping[int, SharePair]) -> list[Mask]:
        transcript = bind_sharers(state.roster, sharers)
        own = self._slot, state.adverts[self._slot].mask_key
        masks = [self_mask(state.seed, transcript, self._slot)]
        for peer in sharers:
            if peer != self._slot:
                end = peer, state.adverts[peer].mask_key
                masks.append(pair_mask(state.pairs[peer], transcript, own, end))
        return masks

    def _reveal(self, state: _Masked, data: bytes) -> tuple[_Finished, bytes]:
        survivors = Survivors.from_bytes(data).slots
        if not survivors <= state.held.keys():
            raise FaultyServer("a survivor that never shared its secrets")
        if self._slot not in survivors:
            raise FaultyServer("this site is asked to unmask a sum without its own vector")
        self._check_enough("set of survivors", len(survivors))
        seed_shares = {slot: state.held[slot].seed_share for slot in survivors}
        key_shares = {slot: pair.key_share for slot, pair in state.held.items() if slot not in survivors}
        return _Finished(), Reveal(seed_shares, key_shares).to_bytes()
