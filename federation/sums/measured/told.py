"""A published evaluation of what is no class: the figures of everybody and of each group.

The sums themselves are told, as they are: they are what was released. So every figure can be counted again from the
report alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from federation.kinds.moments import Numbers, Times
from federation.sums.measured.numbers import numbers
from federation.sums.measured.times import times
from federation.sums.ratios import Numbers as Sums
from federation.sums.ratios import by_group


def measured(blocks: Numbers | Times, released: Sequence[float], deviation: float) -> dict[str, Any]:
    """All figures of a release, whose noise has this standard deviation on each number."""
    told = by_group(blocks, released, deviation, partial(of_block, blocks))
    return {"deviation": deviation, "edges": edges_of(blocks), **told}


def of_block(blocks: Numbers | Times, sums: Sums, noise: float) -> dict[str, Any]:
    """What is told of one block, each number of which has noise of this variance."""
    found = numbers(blocks, sums, noise) if isinstance(blocks, Numbers) else times(blocks, sums, noise)
    return {**found, "sums": [float(one) for one in sums]}


def names_of(blocks: Numbers | Times) -> tuple[str, ...]:
    """The names of all figures."""
    return tuple(of_block(blocks, [0.0] * blocks.block, 1.0)["metrics"])


def edges_of(blocks: Numbers | Times) -> list[float]:
    """The ends of the bins of what is predicted, in its own unit; of times those of the scores."""
    if isinstance(blocks, Times):
        return [0.0, *blocks.edges, 1.0]
    inner = [blocks.middle + blocks.half * one for one in blocks.edges]
    return [blocks.low, *inner, blocks.high] if blocks.bins else []
