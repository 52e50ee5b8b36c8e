"""privacy.secagg.shamir: any t shares rebuild, fewer say nothing, and what is not of one polynomial is seen."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from itertools import combinations
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.secagg.shamir import PRIME, rebuild, split
from tests.privacy.secagg.rounds import entropy

SECRETS = st.binary(min_size=32, max_size=32)


def interpolate(points: Mapping[int, int], at: int) -> int:
    """The value at a point of the polynomial through shares, by slot: Lagrange's formula as it is written."""
    total = 0
    for slot, share in points.items():
        others = [other for other in points if other != slot]
        above, below = prod(at - other - 1 for other in others), prod(slot - other for other in others)
        total += share * above * pow(below, -1, PRIME)
    return total % PRIME


def test_the_modulus_is_prime_and_the_smallest_above_every_secret() -> None:
    """Miller-Rabin to 40 bases; a composite passes with probability below 4^-40."""

    def is_probable_prime(number: int) -> bool:
        odd, twos = number - 1, 0
        while odd % 2 == 0:
            odd, twos = odd // 2, twos + 1
        for base in range(2, 42):
            power = pow(base, odd, number)
            if power in (1, number - 1):
                continue
            if not any((power := power * power % number) == number - 1 for _ in range(twos - 1)):
                return False
        return True

    assert is_probable_prime(PRIME)
    assert not any(is_probable_prime(number) for number in range(2**256 + 1, PRIME, 2))


@given(SECRETS, st.integers(1, 6), st.data())
def test_every_subset_of_threshold_shares_rebuilds_the_secret(
    secret: bytes, threshold: int, data: st.DataObject
) -> None:
    slots = data.draw(st.sets(st.integers(0, 2**16 - 2), min_size=threshold, max_size=threshold + 2))
    shares = split(secret, threshold, slots, entropy("split"))
    for subset in combinations(sorted(slots), threshold):
        assert rebuild({slot: shares[slot] for slot in subset}, threshold) == secret
    assert rebuild(shares, threshold) == secret
    assert rebuild(shares, len(slots) + 1) is None


@given(SECRETS, SECRETS, st.integers(2, 6))
def test_one_share_too_few_fits_any_other_secret_as_well(one: bytes, other: bytes, threshold: int) -> None:
    """For any secret there is exactly one polynomial through t - 1 given shares: they exclude nothing."""
    shares = split(one, threshold, range(threshold - 1), entropy("few"))
    through = {**shares, -1: int.from_bytes(other, "big")}  # slot -1 is the point 0
    forged = shares | {slot: interpolate(through, slot + 1) for slot in range(threshold - 1, threshold + 3)}
    for subset in combinations(forged, threshold):
        assert rebuild({slot: forged[slot] for slot in subset}, threshold) == other


@given(SECRETS, st.integers(2, 5))
def test_interpolation_agrees_with_rational_arithmetic(secret: bytes, threshold: int) -> None:
    shares = split(secret, threshold, range(threshold), entropy("rational"))
    total = Fraction(0)
    for slot, share in shares.items():
        term = Fraction(share)
        for other in shares:
            if other != slot:
                term *= Fraction(-(other + 1), slot - other)
        total += term
    value = total.numerator * pow(total.denominator, -1, PRIME) % PRIME
    assert value == int.from_bytes(secret, "big")


def _altered(shares: dict[int, int], bad: set[int]) -> dict[int, int]:
    """Shares changed by unrelated amounts: their holders do not conspire."""
    amounts = split(bytes([7]) * 32, 2, shares, entropy("amounts"))
    return {slot: (share + (slot in bad) * amounts[slot] ** 3) % PRIME for slot, share in shares.items()}


@settings(max_examples=60)
@given(SECRETS, st.data())
def test_shares_that_are_not_of_one_polynomial_rebuild_nothing(secret: bytes, data: st.DataObject) -> None:
    """With one share more than the threshold any alteration is seen, but one that is of another polynomial."""
    threshold, count = data.draw(st.sampled_from([(1, 2), (3, 5), (4, 5), (4, 7), (5, 9)]))
    shares = split(secret, threshold, range(count), entropy("wrong"))
    bad = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=count - threshold))
    assert rebuild(_altered(shares, bad), threshold) is None
    assert rebuild(shares, threshold) == secret


@given(SECRETS, st.integers(2, 5), st.integers(1, 4))
def test_a_polynomial_of_a_higher_degree_is_seen(secret: bytes, threshold: int, more: int) -> None:
    """What a dealer could deal so that no two holders' shares agree on the secret."""
    shares = split(secret, threshold + 1, range(threshold + more), entropy("degree"))
    assert rebuild(shares, threshold) is None
    assert rebuild(dict(list(shares.items())[:threshold]), threshold) != secret


def test_holders_who_alter_their_shares_alike_rebuild_nothing() -> None:
    shares = split(bytes(32), 3, range(5), entropy("conspire"))
    altered = {slot: (share + (slot < 2)) % PRIME for slot, share in shares.items()}
    assert rebuild(altered, 3) is None


def test_a_value_of_more_than_32_bytes_is_no_secret() -> None:
    assert rebuild({0: 2**256}, 1) is None


def test_shares_of_one_secret_differ_from_dealing_to_dealing() -> None:
    source = entropy("fresh")
    assert split(bytes(32), 2, range(3), source) != split(bytes(32), 2, range(3), source)


def test_a_secret_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        split(bytes(31), 2, range(3), entropy("length"))
