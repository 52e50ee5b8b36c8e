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
from itertools import accumulate, chain, combinations, islice
from math import prod

PRIME = 2**256 + 297
_SECRET_BYTES = 32
SHARE_BYTES = 33

_COEFFICIENT_BYTES = 48
_MAX_SUBSETS = 1_000


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


def rebuild(shares: Mapping[int, int]) -> bytes | None:
    """The secret at 0 of the polynomial through all these shares; None if it is not of 32 bytes.

    Lagrange coefficients depend on the slots only and are kept, so that a cohort's secrets cost one inner
    product each.
    """
    value = _interpolate(shares, 0)
    return value.to_bytes(_SECRET_BYTES, "big") if value < 1 << 8 * _SECRET_BYTES else None


def rebuild_checked(
    shares: Mapping[int, int], threshold: int, is_right: Callable[[bytes], bool]
) -> tuple[bytes, frozenset[int]] | None:
    """The secret that passes the check, and the slots with shares that do not fit it; None if no secret passes.

    The secret is right whenever the check binds it. The slots are evidence, not proof: one wrong share is always
    found, but holders who conspire can alter theirs so that the secret stays and an honest share looks wrong.
    With m shares, m - threshold wrong ones are survived. All shares are tried together first, which one wrong
    share is enough to spoil; then subsets, in an order that leaves out each neighborhood of slots early, and only
    so many of them: a dishonest site must not choose our work.
    """
    for subset in islice(_subsets(sorted(shares), threshold), _MAX_SUBSETS):
        chosen = {slot: shares[slot] for slot in subset}
        secret = rebuild(chosen)
        if secret is not None and is_right(secret):
            others = shares.keys() - chosen.keys()
            return secret, frozenset(at for at in others if _interpolate(chosen, at + 1) != shares[at])
    return None


def _subsets(slots: Sequence[int], size: int) -> Iterable[tuple[int, ...]]:
    if len(slots) < size:
        return iter(())
    twice = [*slots, *slots]
    windows = (tuple(sorted(twice[start : start + size])) for start in range(len(slots)))
    return chain([tuple(slots)], windows, combinations(slots, size))


def _evaluate(coefficients: Sequence[int], at: int) -> int:
    """Horner's rule, highest coefficient first. `at` is small: reducing once is faster than at each step."""
    value = 0
    for coefficient in coefficients:
        value = value * at + coefficient
    return value % PRIME


def _interpolate(shares: Mapping[int, int], at: int) -> int:
    slots = tuple(sorted(shares))
    weights = _lagrange(slots, at)
    return sum(weight * shares[slot] for weight, slot in zip(weights, slots, strict=True)) % PRIME


@lru_cache(maxsize=1024)
def _lagrange(slots: tuple[int, ...], at: int) -> tuple[int, ...]:
    """The weights that give the polynomial's value at another point from those at slot + 1. Public numbers."""
    points = [slot + 1 for slot in slots]
    above = prod(at - point for point in points)
    below = [(at - point) * prod(point - other or 1 for other in points) % PRIME for point in points]
    return tuple(above * inverse % PRIME for inverse in _inverses(below))


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
