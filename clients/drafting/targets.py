"""What a plan could predict in a public table: classes, a number on a range, or a time until an event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clients.data.cells import codes
from clients.data.faults import refuse
from clients.data.sources.numerals import parsed
from clients.data.sources.table import Table
from clients.drafting.columns import MOST_VALUES, listed, outwards
from clients.drafting.courses import Course
from federation.config.toml import inline
from federation.errors import DataError
from federation.plan.columns.features import Feature
from federation.plan.identifiers import cleaned
from federation.plan.numerals import as_text
from federation.plan.outcomes import Survival
from federation.plan.series.tasks import SeriesClassification, SeriesRegression
from federation.plan.tabular import (
    CLASSIFICATION,
    REGRESSION,
    SERIES,
    SERIES_CLASSIFICATION,
    SERIES_REGRESSION,
    SURVIVAL,
    TabularTask,
)
from federation.plan.tasks import Classification, Regression, TimeToEvent

_INTERVALS: Final = 8


@dataclass(frozen=True)
class Predicted:
    """The lines of a plan that say what is predicted, its metrics, and the same in words."""

    lines: tuple[str, ...]
    metrics: tuple[str, ...]
    words: str
    keys: Mapping[str, Any]
    classes: tuple[str, ...] = ()

    @property
    def bent(self) -> Predicted:
        """The same by a model with a curve for each number; of windows there is none."""
        if self.keys["kind"] in SERIES:
            return self
        straight = f'"{self.keys["model"]}": straight lines, for few records'
        line = f'model = "additive"  # a curve for each number; or {straight}; "mlp": a hidden layer'
        return replace(self, lines=(*self.lines[:-1], line), keys={**self.keys, "model": "additive"})

    def of_windows(self, course: Course) -> Predicted:
        """The same of windows of rows, by the baseline for which there is a rule of clip and learning rate."""
        kind = self.keys["kind"].replace("tabular", "series")
        usual = self.keys["model"]
        others = '"gru" and "transformer" learn courses: try clipping_norm = 1 there'
        model = f'model = "{usual}"  # a baseline; {others}'
        lines = (f'kind = "{kind}"', *self.lines[1:-1], *course.lines, model)
        words = f"{self.words}, of windows of {course.keys['window']} rows"
        return replace(self, lines=lines, words=words, keys={**self.keys, "kind": kind, **course.keys})

    def task(self, features: Sequence[Feature]) -> TabularTask:
        """The task that would be proposed with these features."""
        kind = _KINDS[self.keys["kind"]]
        named = {
            feature.name: feature.model_dump(exclude={"name"}, exclude_none=True) for feature in features
        }
        return kind.model_validate({**self.keys, "features": named})


_KINDS: Final[Mapping[str, type[TabularTask]]] = {
    CLASSIFICATION: Classification,
    REGRESSION: Regression,
    SURVIVAL: TimeToEvent,
    SERIES_CLASSIFICATION: SeriesClassification,
    SERIES_REGRESSION: SeriesRegression,
}


def predicted(table: Table, target: str) -> Predicted:
    """What a plan would say of the target. DataError where it is neither classes nor a number."""
    cells = table.column(target)
    filled = [text for text in map(cleaned, cells) if text]
    classes = listed(filled) if 2 <= len(set(filled)) <= MOST_VALUES else None
    if classes is not None:
        found, faults, _ = codes(cells, target, classes)
        refuse(table, faults)  # empty cells
        return of_classes(target, classes, np.bincount(found, minlength=len(classes)).tolist())
    values = parsed(list(map(str.strip, table.numerals(target))))
    count = len(set(filled))
    if count <= MOST_VALUES or np.isnan(values).any():
        hint = f"a plan learns 2 to {MOST_VALUES} classes, or a number in every row: name another column"
        raise DataError(f'{table.path}: column "{target}" has {count} different values', hint=hint)
    return of_numbers(target, float(values.min()), float(values.max()))


def until(table: Table, target: str, event: str) -> Predicted:
    """What a plan would say of a time in one column, and what ended it in another. DataError for others."""
    times, ends = parsed(list(map(str.strip, table.numerals(target)))), table.column(event)
    if np.isnan(times).any() or (times <= 0).all():
        hint = "a time until an event is a number in every row"
        raise DataError(f'{table.path}: column "{target}" is no time', hint=hint)
    values = listed([text for text in map(cleaned, ends) if text]) or ()
    if len(values) != 2:
        hint = "it says whether the event came: of two values, the second is the event"
        raise DataError(f'{table.path}: column "{event}" has not two different values', hint=hint)
    refuse(table, codes(ends, event, values)[1])  # empty cells
    return _of_times(cleaned(target), cleaned(event), values, _intervals(times))


def _intervals(times: NDArray[np.float64]) -> tuple[float, ...]:
    """Round ends of about as many rows each."""
    shares = np.arange(1, _INTERVALS + 1) / _INTERVALS
    found = {float(f"{end:.2g}") for end in np.quantile(times[times > 0], shares)}
    return tuple(sorted(found))


def _of_times(target: str, event: str, events: tuple[str, ...], bins: tuple[float, ...]) -> Predicted:
    lines = (
        'kind = "survival"',
        f"target = {inline(target)}  # how long each row was observed",
        f"event = {inline(event)}  # what came of it, which no model sees",
        f"events = {inline(list(events))}  # DECIDE the order: first no event, then the event",
        f"bins = [{', '.join(map(as_text, bins))}]  # DECIDE: ends of intervals; later times are not learned",
        'model = "logistic"  # or "additive": a curve a number; "mlp": a hidden layer; or "package.module:factory"',
    )
    keys = {
        "kind": SURVIVAL,
        "target": target,
        "event": event,
        "events": events,
        "bins": list(bins),
        "model": "logistic",
    }
    return Predicted(lines, Survival.usual, f'a time until "{event}" is {events[1]}', keys)


def _shares(classes: tuple[str, ...], counts: Sequence[float]) -> list[str]:
    """How rare the positive one of two classes is, and whether the other is rarer: mostly one looks for that.

    >>> _shares(("no", "yes"), [90, 10]), _shares(("ill", "well"), [5, 95])[1:]
    (['# positive: "yes", 10 % of these rows'], ['# "ill" is rarer (5 %): turn them around if you look for that'])
    """
    if len(classes) != 2 or not sum(counts):
        return []
    first, second = (100 * count / sum(counts) for count in counts)
    rarer = f"# {inline(classes[0])} is rarer ({first:.2g} %): turn them around if you look for that"
    return [
        f"# positive: {inline(classes[1])}, {second:.2g} % of these rows",
        *([rarer] if first < second else []),
    ]


def of_classes(target: str, classes: tuple[str, ...], counts: Sequence[float] = ()) -> Predicted:
    """Of listed values; `counts` of rows where they may be told."""
    joined = '; to join some: classes = ["0", "ill"], grouped = { ill = ["1", "2"] }' * (len(classes) > 2)
    order = "DECIDE the order: of two, the second is the positive one"
    lines = (
        'kind = "tabular-classification"',
        f"target = {inline(cleaned(target))}  # what is predicted",
        f"classes = {inline(list(classes))}  # {order}{joined}",
        *_shares(classes, counts),
        'model = "logistic"  # or "additive": a curve a number; "mlp": a hidden layer; or "package.module:factory"',
    )
    metrics = ("accuracy", "balanced_accuracy", "auc", "f1", "recall")
    keys = {
        "kind": "tabular-classification",
        "target": cleaned(target),
        "classes": classes,
        "model": "logistic",
    }
    return Predicted(lines, metrics, f"{len(classes)} classes", keys, classes)


def of_numbers(target: str, low: float, high: float) -> Predicted:
    """Of a number between these, rounded outwards."""
    ends = tuple(map(as_text, map(float, outwards(low, high))))
    lines = (
        'kind = "tabular-regression"  # many numbers; a time until an event is "survival", counts "tabular-counts"',
        f"target = {inline(cleaned(target))}  # what is predicted",
        f"target_range = {{ low = {ends[0]}, high = {ends[1]} }}  # DECIDE: what is possible; clipped to it",
        'model = "linear"  # or "additive": a curve a number; "mlp": a hidden layer; or "package.module:factory"',
    )
    within = {"low": float(ends[0]), "high": float(ends[1])}
    keys = {
        "kind": "tabular-regression",
        "target": cleaned(target),
        "target_range": within,
        "model": "linear",
    }
    return Predicted(lines, ("mae", "rmse", "r2", "bias"), f"a number from {ends[0]} to {ends[1]}", keys)
