"""privacy.secagg.parameters: thresholds that are safe, and refusals where none is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import UnsafeParameters
from privacy.secagg.graph import COMPLETE_LIMIT
from privacy.secagg.parameters import Parameters


def _choose(n: int, colluders: int = 1, dropouts: int = 999, bits: int = 20, length: int = 1) -> Parameters:
    names = [f"{slot:04d}" for slot in range(n)]
    return Parameters.choose(names, colluders=colluders, dropouts=dropouts, ring_bits=bits, length=length)


# (n, c, t, dropouts that can be survived), worked by hand from t = floor((n + c) / 2) + 1.
TABLE = [
    (3, 0, 2, 0),
    (3, 1, 3, 0),
    (4, 1, 3, 1),
    (5, 1, 4, 1),
    (8, 2, 6, 2),
    (10, 2, 7, 3),
    (20, 2, 12, 8),
    (100, 33, 67, 33),
]


@pytest.mark.parametrize(("n", "c", "threshold", "tolerated"), TABLE)
def test_thresholds_are_those_worked_by_hand(n: int, c: int, threshold: int, tolerated: int) -> None:
    chosen = _choose(n, c)
    assert (chosen.threshold, chosen.tolerated, chosen.required) == (threshold, tolerated, n - tolerated)


def test_no_split_of_honest_holders_and_no_double_dealing_rebuilds_both_secrets_of_a_site() -> None:
    for n in range(3, 40):
        for c in range(n - 1):
            threshold = _choose(n, c).threshold
            for seed_holders in range(n - c + 1):
                key_holders = n - c - seed_holders
                assert not (seed_holders + c >= threshold and key_holders + c >= threshold)


def test_one_share_fewer_would_let_both_secrets_be_rebuilt() -> None:
    """The failing control of the test above: t - 1 is too small for some split."""
    for n, c in [(4, 0), (5, 1), (8, 2), (10, 2), (100, 10)]:
        lower = _choose(n, c).threshold - 1
        assert any(a + c >= lower and n - c - a + c >= lower for a in range(n - c + 1))


@given(st.integers(3, 128), st.data())
def test_every_sum_holds_two_honest_inputs_and_can_be_opened(n: int, data: st.DataObject) -> None:
    c = data.draw(st.integers(0, n - 2))
    chosen = _choose(n, c, data.draw(st.integers(0, n)))
    assert chosen.threshold <= chosen.required <= n
    assert chosen.required - c >= 2
    assert chosen.required >= 3


def test_members_are_sorted_and_slots_follow() -> None:
    chosen = Parameters.choose(["b", "c", "a"], colluders=1, dropouts=0, ring_bits=20, length=1)
    assert chosen.members == ("a", "b", "c")
    assert chosen.slots == {"a": 0, "b": 1, "c": 2}


@pytest.mark.parametrize("dropouts", [0, 1, 5])
def test_of_two_sites_both_are_needed_at_every_step(dropouts: int) -> None:
    chosen = Parameters.choose("ab", colluders=0, dropouts=dropouts, ring_bits=20, length=1)
    assert (chosen.threshold, chosen.quorum, chosen.tolerated, chosen.required) == (2, 2, 0, 2)


@pytest.mark.parametrize(
    ("n", "colluders", "dropouts", "bits", "length"),
    [
        (1, 0, 0, 20, 1),
        (2, 1, 0, 20, 1),
        (0, 0, 0, 20, 1),
        (3, 2, 0, 20, 1),
        (5, -1, 0, 20, 1),
        (5, 1, -1, 20, 1),
        (5, 1, 1, 0, 1),
        (5, 1, 1, 63, 1),
        (5, 1, 1, 20, 0),
    ],
)
def test_unsafe_values_are_refused(n: int, colluders: int, dropouts: int, bits: int, length: int) -> None:
    with pytest.raises(UnsafeParameters):
        _choose(n, colluders, dropouts, bits, length)


def test_repeated_or_unsorted_members_are_refused() -> None:
    for members in (("a", "a", "b"), ("b", "a", "c")):
        with pytest.raises(UnsafeParameters, match="distinct"):
            Parameters(members, 0, 0, 20, 1)


def test_canonical_bytes_tell_all_fields_apart() -> None:
    variants = [
        _choose(5),
        _choose(6),
        _choose(5, 2),
        _choose(5, 1, 1),
        _choose(5, bits=21),
        _choose(5, length=2),
    ]
    variants.append(Parameters.choose("abcde", colluders=1, dropouts=999, ring_bits=20, length=1))
    assert len({variant.to_bytes() for variant in variants}) == len(variants)


def test_a_quorum_of_votes_for_one_set_leaves_none_for_another() -> None:
    for n in range(3, 40):
        for c in range(n - 1):
            quorum = _choose(n, c).quorum
            assert 2 * quorum > n + c
            assert 2 * (quorum - 1) <= n + c  # the control: one vote fewer and colluders could vote for both


def test_everyone_is_a_neighbor_up_to_128_sites_and_few_are_above() -> None:
    small, large = _choose(128, 3, 6), _choose(129, 3, 6)
    assert small.graph(bytes(32)).neighbors(5) == tuple(slot for slot in range(128) if slot != 5)
    assert (small.shape.degree, small.fewest_neighbors) == (127, 0)
    assert small.threshold == small.quorum
    assert large.shape.degree < 128
    assert large.fewest_neighbors == large.threshold > large.shape.degree // 2
    assert len(large.graph(bytes(32)).neighbors(5)) == large.shape.degree
    assert large.graph(bytes(32)).neighbors(5) != large.graph(b"other".ljust(32)).neighbors(5)


def test_in_the_complete_graph_whoever_is_shown_other_sharers_has_a_mask_with_an_honest_voter() -> None:
    """So no certificate needs to show that each site of a sum masked for its sharers. On a ring it does."""
    for n in range(3, COMPLETE_LIMIT + 1):
        for c in range(n - 1):
            for d in (0, 1, n):
                rules = _choose(n, c, d)
                assert not rules.is_ring
                assert rules.required + rules.quorum - c > n


def test_a_packed_vector_is_no_longer_than_its_digest_can_say() -> None:
    assert _choose(4, bits=28, length=10**9).length == 10**9
    with pytest.raises(UnsafeParameters, match="2\\^32 bytes"):
        _choose(4, bits=32, length=2**30)
