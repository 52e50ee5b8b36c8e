"""Inputs that nobody made: genuine ones with bytes flipped, cut, added, moved, or with another length in them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from privacy.mechanism.noise import Stream

EDGES = [0, 1, 2, 127, 128, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63, 2**64 - 1]
TOKENS = [
    *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\\u0000", b"\\ud800", b"\x00", b"\xff", b"\xc3\xa9"),
    *(
        b"NaN",
        b"Infinity",
        b"-0",
        b"1e400",
        b"1e-400",
        b"9007199254740993",
        b"true",
        b"null",
        b"''",
        b"\n",
        b"=",
    ),
]
_Item = TypeVar("_Item")


class Source:
    """Numbers that follow from a name, so that a failing input can be made again."""

    def __init__(self, name: str) -> None:
        self._stream = Stream(hashlib.sha256(name.encode()).digest())
        self._words: list[int] = []

    def randrange(self, limit: int) -> int:
        """One of 0 to `limit` - 1."""
        if not self._words:
            self._words = self._stream.words(4096).tolist()
        return self._words.pop() % limit

    def randint(self, low: int, high: int) -> int:
        """One of `low` to `high`."""
        return low + self.randrange(high - low + 1)

    def choice(self, items: Sequence[_Item]) -> _Item:
        """One of these."""
        return items[self.randrange(len(items))]

    def randbytes(self, size: int) -> bytes:
        """So many bytes."""
        return b"".join(self.randrange(1 << 64).to_bytes(8, "big") for _ in range(size // 8 + 1))[:size]


def _flip(dice: Source, data: bytearray, _: Sequence[bytes]) -> bytes:
    for _each in range(dice.randint(1, 3)):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(data)


def _overwrite(dice: Source, data: bytearray, _: Sequence[bytes]) -> bytes:
    at = dice.randrange(len(data))
    data[at : at + 8] = dice.randbytes(len(data[at : at + 8]))
    return bytes(data)


def _cut(dice: Source, data: bytearray, _: Sequence[bytes]) -> bytes:
    return bytes(data[: dice.randrange(len(data))])


def _extend(dice: Source, data: bytearray, _: Sequence[bytes]) -> bytes:
    return bytes(data) + dice.randbytes(dice.randint(1, 8))


def _remove(dice: Source, data: bytearray, _: Sequence[bytes]) -> bytes:
    at = dice.randrange(len(data))
    del data[at : at + dice.randint(1, 40)]
    return bytes(data)


def _double(dice: Source, data: bytearray, _: Sequence[bytes]) -> bytes:
    at, size = dice.randrange(len(data)), dice.randint(1, 60)
    return bytes(data[: at + size] + data[at:])


def _splice(dice: Source, data: bytearray, others: Sequence[bytes]) -> bytes:
    other = dice.choice(others)
    return bytes(data[: dice.randrange(len(data))]) + other[dice.randrange(len(other)) :]


def _length(dice: Source, data: bytearray, _: Sequence[bytes]) -> bytes:
    """A field of 1 to 8 bytes becomes a number at an edge, wherever lengths and counts may be."""
    width, at = dice.choice((1, 2, 4, 8)), dice.randrange(len(data))
    data[at : at + width] = (dice.choice(EDGES) % (1 << 8 * width)).to_bytes(width, "big")
    return bytes(data)


def _token(dice: Source, data: bytearray, _: Sequence[bytes]) -> bytes:
    at = dice.randrange(len(data))
    return bytes(data[:at]) + dice.choice(TOKENS) + bytes(data[at + dice.randint(0, 2) :])


def _noise(dice: Source, data: bytearray, _: Sequence[bytes]) -> bytes:
    return bytes(data[: dice.choice((0, 2, 25))]) + dice.randbytes(dice.randrange(200))


Mutation = Callable[[Source, bytearray, Sequence[bytes]], bytes]
MUTATIONS: list[Mutation] = [
    *(_flip, _overwrite, _cut, _extend, _remove, _double, _splice, _length, _length, _token, _noise)
]


def mutated(name: str, samples: Sequence[bytes], others: Sequence[bytes], count: int) -> Iterator[bytes]:
    """So many inputs, made of these samples and of parts of others. One mutation each, sometimes two."""
    dice = Source(name)
    for number in range(count):
        data = samples[number % len(samples)]
        for _ in range(dice.choice((1, 1, 1, 2))):
            data = dice.choice(MUTATIONS)(dice, bytearray(data), others) or b"\x00"
        yield data
