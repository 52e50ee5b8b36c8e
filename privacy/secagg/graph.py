"""Who masks with whom: everyone with everyone, or, in a large cohort, each site with its neighbors on a ring.

**The argument for the ring has not been reviewed by a cryptographer outside this project.** Cohorts of up to
COMPLETE_LIMIT sites use the complete graph, which does not need it.

The ring follows Bell, Bonawitz, Gascon, Lepoint and Raykova (CCS 2020, "Secure single-server aggregation with
(poly)logarithmic overhead"): a public permutation places the n sites on a circle, and each masks, and shares
its secrets, with the k/2 sites on either side (a Harary graph, k even). Their rule for a curious server takes
dropouts to be random; here a hostile server picks them, among those that leave an included set in which

    each member has at least t included neighbors,    t = k/2 + h + 1.            (*)

`Graph.fewest_neighbors` checks (*) for the whole set. Let h bound the colluders among the k/2 sites on either
side of an honest site. Then, whatever else the server does:

 0. All honest members of a sum masked for one and the same set of sharers. A holder gives a share of a member's
    seed only beside the vote that came with that member's vector, for the sharers that the holder was shown, and
    a quorum votes for one set of sharers. Without that vote, a site that is told that its neighbors vanished masks
    with nobody, while the others agree on a sum with it (tests/adversary/test_ring_splits.py). In the complete
    graph nobody needs to be shown it: such a site would have been told of `required` sharers, none of them one of
    the q - c honest voters, and required + q - c > n.
 1. No part of the sum opens. If the honest members were not connected through one another, some k/2 places in
    a row would hold none of them: with shorter gaps each is a neighbor of the next. The honest member at the
    edge of that stretch then has at most h included neighbors on that side and k/2 on the other: against (*).
    So the pairwise masks of honest members cancel in their full sum only. More members only narrow gaps: this
    also holds for every set between a certified one and the sharers.
 2. No site's two secrets are both rebuilt. Honest holders of its shares, itself among them, reveal one kind
    and its at most 2h colluding neighbors both: k + 1 + 2h shares at most, and 2t = k + 2h + 2 are needed.

For a uniform permutation, drawn after the c colluders are fixed, they are Hyp(n - 1, c, k/2) on each side of
an honest site. h is the upper quantile of that law at 2^-(sigma + 2) / n, so that it holds for all 2n sides
except with probability 2^-(sigma + 1). What the seed is a digest of is partly the server's choice, so it can
draw 2^g permutations on its own machines and use the best: with sigma = 64, 2^40 draws leave it 2^-25.

Whether a round succeeds is a matter of chance as well: when d random sites vanish, each of the others lost
Hyp(n - 1, d, k) of its neighbors; with l the upper quantile at 2^-20 / n, the round fails with probability at
most 2^-20 as long as t <= k - l. Together: **h + l + 1 <= k/2**. All quantiles are computed in exact integers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import comb

import numpy as np

from privacy.errors import UnsafeParameters
from privacy.mechanism.noise import Stream

COMPLETE_LIMIT = 128  # sites: up to here every site masks with every other
_SECURITY_BITS = 64  # sigma
_FAILURE_BITS = 20  # an honest round aborts with probability below 2^-20
_BLOCK = 1024


@dataclass(frozen=True)
class Shape:
    """`degree`, the number k of each site's neighbors, and `threshold`, the number t of shares that rebuild."""

    degree: int
    threshold: int


def choose_shape(count: int, colluders: int, dropouts: int) -> Shape:
    """The shape for `count` sites: a ring above COMPLETE_LIMIT, if one stands so many dropouts, else complete.

    In the complete graph a site counts among the n holders of its shares, hence t = floor((n + c) / 2) + 1.
    """
    ring = choose_ring(count, colluders, dropouts) if count > COMPLETE_LIMIT else None
    return ring or Shape(count - 1, (count + colluders) // 2 + 1)


@lru_cache(maxsize=256)
def choose_ring(count: int, colluders: int, dropouts: int, security: int = _SECURITY_BITS) -> Shape | None:
    """The ring of the smallest degree below `count` - 1 that satisfies the rule, or None.

    No ring stands more dropouts than the quorum (n + c) / 2 of the cohort does. UnsafeParameters for
    counts that describe no cohort.
    """
    if not (0 <= colluders <= count - 2 and dropouts >= 0):
        raise UnsafeParameters(f"{colluders} colluders and {dropouts} dropouts in a cohort of {count} sites")
    if 2 * dropouts + colluders >= count:
        return None
    half = 1
    while 2 * half < count - 1:
        hostile = _most(count - 1, colluders, half, count << security + 2)
        lost = _most(count - 1, dropouts, 2 * half, count << _FAILURE_BITS)
        if hostile + lost < half:
            return Shape(2 * half, half + hostile + 1)
        # Both quantiles grow with the degree, so no half before this one can be large enough.
        half = hostile + lost + 1
    return None


def _most(population: int, marked: int, drawn: int, odds: int) -> int:
    """The least x with P[X > x] <= 1 / `odds`, X the number of marked ones among `drawn` of a population.

    Exact: the binomial coefficients of the tail are summed as integers, from the largest possible X down.
    """
    allowed = comb(population, drawn) // odds
    x = min(marked, drawn)
    ways = comb(marked, x) * comb(population - marked, drawn - x)
    tail = ways
    while x > 0 and tail <= allowed:
        ways = ways * x * (population - marked - drawn + x) // ((marked - x + 1) * (drawn - x + 1))
        x -= 1
        tail += ways
    return x


@dataclass(frozen=True)
class Graph:
    """The graph of a cohort: slots 0 to `count` - 1, each with `degree` neighbors.

    `degree` is even and below `count` - 1, or `count` - 1: the complete graph. `seed`, 32 public bytes that
    serve for nothing else, is a digest of all that must be fixed before the permutation is known.
    """

    count: int
    degree: int
    seed: bytes

    def __post_init__(self) -> None:
        is_ring = 2 <= self.degree < self.count - 1 and self.degree % 2 == 0
        if not (is_ring or 1 <= self.degree == self.count - 1):
            raise UnsafeParameters(f"no ring of {self.count} sites with {self.degree} neighbors each")

    def neighbors(self, slot: int) -> tuple[int, ...]:
        """The neighbors of a slot, ascending, without itself. Symmetric."""
        if not 0 <= slot < self.count:
            raise IndexError(f"slot {slot} in a cohort of {self.count}")
        if self.degree == self.count - 1:
            return tuple(other for other in range(self.count) if other != slot)
        place, half = self._places[slot], self.degree // 2
        offsets = (offset for offset in range(-half, half + 1) if offset)
        return tuple(sorted(self._order[(place + offset) % self.count] for offset in offsets))

    def fewest_neighbors(self, included: Collection[int]) -> int:
        """The smallest number of included neighbors of any of the `included` slots: condition (*). Linear time."""
        if not included:
            return 0
        if self.degree == self.count - 1:
            return len(set(included)) - 1
        half = self.degree // 2
        present = np.zeros(self.count, np.int64)
        present[[self._places[slot] for slot in included]] = 1
        around = np.concatenate([present[-half:], present, present[:half]])
        before = np.concatenate([[0], np.cumsum(around)])
        windows = before[self.degree + 1 :] - before[: self.count]
        return int(windows[present == 1].min()) - 1

    @cached_property
    def _order(self) -> tuple[int, ...]:
        """From place on the circle to slot."""
        return permutation(self.count, self.seed)

    @cached_property
    def _places(self) -> dict[int, int]:
        """From slot to place on the circle."""
        return {slot: place for place, slot in enumerate(self._order)}


def permutation(size: int, seed: bytes) -> tuple[int, ...]:
    """A permutation of 0 .. size - 1, uniform for a uniform 32-byte seed (Fisher and Yates; Durstenfeld 1964).

    From the last place to the second, each swaps its item with that at one of the places up to itself: the next
    word of the Stream modulo their number. Words above the largest multiple of that number are skipped.
    """
    words = _words(seed)
    order = list(range(size))
    for last in range(size - 1, 0, -1):
        choices = last + 1
        fair = (1 << 64) - (1 << 64) % choices
        other = next(word for word in words if word < fair) % choices
        order[last], order[other] = order[other], order[last]
    return tuple(order)


def _words(seed: bytes) -> Iterator[int]:
    stream = Stream(seed)
    while True:
        yield from stream.words(_BLOCK).tolist()
