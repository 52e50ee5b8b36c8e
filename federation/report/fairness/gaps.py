"""Gaps between groups, from the figures of each group and their intervals: exact ones, or the published.

A gap is a group's figure less that of the first listed value of its column, which the plan names and not the data.
Groups share no record, so their errors are independent, and the interval of a difference is Newcombe's (1998): from
each figure to the end of its own interval, in squares. Where noise is in a group's interval it is in the gap's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from federation.report.parts import Ranged

NAMES: Final[Mapping[str, tuple[str, bool]]] = {
    "recall": ("true positive rate", False),
    "specificity": ("false positive rate", True),
    "calibration": ("mean score less share of positives", False),
    "bias": ("mean error", False),
    "mae": ("mean size of the error", False),
    "c_index": ("C-index", False),
}
"""What is compared, and whether it is one less the figure."""
NO_VERDICT = (
    "A gap is a difference, and no verdict: which gaps matter, and whether a model may be used, is for people to "
    "say. An interval that holds 0 does not say that there is no gap. Of twenty such intervals about one misses."
)


@dataclass(frozen=True)
class Gap:
    """One group's figure less that of the group that comes first in its column; None where either is hidden."""

    column: str
    part: str
    beside: str
    what: str
    found: Ranged | None


Figures = Mapping[str, Ranged | None]


def gaps(groups: Mapping[str, Mapping[str, Figures]]) -> Iterator[Gap]:
    """The gaps of each column, whose groups have these figures."""
    for column, parts in groups.items():
        names = list(parts)
        for part in names[1:]:
            for metric, (what, is_turned) in NAMES.items():
                if any(metric in figures for figures in parts.values()):
                    one, other = parts[part].get(metric), parts[names[0]].get(metric)
                    found = less(other, one) if is_turned else less(one, other)
                    yield Gap(column, part, names[0], what, found)


def less(one: Ranged | None, other: Ranged | None) -> Ranged | None:
    """The difference of two independent figures; None where either, or its interval, is not known."""
    ends = [None if of is None else _ends(of) for of in (one, other)]
    if ends[0] is None or ends[1] is None:
        return None
    (value, low, high), (their, below, above) = ends[0], ends[1]
    gap = value - their
    return Ranged(
        value=gap,
        low=gap - math.hypot(value - low, above - their),
        high=gap + math.hypot(high - value, their - below),
    )


def _ends(of: Ranged) -> tuple[float, float, float] | None:
    if of.value is None or of.low is None or of.high is None:
        return None
    return of.value, of.low, of.high
