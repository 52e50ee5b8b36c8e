"""Masks: their keys, their signs, and adding them to a vector in bounded memory.

Sites i < j derive one pair key, of a half that each of them gives; i adds its mask, j subtracts it, so it
vanishes from any sum that holds both. The self mask hides an upload even from a server that called its site lost
and has rebuilt its pairwise masks. Masks are uniform in the ring and independent for distinct keys, so an upload
is uniform as long as one of its masks is unknown. See docs/protocol.md, section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from privacy.secagg.keys import derive, slot_bytes
from privacy.secagg.ring import Lanes, Vector, reduce, to_lanes

_KEY_BYTES = 32
# Keystream made at a time: bounds the buffer, and keeps it and the vector's window in the cache.
CHUNK_BYTES = 1 << 17
# The cipher may ask for room for all but one byte of another block.
SLACK_BYTES = 15
# Elements of a vector that is masked at once. In a longer one keystreams begin in each field of each stretch.
SHORT = 1 << 20

_ZEROS = memoryview(bytes(CHUNK_BYTES))
_BLOCK_BYTES = 16


class Keystream:
    """The keystream of AES-256 in counter mode under one key, from any of its bytes on. It keeps no key.

    A mask is only as secret as its generator is unpredictable; AES-CTR with a fresh 256-bit key is a PRF in counter
    mode (NIST SP 800-38A, section 6.5). A counter that begins at zero is safe because each key makes only one
    keystream: it is derived from one-time secrets and from the round's transcript. Lane i of a mask is the i-th
    little-endian word of the keystream; its low b bits are uniform because all its bits are.
    """

    def __init__(self, key: bytes, start: int = 0) -> None:
        if len(key) != _KEY_BYTES:
            raise ValueError(f"a keystream key has {_KEY_BYTES} bytes")
        counter, within = divmod(start, _BLOCK_BYTES)
        mode = modes.CTR(counter.to_bytes(_BLOCK_BYTES, "big"))
        self._encryptor = Cipher(algorithms.AES(key), mode).encryptor()
        self._encryptor.update(_ZEROS[:within])

    def fill(self, buffer: bytearray, size: int) -> None:
        """Write the next `size` <= CHUNK_BYTES bytes to a buffer at least SLACK_BYTES larger."""
        self._encryptor.update_into(_ZEROS[:size], buffer)


def keystream(key: bytes, size: int) -> bytes:
    """The first bytes of a key's keystream."""
    stream, made = Keystream(key), bytearray()
    while len(made) < size:
        step = min(CHUNK_BYTES, size - len(made))
        buffer = bytearray(step + SLACK_BYTES)
        stream.fill(buffer, step)
        made += buffer[:step]
    return bytes(made)


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
    return Mask(derive(seed, transcript, "self mask", slot_bytes(slot)), is_added=True)


def pair_mask(given: bytes, taken: bytes, transcript: bytes, own: int, peer: int) -> Mask:
    """The mask that slot `own` applies for `peer`: from its own half, and the half that it took from `peer`.

    Both ends derive the same key, because both put the half of the lower slot first.
    """
    halves = given + taken if own < peer else taken + given
    low, high = sorted((own, peer))
    key = derive(halves, transcript, "pair mask", slot_bytes(low), slot_bytes(high))
    return Mask(key, is_added=own < peer)


def masked(vector: Vector, bits: int, masks: Sequence[Mask]) -> Callable[[int, int], Lanes]:
    """What gives the masked and reduced lanes of a vector, from one element to another.

    A short vector is masked at once, so that no keystream is begun twice; a long one where it is asked for. Ask
    once for each element: if the vector changed meanwhile, two answers would bare the difference.
    """

    def of(first: int, end: int) -> Lanes:
        lanes = to_lanes(vector[first:end], bits)
        if len(lanes) != end - first:
            raise ValueError("a vector ends too early")
        apply(lanes, masks, first)
        reduce(lanes, bits)
        return lanes

    length = vector.shape[0]
    if length > SHORT:
        return of
    whole = of(0, length)
    return lambda first, end: whole[first:end]


def apply(lanes: Lanes, masks: Iterable[Mask], first: int = 0) -> None:
    """Add or subtract masks in place, unreduced: all masks to one window of the vector, then the next window.

    `lanes` are those of a vector from element `first` on. Beside them it needs one buffer of CHUNK_BYTES, and one
    cipher state per mask.
    """
    place = first * lanes.itemsize
    streams = [(Keystream(mask.key, place), np.add if mask.is_added else np.subtract) for mask in masks]
    step = CHUNK_BYTES // lanes.itemsize
    buffer = bytearray(min(CHUNK_BYTES, lanes.nbytes) + SLACK_BYTES)
    for start in range(0, lanes.size, step):
        window = lanes[start : start + step]
        pad = np.frombuffer(buffer, lanes.dtype.newbyteorder("<"), window.size)
        for stream, operation in streams:
            stream.fill(buffer, window.nbytes)
            operation(window, pad, out=window)
