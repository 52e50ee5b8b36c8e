"""The stream against AES's own test vector, the discrete Gaussian against an independent computation."""

from __future__ import annotations

import copy
import pickle  # noqa: TID251 - to show that it is refused
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from privacy.errors import UnsafeParameters
from privacy.mechanism import noise
from privacy.mechanism.noise import (
    MAX_DRAW,
    MIN_VARIANCE,
    SIGMA,
    VARIANCE,
    Stream,
    discrete_gaussian,
    max_draw,
    poisson_sample,
)
from tests.scale import scaled

KEYS = st.binary(min_size=32, max_size=32)
cumulative = lru_cache(maxsize=2)(noise._cumulative)
FALSE_ALARM = 1e-6  # of each statistical test below; keys are fixed, so none ever flickers


class Scripted:
    """A stream that says what the test wants."""

    def __init__(self, words: list[int], sign_bits: bytes = bytes(8)) -> None:
        self._words, self._sign_bits = words, sign_bits

    def words(self, size: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
        taken, self._words = self._words[:size], self._words[size:]
        return np.array(taken, np.uint64)

    def take(self, size: int) -> bytes:
        return self._sign_bits[:size]


@given(KEYS, st.lists(st.integers(0, 9000), max_size=6))
@settings(max_examples=50, deadline=None)
def test_a_stream_is_the_same_however_it_is_cut(key: bytes, sizes: list[int]) -> None:
    pieces = Stream(key)
    assert b"".join(pieces.take(size) for size in sizes) == Stream(key).take(sum(sizes))


def test_the_keystream_is_aes_256_in_counter_mode_under_a_key_of_its_own() -> None:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

    key = bytes(range(32))
    cipher_key = HKDFExpand(SHA256(), 32, b"privacy/stream/1/keystream").derive(key)
    blocks = Cipher(algorithms.AES256(cipher_key), modes.ECB()).encryptor()  # noqa: S305 - the slow twin of CTR
    expected = b"".join(blocks.update(counter.to_bytes(16, "big")) for counter in range(4))
    assert Stream(key).take(64) == expected


def test_derived_streams_depend_on_key_and_label_and_not_on_what_was_drawn() -> None:
    drawn = Stream(bytes(32))
    drawn.take(100)
    first = [
        drawn.derive("a"),
        Stream(bytes(32)).derive("b"),
        Stream(b"\1" * 32).derive("a"),
        Stream(bytes(32)),
    ]
    assert len({stream.take(32) for stream in first}) == 4
    assert Stream(bytes(32)).derive("a").take(32) == Stream(bytes(32)).derive("a").take(32)


def test_a_label_is_derived_once() -> None:
    stream = Stream(bytes(32))
    stream.derive("noise")
    with pytest.raises(ValueError, match="twice"):
        stream.derive("noise")


def test_a_stream_shows_nothing_and_cannot_be_doubled() -> None:
    stream = Stream(b"k" * 32)
    assert "6b" not in repr(stream)
    assert "k" * 4 not in repr(stream)
    for double in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="copied"):
            double(stream)


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_of_the_wrong_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32"):
        Stream(bytes(size))


def test_the_table_is_the_cumulative_distribution_to_two_to_the_minus_120() -> None:
    high, low = cumulative(VARIANCE)
    with mpmath.workdps(60):
        scale = mpmath.mpf(SIGMA)
        # Poisson summation: the sum over integers of exp(-k^2 / 2 s^2) is s sqrt(2 pi), up to exp(-2 pi^2 s^2).
        total = scale * mpmath.sqrt(2 * mpmath.pi)
        partial, at = mpmath.mpf(0), 0
        for j in (0, 1, 2, 300, 5000):
            for k in range(at, j + 1):
                partial += (1 if k == 0 else 2) * mpmath.exp(-mpmath.mpf(k * k) / (2 * scale * scale))
            at = j + 1
            entry = (int(high[j]) << 64) + int(low[j])
            assert abs(mpmath.mpf(entry) / 2**128 - partial / total) < mpmath.mpf(2) ** -120
    assert (int(high[-1]) << 64) + int(low[-1]) > 2**128 - 2**8  # with the last cell, all of it: sum 1


def test_the_table_never_falls() -> None:
    high, low = cumulative(VARIANCE)
    assert len(high) == MAX_DRAW
    steps_up = (high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] >= low[:-1]))
    assert bool(steps_up.all())


def test_the_second_word_decides_exactly_where_the_first_cannot() -> None:
    high, low = cumulative(VARIANCE)
    j = 12345
    below, at = int(low[j]) - 1, int(low[j])
    assert discrete_gaussian(cast(Stream, Scripted([int(high[j]), below])), 1)[0] == j
    assert discrete_gaussian(cast(Stream, Scripted([int(high[j]), at])), 1)[0] == j + 1


def test_the_last_word_reaches_the_last_cells_and_none_beyond() -> None:
    largest = 2**64 - 1
    assert discrete_gaussian(cast(Stream, Scripted([largest, largest])), 1)[0] == MAX_DRAW
    assert 9 * SIGMA < discrete_gaussian(cast(Stream, Scripted([largest, 0])), 1)[0] < 10 * SIGMA


def test_zero_is_counted_once_and_signs_are_even() -> None:
    assert list(discrete_gaussian(cast(Stream, Scripted([0, 0], b"\x40")), 2)) == [0, 0]
    word = 2**63
    draws = discrete_gaussian(cast(Stream, Scripted([word, word], b"\x40")), 2)
    assert draws[0] == -draws[1] > 0


def searched(stream: Stream, size: int, variance: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """What is drawn, and from which bytes, by searching the whole table for each word: the slow twin."""
    high, low = cumulative(variance)
    first = stream.words(size)
    drawn = np.searchsorted(high, first, side="left")
    for at in np.flatnonzero(high[np.minimum(drawn, len(high) - 1)] == first):
        rest = low[drawn[at] : np.searchsorted(high, first[at], side="right")]
        drawn[at] += np.searchsorted(rest, stream.words(1)[0], side="right")
    bits = np.frombuffer(stream.take((size + 7) // 8), np.uint8)
    return np.where(np.unpackbits(bits, count=size).astype(bool), -drawn, drawn)


VARIANCES = (MIN_VARIANCE, 2_064_126, VARIANCE // 4, 178_956_971, VARIANCE)


@pytest.mark.parametrize("variance", VARIANCES)
def test_draws_and_the_bytes_they_take_are_those_of_a_search(variance: int) -> None:
    """DP-63: So a site and a server whose versions draw at other speeds still take out what was added."""
    one, other = (Stream(b"by a guide, and by a search only") for _ in range(2))
    for size in (0, 1, 7, 9, 1000, 2**14 - 1, 2**14, 2**14 + 1, 50_001):
        assert np.array_equal(discrete_gaussian(one, size, variance), searched(other, size, variance))
        assert one.take(13) == other.take(13)


def _edges(variance: int) -> list[int]:
    """Words just below, at and above those of the table, and at the ends of the guide's buckets."""
    table = noise.table_of(variance)
    ends = [bucket << (64 - table.bits) for bucket in range(0, 1 << table.bits, 77)]
    words = [int(word) for word in (*table.high[:3], *table.high[3:-3:199], *table.high[-3:])]
    around = {word + step for word in (*words, *ends) for step in (-1, 0, 1)}
    return sorted(word for word in around if 0 <= word < 2**64)


@pytest.mark.parametrize("variance", VARIANCES)
def test_at_every_edge_a_draw_is_that_of_a_search(variance: int) -> None:
    words = _edges(variance)
    for second in (0, 2**63, 2**64 - 1):
        script = [*words, *[second] * len(words)]
        pair = [cast(Stream, Scripted(script, b"\x5a" * len(words))) for _ in range(2)]
        drawn = discrete_gaussian(pair[0], len(words), variance)
        assert np.array_equal(drawn, searched(pair[1], len(words), variance))
        assert int(np.abs(drawn).max()) <= max_draw(variance)


def test_a_guide_that_is_wrong_in_one_bucket_is_seen_at_its_edges() -> None:
    """The failing control of the test above."""
    table, words = noise.table_of(MIN_VARIANCE), _edges(MIN_VARIANCE)
    bucket = 77 * 50
    guide = table.guide.copy()
    guide[bucket] += 1
    pair = [cast(Stream, Scripted([*words, *[0] * len(words)], bytes(len(words)))) for _ in range(2)]
    drawn = noise.draw(pair[0], len(words), table._replace(guide=guide))
    assert not np.array_equal(drawn, searched(pair[1], len(words), MIN_VARIANCE))


def test_a_draw_takes_less_than_half_of_the_time_of_a_search() -> None:
    """A tenth, seen on a machine of two cores: 12 ns and 120 ns of its own time."""
    stream, size = Stream(bytes(32)), 2**16
    times: dict[str, list[float]] = {"guide": [], "search": []}
    for work in (discrete_gaussian, searched):
        work(stream, 1, MIN_VARIANCE)  # the table, too
    for _ in range(5):
        for how, work in (("guide", discrete_gaussian), ("search", searched)):
            start = time.process_time()
            work(stream, size, MIN_VARIANCE)
            times[how].append(time.process_time() - start)
    assert min(times["guide"]) < min(times["search"]) / 2


@given(KEYS, st.integers(0, 300))
@settings(max_examples=30, deadline=None)
def test_a_draw_is_a_function_of_the_key(key: bytes, size: int) -> None:
    draws = discrete_gaussian(Stream(key), size)
    assert draws.dtype == np.int64
    assert draws.shape == (size,)
    assert np.array_equal(draws, discrete_gaussian(Stream(key), size))


def _chi_square_p(draws: np.ndarray[Any, Any], scale: float) -> float:
    """P-value against N_Z(0, scale^2), in 64 cells whose probabilities are sums of the exact mass function."""
    reach = 14 * SIGMA
    mass = np.exp(-(np.arange(-reach, reach + 1).astype(np.float64) ** 2) / (2 * scale * scale))
    mass /= mass.sum()
    edges = np.linspace(-3.2 * SIGMA, 3.2 * SIGMA, 63).astype(np.int64)
    expected = np.add.reduceat(mass, np.concatenate([[0], edges + reach])) * len(draws)
    observed = np.bincount(np.searchsorted(edges, draws, side="right"), minlength=64)
    return float(stats.chisquare(observed, expected, sum_check=False).pvalue)


def test_draws_follow_the_discrete_gaussian_and_the_test_sees_a_scale_one_percent_off() -> None:
    draws = discrete_gaussian(Stream(b"chi-square test of one million.."), 1_000_000)
    assert _chi_square_p(draws, SIGMA) > FALSE_ALARM
    assert _chi_square_p(draws, 1.01 * SIGMA) < FALSE_ALARM
    assert _chi_square_p(draws, 0.99 * SIGMA) < FALSE_ALARM


def test_the_variance_is_sigma_squared_and_the_test_sees_a_scale_one_percent_off() -> None:
    draws = discrete_gaussian(Stream(b"variance test with a fixed key.."), 1_000_000).astype(np.float64)
    low, high = stats.chi2.interval(1 - FALSE_ALARM, len(draws))
    statistic = float((draws**2).sum() / SIGMA**2)
    assert low < statistic < high
    assert not low < statistic / 1.01**2 < high


@pytest.mark.parametrize("variance", [MIN_VARIANCE, VARIANCE])
def test_tails_have_their_mass_and_the_test_sees_a_scale_two_percent_off(variance: int) -> None:
    """Beyond 3, 4 and 4.5 standard deviations, on both sides; by the normal law, which differs by 10^-6 of them."""
    size, scale = 8_000_000, variance**0.5
    draws = discrete_gaussian(Stream(b"tails of eight million draws...."), size, variance)
    for away, fits in ((1.0, True), (1.02, False), (0.98, False)):
        cuts = (np.array([-4.5, -4, -3, 3, 4, 4.5]) * scale).astype(np.int64)
        mass = np.diff([0, *stats.norm.cdf((cuts - 0.5) / (scale * away)), 1])
        observed = np.bincount(np.searchsorted(cuts, draws, side="right"), minlength=7)
        assert bool(stats.chisquare(observed, mass * size, sum_check=False).pvalue > FALSE_ALARM) is fits


def test_small_draws_are_cheap() -> None:
    stream = Stream(bytes(32))
    discrete_gaussian(stream, 30)
    best = min(_seconds(stream) for _ in range(5))
    assert best < 200 * 100e-6  # 100 microseconds each


def _seconds(stream: Stream) -> float:
    start = time.process_time()
    for _ in range(200):
        discrete_gaussian(stream, 30)
    return time.process_time() - start


@given(KEYS, st.integers(0, 500), st.floats(1e-9, 1))
@settings(max_examples=50, deadline=None)
def test_a_poisson_sample_is_ascending_distinct_and_in_range(
    key: bytes, population: int, rate: float
) -> None:
    chosen = poisson_sample(Stream(key), population, rate)
    assert chosen.dtype == np.int64
    assert list(chosen) == sorted(set(chosen.tolist()))
    assert all(0 <= index < population for index in chosen)


def test_inclusion_has_exactly_the_rate() -> None:
    rate = 0.37
    threshold = int(rate * 2.0**64)
    assert abs(threshold / 2**64 - rate) <= 2.0**-64
    chosen = poisson_sample(cast(Stream, Scripted([threshold - 1, threshold, 0])), 3, rate)
    assert list(chosen) == [0, 2]


def test_rate_one_includes_everyone() -> None:
    assert list(poisson_sample(Stream(bytes(32)), 5, 1.0)) == [0, 1, 2, 3, 4]
    assert len(poisson_sample(Stream(bytes(32)), 1000, 1.0)) == 1000


@pytest.mark.power
def test_the_sampled_fraction_is_the_rate_and_the_test_sees_one_percent_more(
    record_property: Callable[[str, object], None],
) -> None:
    stream, turns = Stream(b"fraction" * 4), scaled(1)
    count = turns * 2_000_000
    chosen = sum(len(poisson_sample(stream, 2_000_000, 0.1)) for _ in range(turns))
    record_property("fraction", f"{chosen / count:.6f} of {count}; promised 0.1")
    assert stats.binomtest(chosen, count, 0.1).pvalue > FALSE_ALARM
    assert stats.binomtest(chosen, count, 0.101).pvalue < 1e-3


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.0000001, float("nan"), float("inf")])
def test_an_impossible_rate_is_refused(rate: float) -> None:
    with pytest.raises(UnsafeParameters):
        poisson_sample(Stream(bytes(32)), 10, rate)
