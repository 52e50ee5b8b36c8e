"""All that follows from what an attacker knows: every derivation there is, tried on every secret there is.

`RULES` is the table. A rule takes one value of 32 bytes, does with it what the protocol does with some secret,
and keeps what the messages confirm: a key or commitment that was advertised, a digest that was dealt, a seal or a
wrap that opens. A rule names the labels of the derivations that it knows, so that a test can tell when the
protocol has one that none knows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from privacy.secagg.keys import (
    secret_names,
)
from privacy.secagg.masks import Mask, apply
from privacy.secagg.messages import Portion
from privacy.secagg.ring import Lanes, reduce
from privacy.secagg.shamir import rebuild
from tests.adversary.derivations import LABELS, RULES, Fact, Rule, Way, kind_of_secret
from tests.adversary.tapped import View

__all__ = ["LABELS", "RULES", "Closure", "Fact", "Rule", "attack"]


@dataclass
class Closure:
    """What is known of one attempt. `thorough`: try seals that are far from a value's owner as well."""

    view: View
    rules: tuple[Rule, ...] = ()
    thorough: bool = True
    facts: dict[Fact, bytes] = field(default_factory=dict)
    shares: dict[tuple[str, int], dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    opened: dict[Way, Portion] = field(default_factory=dict)
    _values: set[bytes] = field(default_factory=set)
    _todo: list[bytes] = field(default_factory=list)
    _ends: dict[bytes, set[int]] = field(default_factory=lambda: defaultdict(set))

    def __post_init__(self) -> None:
        self.rules = self.rules or RULES
        self.link, self.bound, self.transcript = self.view.link, self.view.bound, self.view.transcript
        adverts = self.view.adverts
        self.names = secret_names(self.view.levels)
        self.channel_keys = {advert.channel_key: slot for slot, advert in adverts.items()}
        self.kem_keys = {advert.kem_key: slot for slot, advert in adverts.items()}
        parts = {way: sealed.dealt for way, sealed in self.view.seals.items()}
        self.halves = {(use, *way): dealt.of(use) for way, dealt in parts.items() for use in ("x", "y")}
        self.commitments = {
            (what, slot): advert.commitments[at]
            for slot, advert in adverts.items()
            for at, what in enumerate(self.names)
        }

    def __contains__(self, value: bytes) -> bool:
        """Whether a value is known; of a longer one, whether all parts of 32 bytes are."""
        return all(value[at : at + 32] in self._values for at in range(0, len(value), 32))

    def relay(self) -> Closure:
        """Add the shares that were revealed."""
        for holder, reveal in self.view.reveals.items():
            for owner, share in reveal.seed_shares.items():
                self.hold("self seed", owner, holder, share)
            for owner, share in reveal.key_shares.items():
                self.hold("mask secret", owner, holder, share)
            level = self.view.parameters.opened_level(len(reveal.seed_shares))
            for owner, share in reveal.excess_shares.items():
                self.hold(f"e{level}", owner, holder, share)
        return self

    def hold(self, kind: str, owner: int, holder: int, share: int) -> None:
        """Add a share."""
        known = self.shares[kind, owner]
        known[holder] = share
        threshold = self.view.parameters.threshold
        if len(known) >= threshold and (kind, owner) not in self.facts:
            secret = rebuild(dict(sorted(known.items())), threshold)
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
                for fact, made in list(rule.step(self, value)):
                    self.learn(fact, made)
        return self

    def again(self) -> Closure:
        """Try all rules once more on what is known, for those that wait for shares or for a second value."""
        self._todo = list(self._values)
        return self.saturate()

    def unseal(self, sender: int, recipient: int, portion: Portion) -> None:
        """Add what a seal held."""
        self.opened[sender, recipient] = portion
        for what, share in zip(self.names, portion.shares, strict=True):
            self.hold(kind_of_secret(what), sender, recipient, share)
        self.learn(("x", sender, recipient), portion.mask_half)
        self.learn(("y", sender, recipient), portion.wrap_half)

    def directions(self, value: bytes) -> Iterator[Way]:
        """The seals to try a value on."""
        ends = self._ends[value]
        if self.thorough or not ends:
            return iter(self.view.seals)
        pairs = ((end, peer) for end in sorted(ends) for peer in self.view.peers(end))
        return (way for one, other in pairs for way in ((one, other), (other, one)) if way in self.view.seals)

    def near(self, value: bytes) -> Iterable[int]:
        """Whose secret a value may be."""
        ends = self._ends[value]
        return self.view.adverts if self.thorough or not ends else sorted(ends)

    # --- what it comes to -------------------------------------------------------------------------------

    def knows(self, kind: str) -> set[int]:
        """Whose secret of this kind is known."""
        return {int(fact[1]) for fact in self.facts if fact[0] == kind}

    def ways(self, kind: str) -> set[Way]:
        """Between whom a value of this kind is known."""
        return {(int(fact[1]), int(fact[2])) for fact in self.facts if fact[0] == kind}

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


def attack(view: View, roots: Iterable[bytes] = (), *, thorough: bool = True) -> Closure:
    """Everything that the server can work out, with the roots of its colluders."""
    return Closure(view, thorough=thorough).relay().saturate(*roots)
