"""Shamir's secret sharing of 32-byte secrets, over the integers modulo the prime 2^256 + 297.

A secret is the value at 0 of a random polynomial of degree t - 1, a share is its value at slot + 1. Any t
shares determine it by Lagrange interpolation; t - 1 shares fit every secret equally well (Shamir, CACM 1979).
The prime is the smallest above 2^256, so that every 32-byte secret fits. See docs/protocol.md, section 4.

Python integers are not constant-time. The secrets live for one round and never leave the machine unsealed; an
adversary who can time the arithmetic of a site's own process is outside the threat model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from math import prod

PRIME = 2**256 + 297
_SECRET_BYTES = 32
SHARE_BYTES = 33

_COEFFICIENT_BYTES = 48


def split(
    secret: bytes, threshold: int, slots: Iterable[int], entropy: Callable[[int], bytes]
) -> dict[int, int]:
    """One share per slot, of which any `threshold` rebuild the secret.

    Coefficients are 384 random bits reduced modulo the prime: within 2^-127 of uniform in statistical
    distance.
    """
    drawn = entropy(_COEFFICIENT_BYTES * (threshold - 1))
    coefficients = [
        int.from_bytes(drawn[at : at + _COEFFICIENT_BYTES], "big") % PRIME
        for at in range(0, len(drawn), _COEFFICIENT_BYTES)
    ]
    coefficients.append(_to_integer(secret))
    return {slot: _evaluate(coefficients, slot + 1) for slot in slots}


def rebuild(shares: Mapping[int, int], threshold: int) -> bytes | None:
    """The secret that all these shares are of; None if they are not of one polynomial of degree threshold - 1.

    Values y at m points p are those of a polynomial of degree below t if and only if, for each k < m - t, the sum
    of y p^k / (the product of p's differences from the other points) is zero: interpolation through all points has
    these sums as its leading coefficients. What depends on the slots only is kept, so that a cohort's secrets cost
    a few inner products each.
    """
    slots = tuple(sorted(shares))
    if len(slots) < threshold:
        return None
    leading, at_zero = _weights(slots)
    terms = [weight * shares[slot] for weight, slot in zip(leading, slots, strict=True)]
    for _ in range(len(slots) - threshold):
        if sum(terms) % PRIME:
            return None
        terms = [term * (slot + 1) % PRIME for term, slot in zip(terms, slots, strict=True)]
    value = sum(weight * shares[slot] for weight, slot in zip(at_zero, slots, strict=True)) % PRIME
    return value.to_bytes(_SECRET_BYTES, "big") if value < 1 << 8 * _SECRET_BYTES else None


def _evaluate(coefficients: Sequence[int], at: int) -> int:
    """Horner's rule, highest coefficient first. `at` is small: reducing once is faster than at each step."""
    value = 0
    for coefficient in coefficients:
        value = value * at + coefficient
    return value % PRIME


@lru_cache(maxsize=256)
def _weights(slots: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """By slot, its weight in the leading coefficient and in the value at 0. Public numbers."""
    points = [slot + 1 for slot in slots]
    differences = [prod(point - other or 1 for other in points) % PRIME for point in points]
    leading = _inverses(differences)
    above = prod(-point for point in points) % PRIME
    at_zero = (
        above * weight * inverse % PRIME
        for weight, inverse in zip(leading, _inverses([-point for point in points]), strict=True)
    )
    return tuple(leading), tuple(at_zero)


def _inverses(values: Sequence[int]) -> list[int]:
    """Modulo the prime, all for the price of one (Montgomery 1987): from the product of all, back to front."""
    products = list(accumulate(values, lambda product, value: product * value % PRIME, initial=1))
    inverse = pow(products.pop(), -1, PRIME)
    inverses = []
    for value, before in zip(reversed(values), reversed(products), strict=True):
        inverses.append(inverse * before % PRIME)
        inverse = inverse * value % PRIME
    return inverses[::-1]


def _to_integer(secret: bytes) -> int:
    if len(secret) != _SECRET_BYTES:
        raise ValueError(f"a shared secret has {_SECRET_BYTES} bytes")
    return int.from_bytes(secret, "big")
