"""Adverts: a site's one-time public keys, under the signature of its long-term identity.

The signature covers session and slot, so that an advert of another round, run, plan or site is none; whoever
swaps a key needs the identity that the consortium certified. See docs/protocol.md, section 4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.secagg.keys import Secrets, channel_pair, mask_pair
from privacy.secagg.masks import commit
from privacy.secagg.messages import Advert
from privacy.signing import is_signed, sign
from privacy.suite import label
from privacy.wire import Writer

_LABEL = label("advert")


def make_advert(identity: Ed25519PrivateKey, session: bytes, slot: int, secrets: Secrets) -> Advert:
    """The advert of these secrets; `session` is the link of the transcript."""
    keys = mask_pair(secrets.mask, session).public, channel_pair(secrets.channel, session).public
    unsigned = Advert(*keys, commit(secrets.seed, session, slot), b"")
    signature = sign(identity, _LABEL, session, Writer().u16(slot).finish(), unsigned.statement)
    return replace(unsigned, signature=signature)


def is_genuine(advert: Advert, key: bytes, session: bytes, slot: int) -> bool:
    """Whether the holder of this identity key advertised this, for this slot in this session."""
    place = Writer().u16(slot).finish()
    return is_signed(key, advert.signature, _LABEL, session, place, advert.statement)


def has_repeated_keys(adverts: Iterable[Advert]) -> bool:
    """Whether any two of all these public keys are the same."""
    keys = [key for advert in adverts for key in (advert.mask_key, advert.channel_key)]
    return len(set(keys)) < len(keys)
