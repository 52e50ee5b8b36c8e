"""The built-in tasks: predict something of the rows of a table whose columns have public ranges or public values.

What is predicted: federation/plan/tasks.py. What a feature may be: federation/plan/columns/features.py. The columns
of the input: federation/plan/layout.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, Strict, ValidationInfo, field_validator, model_validator

from federation.config.schema import Mistake, Table, nearest
from federation.plan.columns.features import Feature, Numeric, Picture
from federation.plan.columns.maps import check_crosses
from federation.plan.identifiers import cleaned
from federation.plan.outcomes import Outcome

CLASSIFICATION: Final = "tabular-classification"
REGRESSION: Final = "tabular-regression"
SURVIVAL: Final = "survival"
COUNTS: Final = "tabular-counts"
STATISTICS: Final = "table-statistics"
CURVES: Final = "survival-curves"
SERIES_CLASSIFICATION: Final = "series-classification"
SERIES_REGRESSION: Final = "series-regression"
TALLIES: Final = (STATISTICS, CURVES)
"""The kinds that train nothing."""
SERIES: Final = (SERIES_CLASSIFICATION, SERIES_REGRESSION)
"""Those whose records are windows of rows."""
KINDS: Final = (CLASSIFICATION, REGRESSION, SURVIVAL, COUNTS, *SERIES, *TALLIES)

TALLY: Final = "tally"
CNN: Final = "cnn"
MODELS = ("logistic", "linear", "additive", "mlp", CNN, "gru", "transformer", TALLY)
KNOTS = 8
"""Of a number in an additive model, where the plan does not say."""
CODE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


_Pair = Annotated[tuple[str, str], Strict(False)]


class TabularTask(Table):
    """`[task]`: predict something of the rows of a table. Other columns are ignored.

    `patient` names the column with the patient of each row. It only tells rows of one person from rows of another:
    no model sees it and no site sends it. Each kind of task is a class of its own (federation/plan/tasks.py).

    "additive" is linear on numbers that have knots: KNOTS where a file does not say, and then the plan does.
    `cross` are pairs of features whose products the model sees, too. `rows = "unit"` gives every row length 1. Both
    are absent where a plan leaves them out, so that it keeps its digest.
    """

    models: ClassVar[tuple[str, ...]] = ()
    """The built-in models of the kind."""
    shape: ClassVar[tuple[str, ...]] = ("target",)
    """The keys that say what is predicted."""
    shown: ClassVar[Mapping[str, str]] = {"target": "is the target, which a model must not see"}
    """The keys that name a column beside the features, and why it is none of them."""
    needs_features: ClassVar[bool] = True

    kind: Literal[
        "tabular-classification",
        "tabular-regression",
        "survival",
        "tabular-counts",
        "table-statistics",
        "survival-curves",
        "series-classification",
        "series-regression",
    ] = Field(examples=['"tabular-classification"'])
    target: str = Field(min_length=1, examples=['"num"'])
    patient: str | None = Field(default=None, min_length=1, examples=['"patient_id"'])
    model: str = Field(examples=['"mlp"'])
    rows: Literal["unit"] | None = Field(default=None, examples=['"unit"'])
    cross: tuple[_Pair, ...] | None = Field(default=None, strict=False, examples=['[["age", "sex"]]'])
    features: tuple[Feature, ...] = Field(
        examples=["[task.features] and under it: age = { low = 20, high = 90 }"]
    )

    @field_validator("model")
    @classmethod
    def _known(cls, model: str) -> str:
        if model not in cls.models and not CODE.fullmatch(model):
            named = ", ".join(f'"{name}"' for name in cls.models)
            raise Mistake(f'must be {named} or "package.module:factory"', nearest(model, cls.models))
        return model

    @field_validator("features", mode="before")
    @classmethod
    def _named(cls, features: Any) -> Any:
        if not isinstance(features, Mapping):
            return features
        for name, feature in features.items():
            if not isinstance(feature, Mapping) or "name" in feature:
                hint = 'write { low = 20, high = 90 } or { values = ["1", "2"] }'
                raise Mistake("must be a public range or a list of values", hint, (name,))
        return tuple({**feature, "name": name} for name, feature in features.items())

    @field_validator("cross")
    @classmethod
    def _absent_for_none(cls, cross: tuple[_Pair, ...] | None) -> tuple[_Pair, ...] | None:
        return cross or None

    @field_validator("features")
    @classmethod
    def _bent(cls, features: tuple[Feature, ...], info: ValidationInfo) -> tuple[Feature, ...]:
        """The knots of an additive model stand in the plan, so that a later default changes none."""
        if info.data.get("model") != "additive":
            return features
        return tuple(
            one.model_copy(update={"knots": one.knots or KNOTS}) if isinstance(one, Numeric) else one
            for one in features
        )

    @model_validator(mode="after")
    def _bins_are_of_statistics(self) -> Self:
        for feature in self.features:
            if self.kind != STATISTICS and getattr(feature, "bins", None) is not None:
                reason = f'is of kind = "{STATISTICS}" only'
                raise Mistake(reason, "remove it; a model takes knots", ("features", feature.name, "bins"))
        return self

    @model_validator(mode="after")
    def _has_an_image(self) -> Self:
        if self.model == CNN and self.image is None:
            reason = 'is for a table with one feature that is image = "pixels"'
            raise Mistake(reason, "add it, or choose another model", ("model",))
        return self

    @model_validator(mode="after")
    def _maps_fit(self) -> Self:
        if self.model == "additive" and self.rows is not None:
            reason = (
                'means nothing beside model = "additive": divided by its length, no row is a sum of curves'
            )
            raise Mistake(reason, "remove it", ("rows",))
        try:
            check_crosses(self.features, self.cross or ())
        except Mistake as mistake:
            raise mistake.under("cross") from None
        return self

    @model_validator(mode="after")
    def _target_apart(self) -> Self:
        names = [feature.name for feature in self.features]
        if not names and self.needs_features:
            hint = "add a line such as: age = { low = 20, high = 90 }"
            raise Mistake("has no entries", hint, ("features",))
        for name in (*self.told.values(), self.patient or self.target, *names):
            if not name.isprintable():
                raise Mistake("names a column with a line break or the like", "rename it in the data")
        # A reader compares names as `cleaned` text, so "age" and "age " are one column of a file.
        read = {cleaned(name): name for name in names}
        if "" in read or len(read) < len(names):
            raise Mistake("names a column twice, or by nothing", "give each column one line", ("features",))
        apart = {cleaned(name): self.shown[key] for key, name in self.told.items()}
        patient = None if self.patient is None else cleaned(self.patient)
        for name, reason in apart.items():
            if name in read and not (self.sees_target and name == cleaned(self.target)):
                raise Mistake(reason, "remove it", ("features", read[name]))
        if patient in read:
            reason = "says whose a row is, which a model must not see"
            raise Mistake(reason, "remove it", ("features", read[patient]))
        if patient == cleaned(self.target):
            raise Mistake("is the target", "name the column that says whose a row is", ("patient",))
        if len({patient, *apart}) < 1 + len(self.told):
            raise Mistake("names one column for two things", "name a column for each", (list(self.told)[-1],))
        return self

    @property
    def outcome(self) -> Outcome:
        """What is predicted."""
        raise NotImplementedError

    @property
    def learns_chances(self) -> bool:
        """Whether scores of classes are chances: not what a hinge loss learns."""
        return True

    @property
    def told(self) -> dict[str, str]:
        """The columns beside the features that a row is learned from, by their keys."""
        named = {key: getattr(self, key) for key in self.shown}
        return {key: name for key, name in named.items() if name is not None}

    @property
    def sees_target(self) -> bool:
        """Whether the target may be a feature, too: of rows other than the one that is predicted."""
        return False

    @property
    def steps(self) -> int:
        """How many rows a record is made of."""
        return 1

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are learned from: the features, then the target and what goes with it."""
        return (*(feature.name for feature in self.features), *self.told.values())

    @property
    def image(self) -> tuple[int, Picture] | None:
        """The one feature that is an image in pixels, and the input that it begins at; None if there is not one."""
        at, found = 0, list[tuple[int, Picture]]()
        for feature in self.features:
            if isinstance(feature, Picture) and feature.cell is None:
                found.append((at, feature))
            at += len(feature.parts)
        return found[0] if len(found) == 1 else None

    @property
    def inputs(self) -> int:
        """Width of the model's input: of all rows of a record, one after the other."""
        return self.steps * self.width

    @property
    def width(self) -> int:
        """Columns that a row becomes."""
        widths = {feature.name: len(feature.parts) for feature in self.features}
        crossed = sum(widths[first] * widths[second] for first, second in self.cross or ())
        return sum(widths.values()) + crossed
