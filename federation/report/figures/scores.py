"""What stands beside exact metrics in a simulation: intervals, a confusion matrix, calibration, groups, energy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from federation.report.parts import AnyList, Number, Part, Ranged

Intervals = Mapping[str, Annotated[tuple[Number, Number], AnyList] | None]
"""By metric, its 95 % interval; None where it has none."""
Confusion = Annotated[tuple[Annotated[tuple[int, ...], AnyList], ...], AnyList]


class Band(Part):
    """Some records next to each other by score: how many, their mean score, the share of positives among them."""

    n: int
    predicted: Number
    observed: Number
    low: Number
    high: Number


class Calibration(Part):
    """Calibration-in-the-large and the curve: what scores claim, and what was so."""

    predicted: Number
    observed: Number
    bands: Annotated[tuple[Band, ...], AnyList]


class Clipped(Part):
    """The share of training records (or patients) whose gradient is longer than the clipping norm.

    `first`: at the params that round 1 starts from; `last`: at those of the model. Of `units` that were looked at.
    """

    first: Number
    last: Number
    units: int


class GroupFigures(Part):
    """Held-out records of one value of a column, exactly; all None where they are too few to be told.

    `positives` is None, too, where no class is predicted.
    """

    n: int | None
    positives: int | None
    metrics: Mapping[str, Ranged | None]


class Than(Part):
    """What a site gains by the model of the run over its own: above 0 where the run's is better.

    `low` and `high`: by chance of the records on which both are tried. None where it is not known.
    """

    gain: Number
    low: Number
    high: Number

    @property
    def is_worse(self) -> bool:
        """Whether the site does worse with the others than alone, as far as its records can tell."""
        return self.high is not None and self.high < 0


class BesideAlone(Part):
    """Every site's gain in one metric, in intervals that all hold together in 95 of 100 cases."""

    metric: str
    sites: Mapping[str, Than]

    @property
    def worse(self) -> list[str]:
        """The sites that do worse than alone."""
        return [name for name, one in self.sites.items() if one.is_worse]


class Energy(Part):
    """What the computing took: CPU seconds of all processes, joules of the processor where it counts them.

    `sites` apportions `cpu_seconds`. `method` says how each was come by.
    """

    cpu_seconds: Number
    joules: Number
    sites: Mapping[str, Number]
    method: str
