"""Masks: their keys, their signs, and adding them to a vector in bounded memory.

Sites i < j derive one pair key; i adds its mask, j subtracts it, so it vanishes from any sum that holds both.
The self mask hides an upload even from a server that called its site lost and has rebuilt its pairwise masks.
Masks are uniform in the ring and independent for distinct keys, so an upload is uniform as long as one of its
masks is unknown. See docs/protocol.md, section 4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from privacy.secagg.keys import derive, slots_bytes
from privacy.secagg.keystream import CHUNK_BYTES, SLACK_BYTES, Keystream
from privacy.secagg.ring import Lanes
from privacy.suite import label
from privacy.wire import digest

# A site's slot and its public key for masks.
_End = tuple[int, bytes]


@dataclass(frozen=True)
class Mask:
    """A keystream, to be added or subtracted."""

    key: bytes = field(repr=False)
    is_added: bool

    def inverse(self) -> Mask:
        """The mask that undoes this one."""
        return Mask(self.key, not self.is_added)


def self_mask(seed: bytes, transcript: bytes, slot: int) -> Mask:
    """The mask that a site adds to its own vector."""
    return Mask(derive(seed, transcript, "self mask", slots_bytes([slot])), is_added=True)


def pair_mask(shared: bytes, transcript: bytes, own: _End, peer: _End) -> Mask:
    """The mask that the site at `own` applies for `peer`, from their X25519 secret `shared`.

    Both ends derive the same key, because both put the lower slot and its public key first.
    """
    parts = (part for slot, public in sorted((own, peer)) for part in (slots_bytes([slot]), public))
    return Mask(derive(shared, transcript, "pair mask", *parts), is_added=own < peer)


def commit(seed: bytes, context: bytes, slot: int) -> bytes:
    """A commitment to a self seed: hiding, as the seed is 256 random bits, and binding, as SHA-256 is."""
    return digest(label("commitment"), context, slots_bytes([slot]), seed)


def apply(lanes: Lanes, masks: Iterable[Mask]) -> None:
    """Add or subtract masks in place, unreduced: all masks to one window of the vector, then the next window.

    Beside the vector it needs one buffer of CHUNK_BYTES, and one cipher state per mask.
    """
    streams = [(Keystream(mask.key), np.add if mask.is_added else np.subtract) for mask in masks]
    step = CHUNK_BYTES // lanes.itemsize
    buffer = bytearray(min(CHUNK_BYTES, lanes.nbytes) + SLACK_BYTES)
    for start in range(0, lanes.size, step):
        window = lanes[start : start + step]
        pad = np.frombuffer(buffer, lanes.dtype.newbyteorder("<"), window.size)
        for stream, operation in streams:
            stream.fill(buffer, window.nbytes)
            operation(window, pad, out=window)
