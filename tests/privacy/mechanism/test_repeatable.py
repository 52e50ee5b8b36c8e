"""Streams of a public seed: the same bytes for the same purpose, others for another, however they are asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as some

from privacy.mechanism.repeatable import Repeatable
from privacy.wire import digest

SEED = bytes(range(32))


def test_it_is_the_keystream_of_aes_from_a_place_of_its_own() -> None:
    place = digest("privacy/stream/repeatable/1", b"ash", b"round")[:16]
    whole = Cipher(algorithms.AES256(SEED), modes.CTR(place)).encryptor().update(bytes(10_000))
    assert Repeatable(SEED, b"ash", b"round").take(10_000) == whole


@given(some.lists(some.integers(0, 9000), max_size=8))
def test_pieces_of_any_size_are_those_of_the_whole_also_between_other_streams(sizes: list[int]) -> None:
    one, other = Repeatable(SEED, b"one"), Repeatable(SEED, b"other")
    pieces = []
    for size in sizes:
        pieces.append(one.take(size))
        other.take(7)
    assert b"".join(pieces) == Repeatable(SEED, b"one").take(sum(sizes))


def test_each_purpose_seed_and_label_has_other_bytes_and_a_label_is_derived_once() -> None:
    places = [(b"a", b"b"), (b"ab",), (b"ab", b""), (b"b", b"a")]
    streams = [Repeatable(SEED, *place) for place in places] + [Repeatable(bytes(32), b"ab")]
    streams += [Repeatable(SEED, b"ab").derive(label) for label in ("batches", "rounding")]
    assert len({stream.take(32) for stream in streams}) == len(streams)
    streams[0].derive("y")
    with pytest.raises(ValueError, match="was derived before"):
        streams[0].derive("y")


def test_threads_do_not_move_each_other() -> None:
    def taken(number: int) -> bytes:
        stream = Repeatable(SEED, number.to_bytes(4, "big"))
        return b"".join(stream.take(100) for _ in range(200))

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(taken, range(32)))
    assert found == [Repeatable(SEED, number.to_bytes(4, "big")).take(20_000) for number in range(32)]
