"""Dealing: what a site seals for each neighbor, and how the neighbor opens it and believes it.

For each peer a site seals two halves for their pair and one share of each of its shared secrets. It signs a
digest of every part, so that whoever takes a portion can prove later what was in it. The halves follow from the
mask secret, so that the mask secret alone, if it is rebuilt, gives all of them. Coefficients follow from the
root, which is never shared: were they to follow from the mask secret, a rebuilt one would leave a single share of
the self seed between everybody and that seed. See docs/protocol.md, section 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.errors import MalformedMessage
from privacy.secagg.kem import KemPair, encapsulate
from privacy.secagg.keys import (
    Channel,
    KeyPair,
    Secrets,
    derive,
    mask_half,
    secret_names,
    wrap_half,
)
from privacy.secagg.masks import keystream
from privacy.secagg.messages import Advert, Portion, Sealed
from privacy.secagg.shamir import split
from privacy.secagg.statements import deal, is_dealt, is_portion
from privacy.secagg.states import Shares


def named(secrets: Secrets, excess: Iterable[bytes]) -> dict[str, bytes]:
    """The secrets that a site shares, by name: mask secret, self seed, seeds of its excess noise."""
    shared = (secrets.mask, secrets.seed, *excess)
    return dict(zip(secret_names(len(shared) - 2), shared, strict=True))


def split_all(
    root: bytes, adverts: bytes, shared: Mapping[str, bytes], threshold: int, holders: list[int]
) -> dict[int, Shares]:
    """Each holder's shares of these secrets. Coefficients follow from the root, and from nothing that is shared."""
    dealt = [
        split(
            secret,
            threshold,
            holders,
            partial(keystream, derive(root, adverts, "polynomial", what.encode())),
        )
        for what, secret in shared.items()
    ]
    return {holder: tuple(shares[holder] for shares in dealt) for holder in holders}


@dataclass(frozen=True, repr=False)
class End:
    """One site's end of all its channels in an attempt, until it has dealt. `adverts` is A."""

    slot: int
    adverts: bytes
    identity: Ed25519PrivateKey
    keys: KeyPair

    def portion(self, secret: bytes, peer: int, shares: Shares) -> Portion:
        """What is for this peer: halves of the mask secret, and its shares."""
        x, y = (half(secret, self.adverts, self.slot, peer) for half in (mask_half, wrap_half))
        return Portion(x, y, shares)

    def seal(self, agreed: bytes, peer: int, advert: Advert, portion: Portion) -> Sealed:
        """A portion for a peer, under what X25519 agreed with it and what is encapsulated to it now."""
        encapsulated, ciphertext = encapsulate(advert.kem_key)
        channel = Channel.between(agreed, encapsulated, ciphertext, self.adverts, self.slot, peer)
        dealt = deal(self.identity, self.adverts, self.slot, peer, portion)
        return Sealed(ciphertext, channel.seal(portion.to_bytes()), dealt)


def take(
    sealed: Sealed, kem: KemPair, agreed: bytes, key: bytes, adverts: bytes, ends: tuple[int, int]
) -> Portion | None:
    """What a dealer sealed for this site; None if it does not open, or is not what the dealer signed.

    `ends` are the slots of dealer and recipient, `key` is the dealer's identity.
    """
    channel = Channel.between(agreed, kem.decapsulate(sealed.ciphertext), sealed.ciphertext, adverts, *ends)
    plain = channel.open(sealed.sealed)
    if plain is None:
        return None
    try:
        portion = Portion.from_bytes(plain, sealed.dealt.levels)
    except MalformedMessage:
        return None
    is_right = is_portion(sealed.dealt, portion, adverts, *ends)
    return portion if is_right and is_dealt(sealed.dealt, key, adverts, *ends) else None
