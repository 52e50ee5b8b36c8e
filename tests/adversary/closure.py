"""All that follows from what an attacker knows: every derivation there is, tried on every secret there is.

`RULES` is the table. A rule takes one value of 32 bytes, does with it what the protocol does with some secret, and
keeps what the messages confirm: a key that was advertised, a commitment that fits, a seal that opens. A rule names
the labels of the derivations that it knows, so that a test can tell when the protocol has one that none knows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from privacy.secagg.keys import Channel, KeyPair, channel_pair, derive, mask_pair
from privacy.secagg.masks import Mask, apply, commit, pair_mask, self_mask
from privacy.secagg.messages import Advert, SharePair
from privacy.secagg.ring import Lanes, reduce
from privacy.secagg.shamir import rebuild
from privacy.wire import Writer
from tests.adversary.tapped import View

# What a value is: its kind, then the slots that it is about.
Fact = tuple[str | int, ...]


@dataclass(frozen=True)
class Rule:
    """One kind of step, and the labels of `derive` in it."""

    labels: frozenset[str]
    step: Callable[[Closure, bytes], Iterable[tuple[Fact, bytes]]]


@dataclass
class Closure:
    """What is known of one attempt. `thorough`: try seals that are far from a value's owner as well."""

    view: View
    rules: tuple[Rule, ...] = ()
    thorough: bool = True
    facts: dict[Fact, bytes] = field(default_factory=dict)
    shares: dict[tuple[str, int], dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    opened: dict[tuple[int, int], SharePair] = field(default_factory=dict)
    _values: set[bytes] = field(default_factory=set)
    _todo: list[bytes] = field(default_factory=list)
    _ends: dict[bytes, set[int]] = field(default_factory=lambda: defaultdict(set))

    def __post_init__(self) -> None:
        self.rules = self.rules or RULES
        self.link, self.bound, self.transcript = self.view.link, self.view.bound, self.view.transcript
        adverts = self.view.adverts
        self.mask_keys = {advert.mask_key: slot for slot, advert in adverts.items()}
        self.channel_keys = {advert.channel_key: slot for slot, advert in adverts.items()}

    def __contains__(self, value: bytes) -> bool:
        return value in self._values

    def relay(self) -> Closure:
        """Add the shares that were revealed."""
        for holder, reveal in self.view.reveals.items():
            for owner, share in reveal.seed_shares.items():
                self.hold("self seed", owner, holder, share)
            for owner, share in reveal.key_shares.items():
                self.hold("mask secret", owner, holder, share)
        return self

    def hold(self, kind: str, owner: int, holder: int, share: int) -> None:
        """Add a share."""
        known = self.shares[kind, owner]
        known[holder] = share
        if len(known) >= self.view.parameters.threshold and (kind, owner) not in self.facts:
            secret = rebuild(dict(sorted(known.items())))
            assert secret is not None
            self.learn((kind, owner), secret)

    def learn(self, fact: Fact, value: bytes) -> None:
        """Add a value, and what it is."""
        self.facts[fact] = value
        self._ends[value] |= {at for at in fact if isinstance(at, int) and fact[0] != "given"}
        if value not in self._values:
            self._values.add(value)
            self._todo.append(value)

    def saturate(self, *guesses: bytes) -> Closure:
        """Try everything on everything until nothing new comes. Guesses are values of unknown use."""
        for guess in guesses:
            self.learn(("given", len(self.facts)), guess)
        while self._todo:
            value = self._todo.pop()
            for rule in self.rules:
                for fact, made in rule.step(self, value):
                    self.learn(fact, made)
        return self

    def again(self) -> Closure:
        """Try all rules once more on what is known, for those that wait for shares."""
        self._todo = list(self._values)
        return self.saturate()

    def unseal(self, sender: int, recipient: int, plain: bytes) -> None:
        """Add what a seal held."""
        pair = self.opened[sender, recipient] = SharePair.from_bytes(plain)
        self.hold("mask secret", sender, recipient, pair.key_share)
        self.hold("self seed", sender, recipient, pair.seed_share)

    def directions(self, value: bytes) -> Iterator[tuple[int, int]]:
        """The seals to try a value on."""
        ends = self._ends[value]
        if self.thorough or not ends:
            return iter(self.view.seals)
        pairs = ((end, peer) for end in sorted(ends) for peer in self.view.peers(end))
        return (way for one, other in pairs for way in ((one, other), (other, one)) if way in self.view.seals)

    def near(self, slot: int) -> Iterator[tuple[int, Advert]]:
        """With whose keys to try a key of this site."""
        peers = self.view.peers(slot) | {slot}
        return ((at, advert) for at, advert in self.view.adverts.items() if self.thorough or at in peers)

    # --- what it comes to -------------------------------------------------------------------------------

    def knows(self, kind: str) -> set[int]:
        """Whose secret of this kind is known."""
        return {int(fact[1]) for fact in self.facts if fact[0] == kind}

    def masks(self, slot: int) -> list[Fact]:
        """Of what an upload is hidden by."""
        peers = self.view.peers(slot) & self.view.sharers
        pairs: list[Fact] = [("pair mask", *sorted((slot, peer))) for peer in sorted(peers)]
        return [("self mask", slot), *pairs]

    def is_bare(self, slot: int) -> bool:
        """Whether all masks of this site are known."""
        return all(mask in self.facts for mask in self.masks(slot))

    def residue(self, slot: int) -> Lanes:
        """A site's upload without the masks that are known: its vector, if all of them are."""
        lanes = self.view.uploads[slot].copy()
        known = [mask for mask in self.masks(slot) if mask in self.facts]
        apply(lanes, [Mask(self.facts[mask], self._is_removed_by_adding(slot, mask)) for mask in known])
        reduce(lanes, self.view.parameters.ring_bits)
        return lanes

    def _is_removed_by_adding(self, slot: int, mask: Fact) -> bool:
        return mask[0] == "pair mask" and slot == mask[2]  # the higher slot had subtracted it

    def has_read(self, slot: int, vector: Collection[int]) -> bool:
        """Whether the attacker is left with the vector."""
        return np.array_equal(self.residue(slot).astype(np.uint64), np.asarray(vector, np.uint64))


Steps = Iterator[tuple[Fact, bytes]]


def _as_root(closure: Closure, value: bytes) -> Steps:
    """What this value means as a root, and any one step from it, whichever secret may follow from which."""
    for use in sorted(LABELS if closure.thorough else _FITS):
        made = derive(value, closure.link, use)
        for kind, fits in _FITS.items():
            slot = fits(closure, made)
            if slot is not None:
                yield ("root", slot), value
                yield (kind, slot), made


def _known_mask(closure: Closure, value: bytes) -> int | None:
    return closure.mask_keys.get(mask_pair(value, closure.link).public)


def _known_channel(closure: Closure, value: bytes) -> int | None:
    return closure.channel_keys.get(channel_pair(value, closure.link).public)


def _known_seed(closure: Closure, value: bytes) -> int | None:
    adverts = closure.view.adverts.items()
    fits = (slot for slot, advert in adverts if commit(value, closure.link, slot) == advert.commitment)
    return next(fits, None)


_FITS: dict[str, Callable[[Closure, bytes], int | None]] = {
    "mask secret": _known_mask,
    "self seed": _known_seed,
    "channel secret": _known_channel,
}


def _as_secret(closure: Closure, value: bytes) -> Steps:
    pairs = ("mask secret", "mask key", mask_pair), ("channel secret", "channel key", channel_pair)
    for (secret, key, make), keys in zip(pairs, (closure.mask_keys, closure.channel_keys), strict=True):
        pair = make(value, closure.link)
        if pair.public in keys:
            yield (secret, keys[pair.public]), value
            yield (key, keys[pair.public]), pair.private.private_bytes_raw()


def _as_private_key(closure: Closure, value: bytes) -> Steps:
    private = X25519PrivateKey.from_private_bytes(value)
    pair = KeyPair(private, private.public_key().public_bytes_raw())
    for use, keys in (("mask", closure.mask_keys), ("channel", closure.channel_keys)):
        if pair.public in keys:
            yield from _agreements(closure, pair, use, keys[pair.public])


def _agreements(closure: Closure, pair: KeyPair, use: str, own: int) -> Steps:
    yield (f"{use} key", own), pair.private.private_bytes_raw()
    for peer, advert in closure.near(own):
        for other, key in (("mask", advert.mask_key), ("channel", advert.channel_key)):
            agreed = pair.agree(key)
            yield ("agreed", use, own, other, peer), agreed
            if use == other == "mask" and own != peer:
                mask = pair_mask(agreed, closure.transcript, (own, pair.public), (peer, key))
                yield ("pair mask", *sorted((own, peer))), mask.key


def _as_agreement(closure: Closure, value: bytes) -> Steps:
    for sender, recipient in closure.directions(value):
        channel = Channel.between(value, closure.bound, sender, recipient)
        plain = channel.open(closure.view.seals[sender, recipient])
        if plain is not None:
            closure.unseal(sender, recipient, plain)
            yield ("channel", sender, recipient), channel.key


def _as_channel(closure: Closure, value: bytes) -> Steps:
    for sender, recipient in closure.directions(value):
        channel = Channel(value, Writer().fixed(closure.bound).u16(sender).u16(recipient).finish())
        plain = channel.open(closure.view.seals[sender, recipient])
        if plain is not None:
            closure.unseal(sender, recipient, plain)
            yield ("channel", sender, recipient), value


def _as_seed(closure: Closure, value: bytes) -> Steps:
    slot = _known_seed(closure, value)
    if slot is not None:
        yield ("self seed", slot), value
        yield ("self mask", slot), self_mask(value, closure.transcript, slot).key


RULES = (
    Rule(frozenset({"mask secret", "self seed", "channel secret"}), _as_root),
    Rule(frozenset({"mask key", "channel key"}), _as_secret),
    Rule(frozenset({"pair mask"}), _as_private_key),
    Rule(frozenset({"channel"}), _as_agreement),
    Rule(frozenset(), _as_channel),
    Rule(frozenset({"self mask"}), _as_seed),
)

LABELS = frozenset(label for rule in RULES for label in rule.labels)


def attack(view: View, roots: Iterable[bytes] = (), *, thorough: bool = True) -> Closure:
    """Everything that the server can work out, with the roots of its colluders."""
    return Closure(view, thorough=thorough).relay().saturate(*roots)
