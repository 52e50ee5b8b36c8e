"""Plans that differ in a few numbers, beside each other: the noise that each needs and what is felt of it.

Nothing of any data is read, so to look at a thousand plans costs nothing, and to choose one of them by its budget
alone is free. (To choose by how well each of them trained is not.) While many are looked at, noise and epsilon are
proved bounds (`privacy.accounting.enough`); one alone, or all of them if that is asked, by the accountant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, Final

from federation.config.schema import validate
from federation.config.toml import Document, read
from federation.errors import FederationError, InputError
from federation.kinds.base import Kind
from federation.kinds.sums import ClippedUpdate
from federation.kinds.updates import NoisedSteps
from federation.plan.plan import Plan
from federation.round.excess import noise_excess, planned_cohort
from federation.round.groups import smallest_sum
from privacy.accounting.enough import Enough, Search, costs, exactly
from privacy.accounting.events import GaussianEvent
from privacy.accounting.pld import epsilon
from privacy.canonical import finite
from privacy.errors import PrivacyError, UnsafeParameters
from simulations.sweeping.axes import Axis, Value

PROVED: Final = "bound"
EXACT: Final = "accountant"


@dataclass(frozen=True)
class Figures:
    """What one plan of a sweep comes to. `by`: "accountant", or "bound" for what is proved to be enough.

    `noise_of_sum` is the standard deviation of the noise on a coordinate of a round's sum when nobody drops out,
    and `noise_of_mean` that on its mean, at a learning rate of 1; both as shares of the clipping norm, which is the
    most that one unit adds to the sum. The mean is over the records in a batch, which only `records` tells.
    """

    unit: str
    noise_multiplier: float
    epsilon: float | None
    delta: float
    by: str
    noise_excess: float
    noise_of_sum: float | None
    noise_of_mean: float | None


@dataclass(frozen=True)
class Point:
    """One plan: what was varied, then its figures, or why there is no such plan."""

    swept: Mapping[str, Value]
    figures: Figures | None
    refused: str | None
    is_wrong: bool = False  # refused as no plan at all, not for privacy

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        figures = None if self.figures is None else asdict(self.figures)
        return {"swept": dict(self.swept), "figures": figures, "refused": self.refused}


@dataclass(frozen=True)
class Sweep:
    """What was varied, and every plan."""

    axes: Sequence[Axis]
    points: tuple[Point, ...]

    def to_json(self) -> dict[str, Any]:
        """The content of `budget PLAN --sweep ... --json`."""
        swept = {axis.name: list(axis.values) for axis in self.axes}
        return {"sweep": swept, "points": [point.to_json() for point in self.points]}

    def require(self) -> None:
        """InputError if every point is refused as no plan, UnsafeParameters if every point is refused."""
        if any(point.refused is None for point in self.points):
            return
        told = f"--sweep: every point is refused, the first: {self.points[0].refused}"
        if all(point.is_wrong for point in self.points):
            raise InputError(told, hint="choose values that a plan can have")
        raise UnsafeParameters(told)


def sweep(
    path: Path,
    axes: Sequence[Axis],
    *,
    exact: bool = False,
    stage: Callable[[str, int, int], None] = lambda _what, _done, _total: None,
) -> Sweep:
    """Look at every plan. One that is refused is a point with a reason."""
    document, total = read(path), math.prod(len(axis.values) for axis in axes)
    find = _Found(exact=exact or total == 1)
    points = []
    for done, swept in enumerate(_combinations(axes)):
        stage("looking at plans", done, total)
        points.append(_point(document, swept, find))
    return Sweep(axes, tuple(points))


def _combinations(axes: Sequence[Axis]) -> Iterator[dict[str, Value]]:
    """The last axis varies fastest."""
    for values in product(*(axis.values for axis in axes)):
        yield dict(zip((axis.name for axis in axes), values, strict=True))


def _point(document: Document, swept: Mapping[str, Value], find: _Found) -> Point:
    try:
        return Point(swept, _figures(_varied(document, swept), swept, find), None)
    except (FederationError, PrivacyError) as error:
        return Point(swept, None, str(error), isinstance(error, InputError))


def _varied(document: Document, swept: Mapping[str, Value]) -> Plan:
    """The plan with these numbers in place of its own. Without a path, a mistake names a key and no line."""
    data: dict[str, Any] = deepcopy(dict(document.data))
    for name, value in swept.items():
        table, *rest = Axis(name, ()).key.path
        if not rest:
            continue
        entry = data.get(table)
        if isinstance(entry, dict):
            entry[rest[0]] = value
            if name == "sites" and isinstance(entry.get("size"), int):
                entry["size"] = value
    return validate(Plan, Document("", data))


def _figures(plan: Plan, swept: Mapping[str, Value], find: _Found) -> Figures:
    kind, privacy = plan.kind, plan.privacy
    if privacy.delta is None or privacy.epsilon is None:
        raise UnsafeParameters('privacy.noise = "none" has no budget: its epsilon is infinite')
    given, records = swept.get("noise_multiplier"), swept.get("records")
    if isinstance(records, int) and records < 1:
        raise InputError("records: must be at least 1", hint="sweep how many records a site has, from 1")
    if isinstance(given, float):
        found = find.costs(given, privacy.delta, kind.sample_rate, kind.releases)
    else:
        found = find.enough(privacy.epsilon, privacy.delta, kind.sample_rate, kind.releases)
    sites = smallest_sum(plan, planned_cohort(plan))
    excess = noise_excess(plan, sites)
    of_sum = _of_sum(kind, found.noise_multiplier, excess, sites)
    return Figures(
        unit=privacy.unit,
        noise_multiplier=found.noise_multiplier,
        epsilon=finite(found.epsilon),
        delta=privacy.delta,
        by=EXACT if found.is_exact else PROVED,
        noise_excess=excess,
        noise_of_sum=of_sum,
        noise_of_mean=_of_mean(plan, found.noise_multiplier, of_sum, sites, records),
    )


def _of_sum(kind: Kind, z: float, excess: float, sites: int) -> float | None:
    """None where noise is added to the steps of a site, and no sum of clipped vectors is made."""
    if isinstance(kind, NoisedSteps):
        return None
    return z * math.sqrt(sites) if kind.rules.privacy.noise == "site" else z * excess


def _of_mean(plan: Plan, z: float, of_sum: float | None, sites: int, records: Value | None) -> float | None:
    """None where it takes the number of records and nobody told it, or a site's own optimizer hides it."""
    kind, rate, groups = plan.kind, plan.training.sample_rate, plan.secure_aggregation.groups or 1
    if isinstance(kind, ClippedUpdate) and of_sum is not None:
        return of_sum / sites / math.sqrt(groups)
    if not isinstance(records, int) or not kind.knows_its_noise:
        return None
    if of_sum is None:
        return z * math.sqrt(plan.training.local_steps / (sites * groups)) / (rate * records)
    return of_sum / (rate * records * sites) / math.sqrt(groups)


class _Found:
    """Noise by epsilon, delta, rate and count. Plans that differ in their sites alone are looked at once."""

    def __init__(self, *, exact: bool) -> None:
        self._exact, search = exact, Search()
        self.enough = lru_cache(maxsize=None)(exactly if exact else search.enough)
        self.costs = lru_cache(maxsize=None)(self._costs)

    def _costs(self, z: float, delta: float, sample_rate: float, count: int) -> Enough:
        if not self._exact:
            return costs(z, delta, sample_rate, count)
        return Enough(z, epsilon([GaussianEvent(z, sample_rate, count)], delta), is_exact=True)
