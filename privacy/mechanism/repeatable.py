"""Streams that anyone may know: of a public seed, for runs that promise no privacy and must be the same again.

All streams of a seed are one AES-256 keystream, read from different places: a stream's place is a hash of what it
is for. To go to a place costs a tenth of a new key, and a simulated round asks for two streams of a site. Nothing
here is secret, so that two places might overlap, once in 2^100 times, would be no leak either. `Repeatables` are
many such streams, drawn from all at once: the same bytes, without an object for each.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import overload

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from privacy.mechanism.noise import Stream
from privacy.wire import digest, digests

_BLOCK_BYTES, _BLOCK_WORDS = 16, 2
_KEPT = 64  # seeds, in each thread
_LABEL = "privacy/stream/repeatable/1"
_ALL = slice(None)

Places = NDArray[np.int64]


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
        asked, drawn = np.asarray(counts, np.int64), self._drawn[of]
        skipped, inside = np.divmod(drawn, _BLOCK_WORDS)
        blocks = -((inside + asked) // -_BLOCK_WORDS)
        found = self._keystream(self._numbers[of], skipped, blocks)
        self._drawn[of] += asked
        if len(found) == asked.sum():  # whole blocks
            return found
        starts = _BLOCK_WORDS * (np.cumsum(blocks) - blocks) + inside
        return found[np.repeat(starts, asked) + _within(asked)]

    @cached_property
    def _numbers(self) -> NDArray[np.uint64]:
        """The places as numbers of two words each, the high one first."""
        return np.frombuffer(b"".join(self._places), ">u8").reshape(-1, 2).astype(np.uint64)

    def _keystream(self, places: NDArray[np.uint64], skipped: Places, blocks: Places) -> NDArray[np.uint64]:
        """So many blocks of each, after those that are skipped: each is the encryption of its own number."""
        if (
            len(blocks) and (blocks == blocks[0]).all() and not skipped.any()
        ):  # the same, without as many indices
            number = np.arange(blocks[0]).view(np.uint64)[None]
            high, low = places[:, :1], places[:, 1:] + number
        else:
            number = (_within(blocks) + np.repeat(skipped, blocks)).view(np.uint64)
            high, low = np.repeat(places[:, 0], blocks), np.repeat(places[:, 1], blocks) + number
        counters = np.empty((*low.shape, 2), ">u8")
        counters[..., 0] = high + (low < number)  # it wraps at 2^64
        counters[..., 1] = low
        room = np.empty(_BLOCK_BYTES * (low.size + 1), np.uint8)  # a cipher asks for more than it fills
        size = _blocks(self._seed).update_into(counters.view(np.uint8).reshape(-1).data, room.data)
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


def _within(counts: Places) -> Places:
    """0, 1, ... for each of these counts, one after the other."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


class _Ciphers(threading.local):
    """A seed's cipher is moved from place to place, so a thread has its own."""

    def __init__(self) -> None:
        self.known = OrderedDict[bytes, CipherContext]()
        self.blocks = OrderedDict[bytes, CipherContext]()


_ciphers = _Ciphers()


def _cipher(seed: bytes) -> CipherContext:
    return _kept(_ciphers.known, seed, lambda key: Cipher(key, modes.CTR(bytes(_BLOCK_BYTES))).encryptor())


def _blocks(seed: bytes) -> CipherContext:
    """The cipher of single blocks: of numbers that count up, it is the keystream of counter mode."""
    return _kept(_ciphers.blocks, seed, lambda key: Cipher(key, modes.ECB()).encryptor())  # noqa: S305 - no message


def _kept(
    known: OrderedDict[bytes, CipherContext],
    seed: bytes,
    make: Callable[[algorithms.AES256], CipherContext],
) -> CipherContext:
    if seed not in known:
        while len(known) >= _KEPT:
            known.popitem(last=False)
        known[seed] = make(algorithms.AES256(seed))
    return known[seed]
