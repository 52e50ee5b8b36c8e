"""What was seen of a mechanism, as plain numbers: sums from which every limit and the verdict follow again.

Lengths are in the unit of gradients. Nothing here is of anybody's data: canaries are made up.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

from privacy.canonical import Fields

_MOST = 10**10  # of any number in a file
_MOST_RELEASES, _MOST_GUESSES = 100_000, 2000


@dataclass(frozen=True)
class Places:
    """Which coordinate belongs to whom: `alone` canaries first, then `long` and `short`, then nobody's."""

    alone: int
    quiet: int
    copies: int

    @property
    def long(self) -> int:
        """The coordinate of many canaries that are clipped."""
        return self.alone

    @property
    def short(self) -> int:
        """The coordinate of many canaries that are not."""
        return self.alone + 1

    @property
    def dimension(self) -> int:
        """All of them."""
        return self.alone + 2 + self.quiet


@dataclass(frozen=True)
class Figures:
    """Sums over all releases of the `rounds` that were played, with the noise of `sites` sites in a sum.

    `quiet` values of noise have the sum of squares `squares`. `coins` were thrown for the canaries of `long`, and
    as many for those of `short`, each of which is `short_length` long. `rounding` is what the grid adds to a clip.
    Of `vectors` vectors of noise with `length` numbers each, `share` is the square of their sum over the sum of
    their squares and their number, and `likeness` the largest cosine of two, by magnitude. `follows`: a site sent
    nothing but what its noised steps make. `reach` is the farthest that one unit moved what is sent, by the plan's
    own model, on whose grid a vector is rounded by `reach_rounding` at most. `guesses`: of how many guesses about
    `canaries`, after `guessed_after` releases, how many were right.
    """

    rounds: int
    releases: int
    sites: int
    rounding: float
    quiet: int
    squares: float
    coins: int
    long: float
    short: float
    short_length: float
    vectors: int
    length: int
    share: float
    likeness: float
    follows: bool
    reach: float | None
    reach_rounding: float
    canaries: int
    guessed_after: int
    guesses: tuple[tuple[int, int], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Self:
        """The figures that `to_json` wrote. ValueError for any that cannot have been seen."""
        fields = Fields(data)
        known: dict[str, Any] = {name: fields.whole(name, least) for name, least in _COUNTS.items()}
        known |= {name: fields.number(name) for name in _NUMBERS}
        reach = fields.take("reach")
        if reach is not None:
            reach = Fields({"reach": reach}).number("reach")
        known |= {"follows": fields.flag("follows"), "reach": reach}
        found = cls(**known, guesses=tuple(map(_guess, fields.rows("guesses"))))
        fields.finish()
        _check(found)
        return found


_COUNTS = {"rounds": 1, "releases": 1, "sites": 1, "quiet": 1, "coins": 0, "vectors": 1, "length": 2,
           "canaries": 0, "guessed_after": 0}  # fmt: skip
_NUMBERS = ("rounding", "squares", "long", "short", "short_length", "share", "likeness", "reach_rounding")


def _guess(row: object) -> tuple[int, int]:
    if not isinstance(row, list | tuple) or len(row) != 2:
        raise ValueError("has guesses that are no pairs")
    pair = Fields({"of": row[0], "right": row[1]})
    return pair.whole("of", 1), pair.whole("right")


def _check(found: Figures) -> None:
    """ValueError where figures contradict each other, or would take an auditor for ever."""
    counts = [getattr(found, name) for name in _COUNTS]
    numbers = [getattr(found, name) for name in _NUMBERS] + [found.reach or 0.0]
    at_least = (found.rounding, found.squares, found.reach_rounding, found.reach or 0.0, found.share)
    sound = max(counts) <= _MOST and max(map(abs, numbers)) <= _MOST and min(at_least) >= 0
    sound = sound and found.short_length > 0 and found.share <= 1.001 and 0 <= found.likeness <= 1
    sound = sound and all(right <= of <= found.canaries <= _MOST_GUESSES for of, right in found.guesses)
    sound = sound and max(found.rounds, found.releases, found.vectors) <= _MOST_RELEASES
    sound = (
        sound and bool(found.guesses) <= found.guessed_after <= found.releases and len(found.guesses) <= 10
    )
    if not sound:
        raise ValueError("has figures that nobody can have seen")
