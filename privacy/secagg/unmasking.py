"""Opening a sum: what was revealed, checked against what was signed, and the masks that follow from it.

Whoever knows the messages of a round can do this, the server while it runs and an auditor later: `Bound` is what a
round's transcript fixes, `check_reveal` tells right shares from wrong ones, `Opening` rebuilds secrets from shares,
and `masks` turns opened secrets into what has to be taken out of the sum of the uploads.

Nothing is searched for, and nobody is only suspected. A share counts if its digest is in what its dealer signed and
its holder accepted; else the holder is at fault. Shares that count and give no secret that fits its commitment put
their dealer at fault. So a sum is exact or stays hidden, and whoever spoils it has signed the proof. See
docs/protocol.md, section 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from privacy.errors import FaultyClient, FaultyServer, MalformedMessage
from privacy.roster import Roster
from privacy.secagg.graph import Graph
from privacy.secagg.keys import Channel, mask_half, secret_names, wrap_half
from privacy.secagg.masks import Mask, pair_mask, self_mask
from privacy.secagg.messages import Advert, Adverts, Dealt, Reveal, share_bytes
from privacy.secagg.parameters import Parameters, member_keys
from privacy.secagg.shamir import rebuild
from privacy.secagg.statements import (
    accepted_digest,
    bind_adverts,
    bind_masks,
    bind_session,
    commit,
    is_dealt,
    is_revealed,
    part_digest,
    taken_digest,
)

DealtBy = Mapping[tuple[int, int], Dealt]  # by dealer and recipient


@dataclass(frozen=True)
class Bound:
    """A round as its transcript fixes it: `session`, `link` and `transcript` are C, A and T; `keys` are by slot."""

    parameters: Parameters
    keys: tuple[bytes, ...]
    graph: Graph
    adverts: Mapping[int, Advert]
    sharers: frozenset[int]
    session: bytes
    link: bytes
    transcript: bytes

    @classmethod
    def of(
        cls,
        roster: Roster,
        parameters: Parameters,
        session: bytes,
        context: bytes,
        adverts: Mapping[int, Advert],
        sharers: frozenset[int],
    ) -> Bound:
        """From the caller's session and context, 32 bytes each, the adverts of U1 and the slots of U2."""
        first = bind_session(session, roster.root, parameters)
        link = bind_adverts(first, Adverts(adverts))
        transcript = bind_masks(link, context, sharers)
        keys, graph = member_keys(parameters, roster), parameters.graph(first)
        return cls(parameters, keys, graph, adverts, sharers, first, link, transcript)

    def peers(self, slot: int) -> frozenset[int]:
        """With whom this site masks."""
        return self.sharers.intersection(self.graph.neighbors(slot))

    def name(self, slot: int) -> str:
        """The site at this slot."""
        return self.parameters.members[slot]

    def accepted(self, taken: Mapping[int, bytes]) -> bytes:
        """What a site signs that took this, by dealer."""
        return accepted_digest(self.link, taken)

    def fits(self, owner: int, what: str, secret: bytes) -> bool:
        """Whether a secret is the one that its owner advertised a commitment to."""
        place = secret_names(len(self.parameters.levels)).index(what)
        return commit(secret, self.session, owner, what) == self.adverts[owner].commitments[place]

    def was_dealt(self, dealt: Dealt, ends: tuple[int, int], what: str, part: bytes) -> bool:
        """Whether this is the part that the dealer signed for this recipient; `ends` are their slots."""
        return dealt.of(what) == part_digest(self.link, *ends, what, part)


def check_reveal(
    bound: Bound,
    survivors: frozenset[int],
    holder: int,
    reveal: Reveal,
    dealt: DealtBy,
    taken: Mapping[int, bytes],
) -> None:
    """MalformedMessage unless the holder signed just this for these survivors; FaultyClient for a wrong share.

    `taken` is what the holder signed that it took, by dealer. Whoever has all this can check the fault for himself,
    and need not believe the server: FaultyServer if `dealt` is not what the dealer signed and the holder took. The
    share of its own secret has no digest: here dealer and holder are one, and `Opening` checks it.
    """
    shown = _asked_for(bound, survivors, holder, reveal)
    if not is_revealed(reveal, bound.keys[holder], bound.transcript, survivors, bound.accepted(taken)):
        raise MalformedMessage("its reveal is not signed for these survivors")
    for what, shares in shown.items():
        for owner in sorted(shares.keys() - {holder}):
            ends, share = (owner, holder), share_bytes(shares[owner])
            if not bound.was_dealt(dealt[ends], ends, what, share):
                check_taken(bound, ends, dealt[ends], taken)
                message = f"it revealed a share that {bound.name(owner)} did not deal to it"
                raise FaultyClient(bound.name(holder), message)


def _asked_for(
    bound: Bound, survivors: frozenset[int], holder: int, reveal: Reveal
) -> dict[str, Mapping[int, int]]:
    """The shares of a reveal, by the name of the secret that they are of; MalformedMessage for others."""
    held = bound.peers(holder) | {holder}
    level = bound.parameters.opened_level(len(survivors))
    shown = {"m": reveal.seed_shares, "s": reveal.key_shares}
    asked = [(reveal.seed_shares, held & survivors), (reveal.key_shares, held - survivors)]
    asked += [(reveal.excess_shares, held & survivors if level is not None else frozenset())]
    if any(shares.keys() != slots for shares, slots in asked):
        raise MalformedMessage("it revealed other shares than those asked for")
    return shown if level is None else shown | {f"e{level}": reveal.excess_shares}


def check_taken(bound: Bound, ends: tuple[int, int], dealt: Dealt, taken: Mapping[int, bytes] | None) -> None:
    """FaultyServer unless a dealer signed this for a recipient, and the recipient took it, if that is known."""
    dealer, recipient = ends
    is_whole = dealt.levels == len(bound.parameters.levels)
    if not is_whole or not is_dealt(dealt, bound.keys[dealer], bound.link, dealer, recipient):
        raise FaultyServer(f"what {bound.name(dealer)} is said to have dealt is not signed by it")
    if taken is not None and taken.get(dealer) != taken_digest(dealt):
        raise FaultyServer(f"a signature of {bound.name(dealer)} that {bound.name(recipient)} did not take")


class NotRebuilt(Exception):
    """A secret stays hidden, as only `got` shares of it came."""

    def __init__(self, got: int) -> None:
        super().__init__(f"a secret stays hidden with {got} shares")
        self.got = got


@dataclass(frozen=True)
class Opening:
    """Rebuilds secrets from reveals that `check_reveal` has passed. `faults` fills with what it finds proven."""

    bound: Bound
    survivors: frozenset[int]
    reveals: Mapping[int, Reveal] = field(repr=False)
    faults: list[FaultyClient] = field(default_factory=list)

    def seeds(self) -> dict[int, bytes]:
        """The self seeds of those in the sum. NotRebuilt or FaultyClient if one of them stays hidden."""
        given = {holder: reveal.seed_shares for holder, reveal in self.reveals.items()}
        return {owner: self._rebuild(owner, "m", given) for owner in sorted(self.survivors)}

    def keys(self) -> dict[int, bytes]:
        """The mask secrets of those who were lost. NotRebuilt or FaultyClient if one of them stays hidden."""
        given = {holder: reveal.key_shares for holder, reveal in self.reveals.items()}
        lost = self.bound.sharers - self.survivors
        return {owner: self._rebuild(owner, "s", given) for owner in sorted(lost)}

    def excess(self) -> dict[int, tuple[int, bytes]]:
        """Level and seed of the excess noise that the sum does not need. What stays hidden stays in: no error."""
        level = self.bound.parameters.opened_level(len(self.survivors))
        if level is None:
            return {}
        given = {holder: reveal.excess_shares for holder, reveal in self.reveals.items()}
        opened = {}
        for owner in sorted(self.survivors):
            try:
                opened[owner] = level, self._rebuild(owner, f"e{level}", given)
            except FaultyClient as fault:
                self.faults.append(fault)
            except NotRebuilt:
                continue
        return opened

    def _rebuild(self, owner: int, what: str, given: Mapping[int, Mapping[int, int]]) -> bytes:
        shares = {holder: by_owner[owner] for holder, by_owner in given.items() if owner in by_owner}
        if len(shares) < self.bound.parameters.threshold:
            raise NotRebuilt(len(shares))
        secret = self._fitting(owner, what, shares)
        if secret is not None:
            return secret
        fault = FaultyClient(
            self.bound.name(owner), f"what it dealt of {what} is no secret that it advertised"
        )
        dealt = {holder: share for holder, share in shares.items() if holder != owner}
        secret = self._fitting(owner, what, dealt)
        if secret is None:
            raise fault
        self.faults.append(fault)  # only the share that it kept for itself is wrong, and it is not needed
        return secret

    def _fitting(self, owner: int, what: str, shares: Mapping[int, int]) -> bytes | None:
        secret = rebuild(shares, self.bound.parameters.threshold)
        return secret if secret is not None and self.bound.fits(owner, what, secret) else None


def masks(
    bound: Bound,
    seeds: Mapping[int, bytes],
    secrets: Mapping[int, bytes],
    dealt: DealtBy,
    taken: Mapping[int, Mapping[int, bytes]],
    wraps: Mapping[int, Mapping[int, bytes]],
) -> list[Mask]:
    """What turns the sum of the uploads of U3 into the sum of their vectors.

    `seeds` are m of U3 and `secrets` are s of U2 without U3, each of which `fits`; `dealt` are the signatures
    between the two, and `wraps` those that came with the uploads, by sender. FaultyClient names whose halves or
    wraps are not what they signed.
    """
    removed = [self_mask(seed, bound.transcript, slot).inverse() for slot, seed in seeds.items()]
    for lost, secret in secrets.items():
        for peer in sorted(bound.peers(lost) & seeds.keys()):
            between = dealt[lost, peer], dealt[peer, lost]
            check_taken(bound, (lost, peer), between[0], taken[peer])
            removed.append(_missing(bound, lost, peer, secret, between, wraps[peer][lost]))
    return removed


def _missing(
    bound: Bound, lost: int, peer: int, secret: bytes, between: tuple[Dealt, Dealt], wrap: bytes
) -> Mask:
    """The mask that a lost site would have added for a peer: it cancels the one that the peer applied.

    `between` is what the lost site dealt to the peer, and the peer to it.
    """
    given, key = (half(secret, bound.link, lost, peer) for half in (mask_half, wrap_half))
    for what, part in (("x", given), ("y", key)):
        if not bound.was_dealt(between[0], (lost, peer), what, part):
            message = f"the half that it dealt to {bound.name(peer)} does not follow from its mask secret"
            raise FaultyClient(bound.name(lost), message)
    taken = Channel.of_wrap(key, bound.transcript, peer, lost).open(wrap)
    if taken is None or not bound.was_dealt(between[1], (peer, lost), "x", taken):
        message = f"its wrap for {bound.name(lost)} does not hold the half that it dealt"
        raise FaultyClient(bound.name(peer), message)
    return pair_mask(given, taken, bound.transcript, lost, peer)
