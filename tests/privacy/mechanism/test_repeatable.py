"""Streams of a public seed: the same bytes for the same purpose, others for another, however they are asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as some

from privacy.mechanism.repeatable import Repeatable, Repeatables
from privacy.wire import digest, digests

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


NAMES = (b"ash", b"", b"birch", b"cedar")
COUNTS = some.lists(some.integers(0, 9000), min_size=len(NAMES), max_size=len(NAMES))


@given(some.lists(COUNTS, max_size=3))
def test_drawn_from_all_at_once_each_has_the_words_that_it_has_by_itself(draws: list[list[int]]) -> None:
    together = Repeatables.of(SEED, NAMES, b"round").derive("rounding")
    alone = [Repeatable(SEED, name, b"round").derive("rounding") for name in NAMES]
    for counts in draws:
        expected = [stream.words(count) for stream, count in zip(alone, counts, strict=True)]
        assert np.array_equal(together.words(counts), np.concatenate(expected))


def test_words_of_some_are_gone_for_them_and_for_no_other() -> None:
    together = Repeatables.of(SEED, NAMES, b"round")
    alone = [Repeatable(SEED, name, b"round") for name in NAMES]
    for of in (slice(1, 3), slice(0, 2), slice(2, 4)):
        expected = [stream.words(5) for stream in alone[of]]
        assert np.array_equal(together.words([5] * len(expected), of), np.concatenate(expected))


def test_each_of_many_is_a_stream_from_its_beginning() -> None:
    together = Repeatables.of(SEED, NAMES, b"round")
    together.words([3] * len(NAMES))
    expected = [Repeatable(SEED, name, b"round").derive("batches").take(100) for name in NAMES]
    assert [stream.derive("batches").take(100) for stream in together] == expected
    assert [together[place].derive("batches").take(100) for place in range(len(NAMES))] == expected
    assert [stream.derive("batches").take(100) for stream in together[1:3]] == expected[1:3]


@pytest.mark.parametrize("place", [b"\xff" * 16, bytes(7) + b"\x01" + b"\xff" * 8], ids=["whole", "low word"])
def test_a_place_near_the_end_of_its_numbers_goes_on_from_their_beginning(place: bytes) -> None:
    together = Repeatables(SEED, [place, bytes(16)])
    whole = Cipher(algorithms.AES256(SEED), modes.CTR(place)).encryptor().update(bytes(800))
    found = b"".join(together.words(counts)[: counts[0]].tobytes() for counts in ([3, 0], [90, 7], [7, 1]))
    assert found == whole
    assert Repeatable.at(SEED, place).take(800) == whole


def test_digests_of_many_are_those_of_each() -> None:
    assert digests("label", NAMES, b"last") == [digest("label", name, b"last") for name in NAMES]
