"""Excess noise: a share of noise in parts, so that the parts a sum turned out not to need can be taken out of it.

Each site adds a share of the noise. The guarantee counts on the shares of the honest sites that are left when as
many sites as planned are lost: n sites, c colluders, at most D_L lost. Let sigma^2 be the variance that it needs.
With D sites lost, a share has to have the variance v(D) = sigma^2 / (n - c - D): more, the more are lost. A site
adds its share before it is known who is lost, so it has to add v(D_L). It does so in parts, for levels

    0 = D_0 < D_1 < ... < D_L:    v(0)   and   v(D_1) - v(0), ..., v(D_L) - v(D_(L-1)),

the first from a stream of its own, each other from a secret that the others can rebuild. A sum that lost D sites is
at the first level l with D <= D_l. The secrets of the parts above it are rebuilt, and the parts taken out. What is
left in the share of an honest site is v(D_l) >= v(D).

D counts the sites of the *cohort* that are not in the sum, whenever they were lost: one that never dealt its shares
adds no noise either. Nothing is taken out for colluders: whether there are any nobody knows.

Why what is left is as private as what is charged. A sum opened at level l holds at least n - c - D shares of honest
sites, each of independent parts of variance v(D_l) together. That more is not known of them is shown in
docs/protocol.md ("Excess noise"). Variances are whole numbers here, in units in which v(D_L) is VARIANCE: each
v(D_l) is rounded up, and the parts are the exact differences. So the parts that are left add up to at least
    (n - c - D) v(D_l) >= (n - c - D_l) VARIANCE (n - c - D_L) / (n - c - D_l) = sigma^2,
with nothing lost to rounding. Where the noise of a large model is 2^k times as wide, every variance here is 4^k
times what it says, sigma^2 with them. A sum of discrete Gaussians of unequal variances is one again, as shown in
`privacy.mechanism.gaussian`; more variance is less privacy loss. Taking out what everybody can compute from public
secrets is post-processing.

Example: 5 sites, 1 colluder, at most 1 lost. sigma^2 is 3 VARIANCE, and a share has parts of 3/4 and 1/4 of
VARIANCE. If nobody is lost, 5 x 3/4 = 3.75 VARIANCE stay in the sum instead of 5, in standard deviation
sqrt(3.75 / 3) = 1.12 times what epsilon needs instead of 1.29. The rest is for the colluder.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from privacy.errors import UnsafeParameters
from privacy.mechanism.noise import MIN_VARIANCE, VARIANCE, max_draw


@dataclass(frozen=True)
class Levels:
    """How many sites may be lost at each level, ascending, the last as many as may be lost at all.

    `honest` is n - c, the shares that nobody else knows if nobody is lost. One level is a share in one part.
    UnsafeParameters if a part would be too small, or no share would be left.
    """

    honest: int
    lost: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.lost or self.lost[0] < 0 or any(low >= high for low, high in pairwise(self.lost)):
            raise UnsafeParameters("the levels of excess noise are not ascending")
        if self.honest - self.lost[-1] < 1:
            hint = "fewer colluders or dropouts, or more sites"
            raise UnsafeParameters("noise needs at least one share", hint=hint)
        if min(self.parts) < MIN_VARIANCE:
            raise UnsafeParameters("a part of the noise is too small", hint="lower excess_levels")

    @property
    def shares(self) -> int:
        """How many whole shares the guarantee counts on."""
        return self.honest - self.lost[-1]

    @cached_property
    def left(self) -> tuple[int, ...]:
        """The variance of a share at each level, once all parts above it are taken out; the last is VARIANCE."""
        return tuple(-(-VARIANCE * self.shares // (self.honest - lost)) for lost in self.lost)

    @property
    def parts(self) -> tuple[int, ...]:
        """The variance of each part of a share; they add up to VARIANCE."""
        return self.left[0], *(high - low for low, high in pairwise(self.left))

    @property
    def secrets(self) -> int:
        """How many parts can be taken out."""
        return len(self.lost) - 1

    @property
    def max_draw(self) -> int:
        """The largest magnitude of a share, all of its parts in it, at the usual width."""
        return self.most()

    def most(self, width: int = 1) -> int:
        """The same of noise that is so many times as wide, each part of it (`privacy.mechanism.wide`)."""
        return sum(max_draw(width * width * part) for part in self.parts)

    def level(self, lost: int) -> int:
        """The level of a sum that lost so many sites of the cohort. UnsafeParameters for more than there may be."""
        if not 0 <= lost <= self.lost[-1]:
            raise UnsafeParameters(f"a sum that lost {lost} sites, {self.lost[-1]} may be lost")
        return bisect_left(self.lost, lost)


def levels_between(most: int, parts: int) -> tuple[int, ...]:
    """Levels for at most `most` lost sites, in at most `parts` even steps above zero; one level if `parts` is 0.

    >>> levels_between(1, 3), levels_between(20, 3), levels_between(20, 0)
    ((0, 1), (0, 7, 14, 20), (20,))
    """
    steps = min(most, parts)
    return (most,) if steps == 0 else tuple(-(-most * step // steps) for step in range(steps + 1))
