"""privacy.secagg.shamir: any t shares rebuild, fewer say nothing, wrong ones are found."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.secagg.shamir import PRIME, rebuild, rebuild_checked, split
from privacy.secagg.shamir import _interpolate as interpolate
from tests.privacy.secagg.rounds import entropy

SECRETS = st.binary(min_size=32, max_size=32)


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
        assert rebuild({slot: shares[slot] for slot in subset}) == secret


@given(SECRETS, SECRETS, st.integers(2, 6))
def test_one_share_too_few_fits_any_other_secret_as_well(one: bytes, other: bytes, threshold: int) -> None:
    """For any secret there is exactly one polynomial through t - 1 given shares: they exclude nothing."""
    shares = split(one, threshold, range(threshold - 1), entropy("few"))
    through = {**shares, -1: int.from_bytes(other, "big")}  # slot -1 is the point 0
    forged = shares | {slot: interpolate(through, slot + 1) for slot in range(threshold - 1, threshold + 3)}
    for subset in combinations(forged, threshold):
        assert rebuild({slot: forged[slot] for slot in subset}) == other


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


@settings(max_examples=30)
@given(SECRETS, st.data())
def test_wrong_shares_are_survived_and_named_while_enough_good_ones_remain(
    secret: bytes, data: st.DataObject
) -> None:
    threshold, count = data.draw(st.sampled_from([(3, 5), (4, 5), (4, 7), (5, 9)]))
    bad = data.draw(st.sets(st.integers(0, count - 1), max_size=count - threshold))
    altered = _altered(split(secret, threshold, range(count), entropy("wrong")), bad)
    assert rebuild_checked(altered, threshold, secret.__eq__) == (secret, frozenset(bad))


def test_too_many_wrong_shares_rebuild_nothing() -> None:
    secret = bytes(32)
    altered = _altered(split(secret, 4, range(5), entropy("too many")), {0, 1})
    assert rebuild_checked(altered, 4, secret.__eq__) is None
    assert rebuild_checked({0: altered[0]}, 4, secret.__eq__) is None


def test_holders_who_conspire_can_shift_the_blame_but_not_the_secret() -> None:
    """What the docstring warns of: equal changes at slots 0 and 1 cancel at 0 for one set with slot 2."""
    secret = bytes(32)
    shares = split(secret, 3, range(5), entropy("conspire"))
    altered = {slot: (share + (slot < 2)) % PRIME for slot, share in shares.items()}
    rebuilt = rebuild_checked(altered, 3, secret.__eq__)
    assert rebuilt is not None
    assert rebuilt[0] == secret
    assert rebuilt[1] != {0, 1}


def test_a_value_of_more_than_32_bytes_is_no_secret() -> None:
    assert rebuild({0: 2**256}) is None


def test_shares_of_one_secret_differ_from_dealing_to_dealing() -> None:
    source = entropy("fresh")
    assert split(bytes(32), 2, range(3), source) != split(bytes(32), 2, range(3), source)


def test_a_secret_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        split(bytes(31), 2, range(3), entropy("length"))
