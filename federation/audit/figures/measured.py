"""Whether published figures of numbers, counts or times follow from the sums beside them.

All sums are told, so every figure is made again, with or without a transcript: of everybody, whose sums follow from
those of the groups, and of each group.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from federation.audit.figures.counted import ROUNDING, alike, is_said
from federation.kinds.moments import Numbers, Times
from federation.report.figures.published import Measured, Measures
from federation.sums.measured.told import edges_of, of_block
from federation.sums.ratios import everybody


def wrong_with_measures(
    told: Any, headline: Mapping[str, Any], blocks: Numbers | Times, deviation: float
) -> str | None:
    """What shows that these are no figures of the plan's sums and noise; None where nothing does."""
    try:
        found = Measures.model_validate(told)
    except ValidationError:
        return "hold other figures than the plan publishes"
    groups = {table.name: set(table.parts) for table in blocks.groups}
    each = [found, *(one for parts in found.groups.values() for one in parts.values())]
    is_as_planned = (
        list(found.edges) == edges_of(blocks)
        and {name: set(parts) for name, parts in found.groups.items()} == groups
        and math.isclose(found.deviation, deviation, rel_tol=ROUNDING)
        and all(len(one.sums) == blocks.block and all(map(math.isfinite, one.sums)) for one in each)
    )
    if not is_as_planned:
        return "are of other sums, or noise, than the plan's"
    noise = found.deviation**2
    parts = [[found.groups[table.name][part].sums for part in table.parts] for table in blocks.groups]
    whole = list(everybody(parts)) if parts else list(found.sums)
    follow = alike(whole, list(found.sums)) and _follows(found, blocks, noise * blocks.shared)
    if not follow or not all(_follows(one, blocks, noise) for one in each[1:]):
        return "do not follow from the sums beside them"
    told_beside = dict(headline)
    if told_beside.pop("records", None) != found.records or any(
        one is not None for one in told_beside.values()
    ):
        return "say something else than the figures beside them"
    return None


def _follows(one: Measured, blocks: Numbers | Times, noise: float) -> bool:
    return is_said(Measured.model_validate(of_block(blocks, one.sums, noise)), one)
