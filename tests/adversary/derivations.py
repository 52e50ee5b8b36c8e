"""Every derivation there is: what the protocol does with some secret, done with any value.

A rule takes one value of 32 bytes and keeps what the messages confirm: a key or commitment that was advertised, a
digest that was dealt, a seal or a wrap that opens. It names the labels of the derivations that it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from privacy.secagg.kem import KemPair
from privacy.secagg.keys import (
    Channel,
    KeyPair,
    Secrets,
    channel_pair,
    derive,
    kem_pair,
    mask_half,
    wrap_half,
)
from privacy.secagg.masks import keystream, pair_mask, self_mask
from privacy.secagg.messages import Portion
from privacy.secagg.shamir import PRIME, split
from privacy.secagg.statements import commit, is_portion, part_digest
from privacy.wire import Writer

if TYPE_CHECKING:
    from tests.adversary.closure import Closure

# What a value is: its kind, then the slots that it is about.
Fact = tuple[str | int, ...]
Way = tuple[int, int]

KINDS = {"s": "mask secret", "m": "self seed"}  # of shared secrets; excess noise goes by its name on the wire


def kind_of_secret(what: str) -> str:
    """What a shared secret is called here."""
    return KINDS.get(what, what)


@dataclass(frozen=True)
class Rule:
    """One kind of step, and the labels of `derive` in it."""

    labels: frozenset[str]
    step: Callable[[Closure, bytes], Iterable[tuple[Fact, bytes]]]


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


def _known(what: str) -> Callable[[Closure, bytes], int | None]:
    """Whose shared secret of this name a value is, by the commitments."""

    def find(closure: Closure, value: bytes) -> int | None:
        of = (
            slot
            for slot in closure.near(value)
            if commit(value, closure.link, slot, what) == closure.commitments[what, slot]
        )
        return next(of, None)

    return find


def _known_channel(closure: Closure, value: bytes) -> int | None:
    return closure.channel_keys.get(channel_pair(value, closure.link).public)


_FITS: dict[str, Callable[[Closure, bytes], int | None]] = {
    "mask secret": _known("s"),
    "self seed": _known("m"),
    "channel secret": _known_channel,
}


def _as_dealer(closure: Closure, value: bytes) -> Steps:
    """As what polynomials follow from, and as the key of one: with it a single share gives the secret."""
    for what in closure.names:
        made = derive(value, closure.bound, "polynomial", what.encode())
        for key in (made, value):
            for slot, secret in _constant(closure, key, what, closure.near(value)):
                yield ("polynomial", slot, what), key
                yield (kind_of_secret(what), slot), secret


def _constant(closure: Closure, key: bytes, what: str, owners: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    """Whose secret is the constant term, under the coefficients of this key and one share that is known."""
    kind, threshold = kind_of_secret(what), closure.view.parameters.threshold
    for slot in owners:
        shares = closure.shares.get((kind, slot))
        if not shares:
            continue
        at = min(shares)
        rest = split(bytes(32), threshold, [at], lambda size: keystream(key, size))
        secret = ((shares[at] - rest[at]) % PRIME).to_bytes(33, "big")[1:]
        if commit(secret, closure.link, slot, what) == closure.commitments[what, slot]:
            yield slot, secret


def _as_own_root(closure: Closure, value: bytes) -> Steps:
    """Whoever has a root and what was shared with it knows what that site has sealed for everybody."""
    secrets = Secrets.of(value, closure.link)
    slot = _known_channel(closure, secrets.channel)
    if slot is None or len(closure.names) > len(KINDS):
        return
    threshold = closure.view.parameters.threshold
    for peer in closure.view.peers(slot):
        shares = []
        for what, secret in zip(closure.names, (secrets.mask, secrets.seed), strict=True):
            key = derive(value, closure.bound, "polynomial", what.encode())
            yield ("polynomial", slot, what), key
            shares.append(
                split(secret, threshold, [peer], lambda size, key=key: keystream(key, size))[peer]  # type: ignore[misc]
            )
        x, y = (half(secrets.mask, closure.bound, slot, peer) for half in (mask_half, wrap_half))
        portion, sealed = Portion(x, y, tuple(shares)), closure.view.seals.get((slot, peer))
        if sealed is not None and is_portion(sealed.dealt, portion, closure.bound, slot, peer):
            closure.unseal(slot, peer, portion)


def _as_mask_secret(closure: Closure, value: bytes) -> Steps:
    slot = _known("s")(closure, value)
    if slot is not None:
        yield ("mask secret", slot), value
        for peer in closure.view.peers(slot):
            yield ("x", slot, peer), mask_half(value, closure.bound, slot, peer)
            yield ("y", slot, peer), wrap_half(value, closure.bound, slot, peer)


def _as_channel_secret(closure: Closure, value: bytes) -> Steps:
    slot = _known_channel(closure, value)
    if slot is not None:
        yield ("channel secret", slot), value
        yield ("channel key", slot), channel_pair(value, closure.link).private.private_bytes_raw()
        seed = kem_pair(value, closure.link).private.private_bytes_raw()
        yield ("kem d", slot), seed[:32]
        yield ("kem z", slot), seed[32:]


def _as_private_key(closure: Closure, value: bytes) -> Steps:
    private = X25519PrivateKey.from_private_bytes(value)
    pair = KeyPair(private, private.public_key().public_bytes_raw())
    own = closure.channel_keys.get(pair.public)
    if own is None:
        return
    yield ("channel key", own), value
    near = closure.view.adverts if closure.thorough else closure.view.peers(own) | {own}
    for peer in near:
        yield ("agreed", own, peer), pair.agree(closure.view.adverts[peer].channel_key)


def _as_kem_seed(closure: Closure, value: bytes) -> Steps:
    """D alone makes the key that opens good ciphertexts; z only answers bad ones."""
    pair = KemPair.from_seed(value, bytes(32))
    slot = closure.kem_keys.get(pair.public)
    if slot is None:
        return
    yield ("kem d", slot), value
    for (sender, recipient), sealed in closure.view.seals.items():
        if recipient == slot:
            yield ("encapsulated", sender, recipient), pair.decapsulate(sealed.ciphertext)


def _as_agreement(closure: Closure, value: bytes) -> Steps:
    """As what X25519 agreed or ML-KEM encapsulated, with all that may be the other part of the key."""
    for way in closure.directions(value):
        if way in closure.opened:
            continue
        agreed = {closure.facts.get(("agreed", *way)), closure.facts.get(("agreed", *way[::-1]))}
        encapsulated = {closure.facts.get(("encapsulated", *way))}
        pairs = [(value, other) for other in (encapsulated | {bytes(32)}) - {None}]
        pairs += [(other, value) for other in (agreed | {bytes(32)}) - {None}]
        yield from _unsealed(closure, way, pairs)


def _unsealed(closure: Closure, way: Way, pairs: Iterable[tuple[bytes | None, bytes | None]]) -> Steps:
    sealed = closure.view.seals[way]
    for agreed, encapsulated in pairs:
        assert agreed is not None
        assert encapsulated is not None
        channel = Channel.between(agreed, encapsulated, sealed.ciphertext, closure.bound, *way)
        plain = channel.open(sealed.sealed)
        if plain is not None:
            closure.unseal(*way, Portion.from_bytes(plain, closure.view.levels))
            yield ("channel", *way), channel.key


def _as_channel(closure: Closure, value: bytes) -> Steps:
    for sender, recipient in closure.directions(value):
        channel = Channel(value, Writer().fixed(closure.bound).u16(sender).u16(recipient).finish())
        plain = channel.open(closure.view.seals[sender, recipient].sealed)
        if plain is not None:
            closure.unseal(sender, recipient, Portion.from_bytes(plain, closure.view.levels))
            yield ("channel", sender, recipient), value


def _as_half(closure: Closure, value: bytes) -> Steps:
    """As either half of any pair, by what was dealt; two mask halves make a mask, a wrap half opens a wrap."""
    for sender, recipient in closure.directions(value):
        for use in ("x", "y"):
            digest = part_digest(closure.bound, sender, recipient, use, value)
            if digest == closure.halves[use, sender, recipient]:
                yield (use, sender, recipient), value
                if use == "x":
                    yield from _as_mask_half(closure, value, sender, recipient)
                else:
                    yield from _as_wrap_half(closure, value, sender, recipient)


def _as_mask_half(closure: Closure, value: bytes, own: int, peer: int) -> Steps:
    other = closure.facts.get(("x", peer, own))
    if other is not None:
        key = pair_mask(value, other, closure.transcript, own, peer).key
        yield ("pair mask", *sorted((own, peer))), key


def _as_wrap_half(closure: Closure, value: bytes, own: int, peer: int) -> Steps:
    wrap = closure.view.wraps.get((peer, own))
    channel = Channel.of_wrap(value, closure.transcript, peer, own)
    if wrap is not None and (half := channel.open(wrap)) is not None:
        yield ("wrap", peer, own), channel.key
        yield ("x", peer, own), half


def _as_wrap(closure: Closure, value: bytes) -> Steps:
    for (sender, recipient), wrap in closure.view.wraps.items() if closure.thorough else ():
        address = Writer().fixed(closure.transcript).u16(sender).u16(recipient).finish()
        half = Channel(value, address).open(wrap)
        if half is not None:
            yield ("wrap", sender, recipient), value
            yield ("x", sender, recipient), half


def _as_seed(closure: Closure, value: bytes) -> Steps:
    slot = _known("m")(closure, value)
    if slot is not None:
        yield ("self seed", slot), value
        yield ("self mask", slot), self_mask(value, closure.transcript, slot).key


RULES = (
    Rule(frozenset({"mask secret", "self seed", "channel secret"}), _as_root),
    Rule(frozenset({"polynomial"}), _as_dealer),
    Rule(frozenset(), _as_own_root),
    Rule(frozenset({"half", "wrap half"}), _as_mask_secret),
    Rule(frozenset({"channel key", "kem d", "kem z"}), _as_channel_secret),
    Rule(frozenset(), _as_private_key),
    Rule(frozenset(), _as_kem_seed),
    Rule(frozenset({"channel"}), _as_agreement),
    Rule(frozenset(), _as_channel),
    Rule(frozenset({"pair mask", "wrap"}), _as_half),
    Rule(frozenset(), _as_wrap),
    Rule(frozenset({"self mask"}), _as_seed),
)

LABELS = frozenset(label for rule in RULES for label in rule.labels)
