"""Streams that anyone may know: of a public seed, for runs that promise no privacy and must be the same again.

All streams of a seed are one AES-256 keystream, read from different places: a stream's place is a hash of what it
is for. To go to a place costs a tenth of a new key, and a simulated round asks for two streams of a site. Nothing
here is secret, so that two places might overlap, once in 2^100 times, would be no leak either.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from privacy.mechanism.noise import Stream
from privacy.wire import digest

_BLOCK_BYTES = 16
_KEPT = 64  # seeds, in each thread


class Repeatable(Stream):
    """A stream of a public seed. Never for noise, masks or keys, nor for the batches of a run with privacy."""

    __slots__ = ("_drawn", "_place", "_seed")

    def __init__(self, seed: bytes, *purpose: bytes) -> None:
        super().__init__(seed)
        self._seed, self._drawn = seed, 0
        self._place = digest("privacy/stream/repeatable/1", *purpose)[:_BLOCK_BYTES]

    def derive(self, label: str) -> Stream:
        """As `Stream.derive`."""
        self._note(label)
        return Repeatable(self._seed, self._place, label.encode())

    def _fresh(self, size: int) -> bytes:
        blocks, inside = divmod(self._drawn, _BLOCK_BYTES)
        place = (int.from_bytes(self._place, "big") + blocks) % (1 << 8 * _BLOCK_BYTES)
        cipher = _cipher(self._seed)
        cipher.reset_nonce(place.to_bytes(_BLOCK_BYTES, "big"))
        self._drawn += size
        return cipher.update(bytes(inside + size))[inside:]


class _Ciphers(threading.local):
    """A seed's cipher is moved from place to place, so a thread has its own."""

    def __init__(self) -> None:
        self.known = OrderedDict[bytes, CipherContext]()


_ciphers = _Ciphers()


def _cipher(seed: bytes) -> CipherContext:
    known = _ciphers.known
    if seed not in known:
        while len(known) >= _KEPT:
            known.popitem(last=False)
        known[seed] = Cipher(algorithms.AES256(seed), modes.CTR(bytes(_BLOCK_BYTES))).encryptor()
    return known[seed]
