"""Streams that anyone may know: of a public seed, for runs that promise no privacy and must be the same again.

All streams of a seed are one AES-256 keystream, read from different places: a stream's place is a hash of what it
is for. To go to a place costs a tenth of a new key, and a simulated round asks for two streams of a site. Nothing
here is secret, so that two places might overlap, once in 2^100 times, would be no leak either. `Repeatables` are
many such streams, drawn from all at once: the same bytes, without an object for each.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from privacy.mechanism.noise import Stream
from privacy.wire import digest, digests

_BLOCK_BYTES, _WORD_BYTES = 16, 8
_KEPT = 64  # seeds, in each thread
_LABEL = "privacy/stream/repeatable/1"
_ALL = slice(None)
_NOTHING = bytes(2**16)  # what is encrypted to a keystream


class Repeatable(Stream):
    """A stream of a public seed. Never for noise, masks or keys, nor for the batches of a run with privacy."""

    __slots__ = ("_drawn", "_place", "_seed")

    def __init__(self, seed: bytes, *purpose: bytes) -> None:
        super().__init__(seed)
        self._seed, self._drawn = seed, 0
        self._place = digest(_LABEL, *purpose)[:_BLOCK_BYTES]

    @classmethod
    def at(cls, seed: bytes, place: bytes) -> Repeatable:
        """The one that begins at a place."""
        found = cls.__new__(cls)
        Stream.__init__(found, seed)
        found._seed, found._drawn, found._place = seed, 0, place
        return found

    def derive(self, label: str) -> Stream:
        """As `Stream.derive`."""
        self._note(label)
        return Repeatable(self._seed, self._place, label.encode())

    def _fresh(self, size: int) -> bytes:
        blocks, inside = divmod(self._drawn, _BLOCK_BYTES)
        cipher = _cipher(self._seed)
        cipher.reset_nonce(_beyond(self._place, blocks))
        self._drawn += size
        return cipher.update(bytes(inside + size))[inside:]


class Repeatables(Sequence[Stream]):
    """Streams of one seed, for the same use at many sites. What is drawn here is gone for `words` alone.

    `self[k]` is the k-th as a `Stream`, at its beginning.
    """

    def __init__(self, seed: bytes, places: Sequence[bytes]) -> None:
        self._seed, self._places = seed, places
        self._drawn = np.zeros(len(places), np.int64)  # words of each

    @classmethod
    def of(cls, seed: bytes, firsts: Iterable[bytes], second: bytes) -> Repeatables:
        """`Repeatable(seed, first, second)` of each of these."""
        return cls(seed, _places(firsts, second))

    def derive(self, label: str) -> Repeatables:
        """`Repeatable.derive` of each."""
        return Repeatables(self._seed, _places(self._places, label.encode()))

    def words(self, counts: Sequence[int], of: slice = _ALL) -> NDArray[np.uint64]:
        """As many of the next words of each, or of some, as it is asked for, one stream after the other."""
        size = _WORD_BYTES * sum(counts)
        room = np.empty(size + _BLOCK_BYTES, np.uint8)  # a cipher asks for a block more than it fills
        view, at, cipher = room.data, 0, _cipher(self._seed)
        for place, drawn, count in zip(self._places[of], self._drawn[of].tolist(), counts, strict=True):
            blocks, inside = divmod(_WORD_BYTES * drawn, _BLOCK_BYTES)
            cipher.reset_nonce(_beyond(place, blocks) if blocks else place)
            if inside:
                cipher.update(_NOTHING[:inside])
            end = at + _WORD_BYTES * count
            for start in range(at, end, len(_NOTHING)):
                piece = min(len(_NOTHING), end - start)
                cipher.update_into(_NOTHING if piece == len(_NOTHING) else _NOTHING[:piece], view[start:])
            at = end
        self._drawn[of] += np.asarray(counts, np.int64)
        return room[:size].view("<u8").astype(np.uint64, copy=False)

    @overload
    def __getitem__(self, index: int) -> Stream: ...
    @overload
    def __getitem__(self, index: slice) -> Repeatables: ...
    def __getitem__(self, index: int | slice) -> Stream | Repeatables:
        if isinstance(index, slice):
            return Repeatables(self._seed, self._places[index])
        return Repeatable.at(self._seed, self._places[index])

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Stream]:
        return (Repeatable.at(self._seed, place) for place in self._places)


def _places(firsts: Iterable[bytes], second: bytes) -> list[bytes]:
    return [found[:_BLOCK_BYTES] for found in digests(_LABEL, firsts, second)]


def _beyond(place: bytes, blocks: int) -> bytes:
    """The place so many blocks further on."""
    found = (int.from_bytes(place, "big") + blocks) % (1 << 8 * _BLOCK_BYTES)
    return found.to_bytes(_BLOCK_BYTES, "big")


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
