"""What report.json tells of groups and of sites beside their own models: exact, so of a simulation only."""

from __future__ import annotations

from collections.abc import Mapping

from federation.report.parts import Number, Part, Ranged


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
