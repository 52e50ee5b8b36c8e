"""privacy.secagg.graph: a ring that no choice of dropouts splits, with the least degree that ensures it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chisquare, hypergeom  # type: ignore[import-untyped]

from privacy.errors import UnsafeParameters
from privacy.mechanism.noise import Stream
from privacy.secagg import graph
from privacy.secagg.graph import COMPLETE_LIMIT, Graph, Shape, choose_ring, choose_shape, permutation
from privacy.secagg.graph import _most as most
from tests.oracles import fcp
from tests.patience import within

Masks = NDArray[np.uint32]

SEED = bytes(range(32))
SEEDS = st.binary(min_size=32, max_size=32)


@st.composite
def _graphs(draw: st.DrawFn, largest: int = 60) -> Graph:
    count = draw(st.integers(2, largest))
    degrees = [*range(2, count - 1, 2), count - 1]
    return Graph(count, draw(st.sampled_from(degrees)), draw(SEEDS))


# The graph


@given(_graphs())
def test_neighbors_are_mutual_and_as_many_as_the_degree_for_everyone(drawn: Graph) -> None:
    around = [drawn.neighbors(slot) for slot in range(drawn.count)]
    for slot, peers in enumerate(around):
        assert len(set(peers)) == len(peers) == drawn.degree
        assert list(peers) == sorted(peers)
        assert slot not in peers
        assert all(slot in around[peer] for peer in peers)


@given(_graphs(), st.data())
def test_the_fewest_included_neighbors_are_those_counted_one_by_one(
    drawn: Graph, data: st.DataObject
) -> None:
    included = data.draw(st.sets(st.integers(0, drawn.count - 1)))
    counts = [len(included.intersection(drawn.neighbors(slot))) for slot in included]
    assert drawn.fewest_neighbors(included) == min(counts, default=0)


def test_neighbors_are_those_nearby_on_the_permuted_circle() -> None:
    order = permutation(9, SEED)
    assert set(Graph(9, 4, SEED).neighbors(order[0])) == {order[7], order[8], order[1], order[2]}


def test_another_seed_gives_another_ring() -> None:
    assert Graph(200, 20, SEED).neighbors(0) != Graph(200, 20, bytes(32)).neighbors(0)


@pytest.mark.parametrize(
    ("count", "degree"), [(1, 0), (5, 0), (5, 3), (5, 5), (6, 6), (8, 5), (8, -2), (8, 9), (9, 7)]
)
def test_a_degree_that_makes_no_ring_is_refused(count: int, degree: int) -> None:
    with pytest.raises(UnsafeParameters):
        Graph(count, degree, SEED)


@pytest.mark.parametrize("degree", [4, 9])
def test_a_slot_outside_the_cohort_has_no_neighbors(degree: int) -> None:
    for slot in (-1, 10):
        with pytest.raises(IndexError):
            Graph(10, degree, SEED).neighbors(slot)


# The permutation


def test_the_permutation_is_the_one_a_second_implementation_would_draw() -> None:
    key = HKDFExpand(SHA256(), 32, b"privacy/stream/1/keystream").derive(SEED)
    octets = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor().update(bytes(8 * 4999))
    items = np.arange(5000)
    for draw, last in enumerate(range(4999, 0, -1)):
        other = int.from_bytes(octets[8 * draw : 8 * draw + 8], "little") % (last + 1)
        items[[last, other]] = items[[other, last]]
    assert permutation(5000, SEED) == tuple(items)


def test_words_that_would_bias_the_draw_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """2^64 = 1 modulo 3, so one word is too many when three places are left."""

    def words(_: bytes) -> Iterator[int]:
        yield from (2**64 - 1, 0, 1)

    monkeypatch.setattr(graph, "_words", words)
    assert permutation(3, SEED) == (2, 1, 0)


def _fit_to_uniform(drawn: list[tuple[int, ...]]) -> float:
    counts = [drawn.count(order) for order in permutations(range(4))]
    return float(chisquare(counts).pvalue)


def test_all_permutations_are_equally_likely() -> None:
    """Chi-square at a false-alarm rate of 10^-6; the control swaps with any place, a common error."""

    def biased(seed: bytes) -> tuple[int, ...]:
        order = list(range(4))
        for place, word in enumerate(Stream(seed).words(4).tolist()):
            order[place], order[word % 4] = order[word % 4], order[place]
        return tuple(order)

    seeds = [number.to_bytes(32, "big") for number in range(4800)]
    assert _fit_to_uniform([permutation(4, seed) for seed in seeds]) > 1e-6
    assert _fit_to_uniform([biased(seed) for seed in seeds]) < 1e-6


# Nothing splits the ring


def _bits(slots: tuple[int, ...]) -> np.uint32:
    return np.uint32(sum(1 << slot for slot in slots))


def _has(masks: Masks, slot: int) -> NDArray[np.bool_]:
    return np.asarray(masks & np.uint32(1 << slot), bool)


def _fewest(drawn: Graph, members: Masks, included: Masks) -> NDArray[np.int64]:
    """For each set, the fewest neighbors in `included` of any of `members`; the degree if there is none."""
    fewest = np.full(members.shape, drawn.degree)
    for slot in range(drawn.count):
        counts = np.bitwise_count(included & _bits(drawn.neighbors(slot)))
        np.minimum(fewest, counts, out=fewest, where=_has(members, slot))
    return fewest


def _connected(drawn: Graph, members: Masks) -> NDArray[np.bool_]:
    """For each set, whether its members reach one another through members."""
    reached = members & (~members + np.uint32(1))
    while True:
        spread = reached.copy()
        for slot in range(drawn.count):
            spread[_has(reached, slot)] |= _bits(drawn.neighbors(slot))
        spread = (spread | reached) & members
        if np.array_equal(spread, reached):
            return np.asarray(reached == members)
        reached = spread


RINGS = [(count, degree) for count in range(4, 17) for degree in range(2, count - 1, 2)]


def test_no_choice_of_dropouts_splits_a_ring_of_up_to_16_sites() -> None:
    """All 2^n included sets of all rings. The control: at a threshold of k/2 many sets are split."""
    splits = {}
    for count, degree in RINGS:
        drawn, included = Graph(count, degree, SEED), np.arange(1 << count, dtype=np.uint32)
        fewest, connected = _fewest(drawn, included, included), _connected(drawn, included)
        assert connected[fewest > degree // 2].all()
        splits[count, degree] = int(np.count_nonzero(~connected[fewest >= degree // 2]))
    # Two arcs of k/2 + 1 sites, and two gaps of k/2 between them, need n >= 2k + 2.
    assert {ring for ring, found in splits.items() if found} == {(n, k) for n, k in RINGS if n >= 2 * k + 2}
    assert splits[16, 4] > 100


def _sides(count: int, degree: int) -> list[tuple[np.uint32, np.uint32]]:
    """By slot, the k/2 sites before it and those after it on the circle."""
    order, half = permutation(count, SEED), degree // 2
    sides = {}
    for place, slot in enumerate(order):
        before = tuple(order[place - step] for step in range(1, half + 1))
        after = tuple(order[(place + step) % count] for step in range(1, half + 1))
        assert sorted(before + after) == list(Graph(count, degree, SEED).neighbors(slot))
        sides[slot] = _bits(before), _bits(after)
    return [sides[slot] for slot in range(count)]


def _honest_and_colluding(count: int) -> tuple[Masks, Masks]:
    """Every way to have each site included and honest, included and colluding, or missing."""
    digits = np.arange(3**count)
    honest, colluding = np.zeros((2, 3**count), np.uint32)
    for slot in range(count):
        honest |= np.where(digits % 3 == 1, np.uint32(1 << slot), np.uint32(0))
        colluding |= np.where(digits % 3 == 2, np.uint32(1 << slot), np.uint32(0))
        digits //= 3
    return honest, colluding


@pytest.mark.parametrize("degree", [2, 4, 6, 8])
def test_colluders_among_the_included_do_not_split_the_honest_ones(degree: int) -> None:
    """All 3^10 cases, with h the most colluders on one side of an honest site; the control: t = k/2 + h."""
    drawn = Graph(10, degree, SEED)
    honest, colluding = _honest_and_colluding(10)
    most_colluding = np.zeros(honest.shape, np.int64)
    for slot, sides in enumerate(_sides(10, degree)):
        for side in sides:
            counts = np.bitwise_count(colluding & side)
            np.maximum(most_colluding, counts, out=most_colluding, where=_has(honest, slot))
    spare = _fewest(drawn, honest, honest | colluding) - degree // 2 - most_colluding
    connected = _connected(drawn, honest)
    assert connected[spare >= 1].all()
    assert np.count_nonzero(~connected[spare >= 0]) > 0


def test_a_semi_honest_threshold_lets_a_hostile_server_isolate_a_few_sites() -> None:
    """FCP's parameters for 100 sites and a curious server: two arcs of seven pass, and each opens alone."""
    degree, threshold = 28, 6
    assert fcp.find(100, 0.05, 0.33, False) == (degree, threshold)
    drawn, order = Graph(100, degree, SEED), permutation(100, SEED)
    one, other = set(order[:7]), set(order[21:28])
    assert drawn.fewest_neighbors(one | other) >= threshold
    assert not any(other.intersection(drawn.neighbors(slot)) for slot in one)
    ours = choose_ring(100, 5, 10)
    assert ours is not None
    assert Graph(100, ours.degree, SEED).fewest_neighbors(one | other) < ours.threshold


# Parameters

# n: (k, t) for (gamma, delta, sigma) as in the columns.
COLUMNS = [(0.05, 0.05, 40), (0.05, 0.10, 40), (0.05, 0.10, 64), (0.10, 0.10, 64)]
TABLE = {
    128: [(26, 20), (38, 26), (38, 26), (50, 38)],
    256: [(48, 37), (64, 45), (64, 45), (98, 75)],
    500: [(64, 49), (90, 64), (102, 74), (134, 102)],
    1000: [(74, 56), (102, 72), (124, 90), (164, 124)],
    5000: [(84, 63), (124, 87), (152, 110), (200, 150)],
    10000: [(88, 66), (128, 90), (156, 113), (208, 156)],
}
CASES = [(n, *column, *pair) for n, row in TABLE.items() for column, pair in zip(COLUMNS, row, strict=True)]


@pytest.mark.parametrize(("n", "gamma", "delta", "security", "degree", "threshold"), CASES)
def test_degrees_and_thresholds_are_those_computed_for_the_design(
    n: int, gamma: float, delta: float, security: int, degree: int, threshold: int
) -> None:
    colluders, dropouts = int(gamma * n), int(delta * n)
    assert choose_ring(n, colluders, dropouts, security) == Shape(degree, threshold)
    within_half = most(n - 1, colluders, degree // 2, n << security + 2)
    around = most(n - 1, colluders, degree, n << security + 2)
    assert threshold == max((degree + around) // 2 + 1, degree // 2 + within_half + 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(4, 90), st.data(), st.integers(0, 12))
def test_the_degree_is_the_smallest_that_satisfies_the_rule(
    n: int, data: st.DataObject, security: int
) -> None:
    """The rule as stated, tried at every even degree; probabilities from SciPy."""
    colluders, dropouts = data.draw(st.integers(0, n // 4)), data.draw(st.integers(0, n // 4))
    found = None
    for k in range(2, n - 1, 2):
        survivors = hypergeom(n - 1, n - 1 - dropouts, k)
        on_a_side = hypergeom(n - 1, colluders, k // 2)
        h = next(x for x in range(k) if on_a_side.sf(x) <= 2.0 ** -(security + 2) / n)
        if survivors.cdf(k // 2 + h) <= 2.0**-20 / n and k // 2 + h + 1 <= k:
            found = Shape(k, k // 2 + h + 1)
            break
    assert choose_ring(n, colluders, dropouts, security) == (None if 2 * dropouts + colluders >= n else found)


@settings(deadline=None)
@given(st.integers(1, 3000), st.data(), st.integers(1, 90))
def test_quantiles_agree_with_scipy(population: int, data: st.DataObject, bits: int) -> None:
    marked, drawn = data.draw(st.integers(0, population)), data.draw(st.integers(0, min(population, 300)))
    law, bound = hypergeom(population, marked, drawn), 2.0**-bits
    x = most(population, marked, drawn, 1 << bits)
    assume(x == 0 or abs(law.sf(x - 1) / bound - 1) > 1e-6)
    assert law.sf(x) <= bound * (1 + 1e-6)
    assert x == 0 or law.sf(x - 1) > bound


def test_a_quantile_on_the_boundary_is_decided_exactly() -> None:
    """P[X > 1] = 1/6 for two draws from two marked ones among four."""
    assert most(4, 2, 2, 6) == 1
    assert most(4, 2, 2, 7) == 2


@given(st.integers(COMPLETE_LIMIT + 1, 3000), st.data())
@settings(max_examples=30, deadline=None)
def test_a_ring_keeps_both_secrets_apart_and_lets_the_cohort_form_its_quorum(
    n: int, data: st.DataObject
) -> None:
    colluders, dropouts = data.draw(st.integers(0, n // 5)), data.draw(st.integers(0, n // 5))
    ring = choose_ring(n, colluders, dropouts)
    assume(ring is not None)
    assert ring is not None
    beside = most(n - 1, colluders, ring.degree // 2, n << 66)
    assert 2 * ring.threshold > ring.degree + 1 + 2 * beside
    assert ring.threshold <= ring.degree
    assert n - dropouts >= (n + colluders) // 2 + 1


def test_small_cohorts_and_those_too_fragile_for_a_ring_are_complete() -> None:
    assert choose_shape(100, 10, 10) == Shape(99, 56)
    assert choose_shape(COMPLETE_LIMIT, 6, 12) == Shape(127, 68)
    assert choose_shape(1000, 50, 100) == Shape(124, 90)
    assert choose_shape(1000, 50, 475) == Shape(999, 526)
    assert choose_shape(1000, 300, 340) == Shape(999, 651)


def test_a_ring_that_would_be_complete_is_none() -> None:
    assert choose_ring(5, 1, 0) is None
    assert choose_ring(7, 1, 0) == Shape(4, 4)


@pytest.mark.parametrize(("colluders", "dropouts"), [(-1, 0), (0, -1), (999, 0)])
def test_counts_that_describe_no_cohort_are_refused(colluders: int, dropouts: int) -> None:
    with pytest.raises(UnsafeParameters):
        choose_ring(1000, colluders, dropouts)


def test_parameters_for_ten_thousand_sites_take_less_than_a_second() -> None:
    with within(1):
        choose_ring.__wrapped__(10_000, 1_000, 1_000)


# The oracle is FCP's rule


@pytest.mark.parametrize("case", fcp.GOLDEN)
def test_the_oracle_reproduces_the_published_pairs(case: tuple[float, float, bool]) -> None:
    for exponent, pair in enumerate(fcp.GOLDEN[case], 1):
        assert pair is None or fcp.find(10**exponent, *case) == pair


def test_our_rule_never_asks_less_than_fcp_against_a_lying_server() -> None:
    for n in TABLE:
        theirs, ours = fcp.find(n, 0.05, 0.10, True), choose_ring(n, int(0.05 * n), int(0.10 * n), 40)
        assert theirs is not None
        assert ours is not None
        assert (ours.degree, ours.threshold) > theirs
        assert ours.threshold - ours.degree // 2 > 0
