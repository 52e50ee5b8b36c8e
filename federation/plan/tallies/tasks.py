"""The tasks that train nothing. What is learned is the noised sum of the inputs: in how many records each is 1.

Every column that is counted has one 1 in each record, so a record's inputs are sqrt(columns) long: known before
anybody looks, and the same for a patient, who counts with the mean of their records.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from federation.config.schema import Mistake
from federation.kinds.cells import MOST_CELLS
from federation.plan.columns.dates import DAYS, Date
from federation.plan.columns.features import Categorical, Feature, Numeric, Wide
from federation.plan.columns.numeric import MOST_BINS
from federation.plan.outcomes import Tally
from federation.plan.tabular import TALLY, TabularTask
from federation.plan.tasks import TimeToEvent

BINS = 20
"""Of a number or a date, where the plan does not say."""


class Statistics(TabularTask):
    """`kind = "table-statistics"`: how often each value, or each bin of a number, is in each column.

    `bins` is of all numbers and dates that say nothing else. What is missing has a bin of its own, and so has what
    is not listed, unless the plan takes it for something else.
    """

    models: ClassVar[tuple[str, ...]] = (TALLY,)
    shape: ClassVar[tuple[str, ...]] = ("bins",)
    shown: ClassVar[Mapping[str, str]] = {}

    target: str = Field(default="", exclude=True)
    model: str = Field(default=TALLY, exclude=True)
    bins: int = Field(default=BINS, ge=2, le=MOST_BINS, examples=["20"])

    @field_validator("model")
    @classmethod
    def _none_of_the_users_own(cls, model: str) -> str:
        return _tally_alone(model)

    @field_validator("target")
    @classmethod
    def _nothing_is_predicted(cls, target: str) -> str:
        if target:
            raise Mistake("means nothing here: nothing is predicted", "name the column under task.features")
        return target

    @model_validator(mode="before")
    @classmethod
    def _bins_first(cls, data: Any) -> Any:
        """The bins stand in each feature as well, so that a feature knows its own columns."""
        if not isinstance(data, Mapping) or not isinstance(
            features := data.get("features"), Mapping | list | tuple
        ):
            return data
        bins = data.get("bins", BINS)
        items = features.items() if isinstance(features, Mapping) else enumerate(features)
        told = {name: _counted(one, bins) for name, one in items}
        return {**data, "features": told if isinstance(features, Mapping) else tuple(told.values())}

    @model_validator(mode="after")
    def _is_one_histogram(self) -> Self:
        for key in ("rows", "cross"):
            if getattr(self, key) is not None:
                raise Mistake("means nothing here: no model is trained", "remove it", (key,))
        for feature in self.features:
            if isinstance(feature, Wide):
                reason = "cannot be counted: its columns mean nothing one by one"
                raise Mistake(reason, "remove it", ("features", feature.name))
            if isinstance(feature, Numeric) and feature.knots is not None:
                raise Mistake("means nothing here", "write bins", ("features", feature.name, "knots"))
            if isinstance(feature, Date) and feature.take != (DAYS,):
                reason = "must be days: each further part would count once more"
                raise Mistake(reason, 'write take = ["days"]', ("features", feature.name, "take"))
        _check_cells(self)
        return self

    @property
    def outcome(self) -> Tally:
        """Nothing is predicted."""
        return Tally()

    @property
    def norm(self) -> float:
        """How long the inputs of a record are."""
        return math.sqrt(len(self.features))


class Curves(TimeToEvent):
    """`kind = "survival-curves"`: how many came to each interval of time, and had the event there, by group.

    `features` holds at most one column with listed values: the groups.
    """

    models: ClassVar[tuple[str, ...]] = (TALLY,)
    needs_features: ClassVar[bool] = False

    model: str = Field(default=TALLY, exclude=True)
    features: tuple[Feature, ...] = Field(default=(), examples=["[task.features] and: arm = { values = [] }"])

    @field_validator("model")
    @classmethod
    def _none_of_the_users_own(cls, model: str) -> str:
        return _tally_alone(model)

    @model_validator(mode="after")
    def _is_one_histogram(self) -> Self:
        for key in ("rows", "cross"):
            if getattr(self, key) is not None:
                raise Mistake("means nothing here: no model is trained", "remove it", (key,))
        if len(self.features) > 1 or not all(isinstance(one, Categorical) for one in self.features):
            raise Mistake("must be one column with values, or none", "name the groups", ("features",))
        _check_cells(self)
        return self

    @property
    def outcome(self) -> Tally:  # type: ignore[override]  # the times are counted, and not predicted
        """Nothing is predicted."""
        return Tally()

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups as people read them; one without a name where there are none."""
        return self.features[0].parts if self.features else ("",)

    @property
    def states(self) -> int:
        """What can have come of a record: it came through so many intervals, and then the event, or nothing."""
        return 2 * len(self.bins) + 1

    @property
    def inputs(self) -> int:
        """State by state, group by group."""
        return self.states * len(self.groups)

    @property
    def norm(self) -> float:
        """How long the inputs of a record are: it is in one cell."""
        return 1.0


def _counted(feature: Any, bins: Any) -> Any:
    """A feature as statistics have it: with bins, and a place for what is missing or not listed."""
    if not isinstance(feature, Mapping):
        return feature
    if "values" in feature:
        return {"missing": "category", "other": True, **feature}
    if "hash" in feature:
        return {"missing": "category", **feature}
    return {"missing": "indicator", "bins": bins, **feature}


def _tally_alone(model: str) -> str:
    if model != TALLY:
        raise Mistake("means nothing here: no model is trained", "remove it")
    return model


def _check_cells(task: TabularTask) -> None:
    if task.inputs > MOST_CELLS:
        reason = f"make {task.inputs} cells, and {MOST_CELLS} are the most"
        raise Mistake(reason, "take fewer bins, or columns with fewer values", ("bins",))
