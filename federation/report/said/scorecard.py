"""A points table, as banks file it: a score is the base points and the points of each attribute, added up.

    factor = points to double the odds / ln 2
    score  = base score - factor * (log-odds of the second class + ln(base odds))

so that `base score` stands where the first class is `base odds` times as likely as the second, and a score that is
higher by "points to double the odds" says twice these odds. A curve of the model, which adds to the log-odds, is
worth minus factor times as many points. Of a number the model goes along a straight line between two points of the
table, on the feature's scale; so do its points, and no bin hides a step that the model does not have.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from itertools import pairwise

from federation.errors import PlanError, UnusableFile
from federation.plan.columns.dates import Date
from federation.plan.columns.features import Feature, Numeric
from federation.report.said.model import Said

HEADER = ("attribute", "from", "to", "points_from", "points_to", "scale")


@dataclass(frozen=True)
class Scaling:
    """`base_score` points where the first class is `base_odds` times as likely; `doubling` points double that."""

    base_score: float = 600.0
    base_odds: float = 50.0
    doubling: float = 20.0

    def __post_init__(self) -> None:
        """Numbers that a score can be made of."""
        sound = all(map(math.isfinite, (self.base_score, self.base_odds, self.doubling)))
        if not sound or self.base_odds <= 0 or self.doubling <= 0:
            raise UnusableFile("base odds, and points to double them, must be above 0", hint="such as 50, 20")

    @property
    def factor(self) -> float:
        """Points of one unit of log-odds."""
        return self.doubling / math.log(2)

    @property
    def offset(self) -> float:
        """Points where both classes are as likely."""
        return self.base_score - self.factor * math.log(self.base_odds)

    def score(self, log_odds: float) -> float:
        """The score of a record with these log-odds of the second class."""
        return self.offset - self.factor * log_odds


@dataclass(frozen=True)
class Line:
    """Points of an attribute: of a value, or from one number to the next, in a line on the feature's scale."""

    attribute: str
    start: str
    end: str
    points: tuple[float, float]
    scale: str


def lines(told: Said, features: tuple[Feature, ...], scaling: Scaling, decimals: int) -> list[Line]:
    """The table; PlanError for a model that has none: of more classes, or with crosses."""
    if len(told.outcomes) != 1:
        raise PlanError("a points table has one score, and the plan more than two classes", hint="use --json")
    if told.surfaces:
        raise PlanError("a cross has no points by one attribute", hint="read its table in --json")
    scales = {one.name: one.scale or "linear" for one in features if isinstance(one, Numeric)}
    dates = [one.name for one in features if isinstance(one, Date)]
    base = round(scaling.score(told.intercepts[told.outcomes[0]]), decimals)
    found = [Line("base points", "", "", (base, base), "")]
    for curve in told.curves:
        scale = scales.get(curve.feature, "linear" if curve.feature.rsplit(" (", 1)[0] in dates else "")
        points = [round(-scaling.factor * effect, decimals) + 0.0 for effect in curve.effect]
        numbers = [at for at, place in enumerate(curve.at) if place is not None]
        for one, after in pairwise(numbers):
            ends = (points[one], points[after])
            found.append(Line(curve.feature, curve.labels[one], curve.labels[after], ends, scale))
        for at, place in enumerate(curve.at):
            if place is None:
                label = curve.labels[at]
                found.append(Line(curve.feature, label, label, (points[at], points[at]), ""))
    return found


def table(found: list[Line], decimals: int) -> str:
    """The table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for line in found:
        points = [f"{each:.{decimals}f}" for each in line.points]
        writer.writerow([_plain(line.attribute), _plain(line.start), _plain(line.end), *points, line.scale])
    return text.getvalue()


def _plain(text: str) -> str:
    """A name that no spreadsheet takes for a formula; a number stays one.

    >>> _plain("=1+1"), _plain("-5"), _plain("age")
    ("'=1+1", '-5', 'age')
    """
    if not text or text[0] not in "=+-@\t\r":
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
