"""A plan proposed from what a run has published: the pooled table with its noise, and no record.

All of it is post-processing of a release that was charged, so it costs nothing more. A site's exact figures are
never read: ranges are of noised quantiles, and a value is listed where its noised count is clearly above the noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clients.drafting.columns import Judged, outwards
from clients.drafting.plans import Proposal, Wanted, rules, settled, without
from clients.drafting.plans import line_of as _line
from clients.drafting.targets import Predicted, of_classes, of_numbers
from federation.config.toml import inline
from federation.errors import DataError, UnusableFile
from federation.plan.columns.features import MISSING, OTHER, Categorical, Date, Feature, Hashed, Numeric
from federation.plan.plan import Plan, load, parse
from federation.plan.tallies.tasks import Statistics
from federation.report.figures.tables import ColumnTable, Tables
from federation.report.files import read_report
from federation.sums.ratios import LEAST
from federation.words import printable

_ENDS = ("0.01", "0.99")
_CLASSES = 20


@dataclass(frozen=True)
class Published:
    """The plan of a run that published a table, and the table."""

    plan: Plan
    task: Statistics
    tables: Tables
    run: str

    @property
    def columns(self) -> dict[str, tuple[Feature, ColumnTable]]:
        """Each column as it was counted, and what came of it."""
        told = self.tables.columns or {}
        return {one.name: (one, told[one.name]) for one in self.task.features}

    @property
    def records(self) -> float:
        """About how many records there are: the mean over the columns, each of which counted them all."""
        found = [column.records.value or 0.0 for _, column in self.columns.values()]
        return max(1.0, math.fsum(found) / len(found))


def published(run: Path) -> Published:
    """What the run in a folder has published. UnusableFile where that is no table's statistics."""
    plan, report = load(run / "plan.toml"), read_report(run)
    hint = 'name the RUN of a plan with kind = "table-statistics"'
    if not isinstance(plan.task, Statistics) or report.tables is None or report.tables.columns is None:
        raise UnusableFile("this run published no table's statistics", hint=hint, path=run)
    if report.plan_digest != plan.digest or set(report.tables.columns) != {
        f.name for f in plan.task.features
    }:
        raise UnusableFile(
            "the report is of another plan", hint="have it audited: federation audit", path=run
        )
    return Published(plan, plan.task, report.tables, report.made.run if report.made is not None else "")


def propose_from(found: Published, target: str, name: str, only: Sequence[str], wanted: Wanted) -> Proposal:
    """A plan that predicts `target` from the other columns. DataError for a column that was not counted."""
    for column in (target, *only):
        if column not in found.columns:
            hint = f"one of {', '.join(map(printable, found.columns))}"
            raise DataError(f'column "{printable(column)}" was not counted', hint=hint)
    goal = _predicted(found, target)
    names = [column for column in only or found.columns if column != target]
    columns = tuple(_judged(found, column) for column in names)
    features = tuple(column.feature for column in columns if column.feature is not None)
    if not features:
        raise DataError("no column is left to learn from", hint="spend more on the statistics, or count more")
    asked = Wanted(wanted.epsilon, wanted.records or max(10, round(found.records)))
    goal, text = _text(found, goal, name, columns, asked)
    return Proposal(parse(text, Path("plan.toml")), text, columns, target, goal)


def _judged(found: Published, name: str) -> Judged:
    feature, column = found.columns[name]
    least = LEAST * found.tables.deviation
    if isinstance(feature, Numeric):
        return _number(feature, column, least)
    if isinstance(feature, Categorical):
        return _values(feature, column, least)
    is_missing = column.counts[-1] > least
    shape = feature.model_dump(exclude_none=True, exclude={"bins"})
    if isinstance(feature, Date) and feature.missing == "indicator" and not is_missing:
        shape["missing"] = feature.since
    kind = Hashed if isinstance(feature, Hashed) else Date
    return Judged(name, kind.model_validate(shape), "as the statistics had it")


def _number(feature: Numeric, column: ColumnTable, least: float) -> Judged:
    """From the first to the last hundredth, rounded outwards, and within the range that was public before."""
    ends = [column.quantiles.get(share) for share in _ENDS]
    low, high = (None if one is None else one.value for one in ends)
    middle = column.quantiles.get("0.5")
    if low is None or high is None or not low < high or middle is None or middle.value is None:
        return Judged(feature.name, None, "the noise hides where its numbers are")
    wide = outwards(low, high)
    bounds = max(feature.low, float(wide[0])), min(feature.high, float(wide[1]))
    shape = feature.model_dump(exclude_none=True, exclude={"bins"}) | {"low": bounds[0], "high": bounds[1]}
    why = "noised quantiles .01 and .99, rounded outwards"
    if feature.missing == "indicator" and column.counts[-1] <= least:
        shape["missing"] = min(max(float(f"{middle.value:.3g}"), bounds[0]), bounds[1])
        why += "; hardly any is missing: such a cell is taken for the noised median"
    return Judged(feature.name, Numeric.model_validate(shape), why)


def _values(feature: Categorical, column: ColumnTable, least: float) -> Judged:
    """The values whose noised count is clearly above the noise; the others share a column."""
    counts = dict(zip(feature.parts, column.counts, strict=True))
    kept = [value for value in feature.values if counts[f"= {value}"] > least]
    if not kept:
        return Judged(feature.name, None, "the noise hides which values there are")
    shape: dict[str, object] = {"name": feature.name, "values": kept}
    if len(kept) < len(feature.values) or counts.get(OTHER, 0.0) > least:
        shape["other"] = True
    if MISSING in counts and counts[MISSING] > least:
        shape["missing"] = "category"
    elif feature.missing is not None:
        filler = feature.missing if feature.missing in kept else max(kept, key=lambda one: counts[f"= {one}"])
        shape["missing"] = filler
    why = f"{len(kept)} of {len(feature.values)} values are clearly above the noise"
    return Judged(feature.name, Categorical.model_validate(shape), why)


def _predicted(found: Published, target: str) -> Predicted:
    feature, column = found.columns[target]
    if isinstance(feature, Categorical):  # all that the statistics listed: a rare class may hide in the noise
        if not 2 <= len(feature.values) <= _CLASSES:
            many = len(feature.values)
            raise DataError(
                f'column "{printable(target)}" has {many} values', hint="a plan learns 2 to 20 classes"
            )
        return of_classes(target, feature.values)
    found_number = _number(feature, column, math.inf) if isinstance(feature, Numeric) else None
    if found_number is None or not isinstance(found_number.feature, Numeric):
        raise DataError(f'column "{printable(target)}" is neither values nor a number', hint="name another")
    return of_numbers(target, found_number.feature.low, found_number.feature.high)


def _text(
    found: Published, goal: Predicted, name: str, columns: Sequence[Judged], wanted: Wanted
) -> tuple[Predicted, str]:
    features = tuple(column.feature for column in columns if column.feature is not None)
    goal, settings, delta = settled(goal, features, wanted)
    patient = found.task.patient
    lines = [
        f"# A plan proposed by `federation plan new` from the pooled, noised statistics of run {found.run},",
        f"# of the plan {found.plan.digest}.",
        "# No record was read. What the statistics cost is charged already; this plan costs what it says itself.",
        "# Read each line: people decide.",
        "",
        "[federation]",
        f"name = {inline(printable(name).strip()[:100] or 'federation')}  # for people",
        f"rounds = {settings.rounds}  # by rule: each one costs time, and a fixed epsilon is spread over all",
        "seed = 7  # public: cohorts, held-out rows and first params follow from it; noise and keys never do",
        "",
        "[task]",
        *goal.lines[:-1],
        *([] if patient is None else [f"patient = {inline(patient)}  # as in the statistics"]),
        goal.lines[-1],
        "",
        "[task.features]",
        *(_line(column.feature, column.why) for column in columns if column.feature is not None),
        *without(columns),
        "",
        *rules(settings, wanted, delta, goal.metrics, found.plan.privacy.unit),
    ]
    return goal, "\n".join(lines) + "\n"
