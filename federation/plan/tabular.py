"""The built-in task: classify the rows of a table whose columns have public ranges or public values.

Scaling and one-hot never look at the data: the plan holds all that they need, so they leak nothing and are the
same at every site. A value matches a cell as text: federation/plan/identifiers.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from federation.config.schema import Mistake, Table, Texts, nearest
from federation.plan.identifiers import MAX_DIGITS, are_told_apart, cleaned

MODELS = ("logistic", "mlp")
CODE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


class Numeric(Table):
    """A feature on a public range, scaled to [-1, 1] and clipped."""

    name: str
    low: float = Field(examples=["20"])
    high: float = Field(examples=["90"])

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low / 2 < self.high / 2:
            raise Mistake("low must be below high", "write the public range, such as { low = 20, high = 90 }")
        return self


class Categorical(Table):
    """A feature with public values, one-hot."""

    name: str
    values: Texts = Field(examples=['["1", "2", "3"]'])

    @field_validator("values")
    @classmethod
    def _distinct(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return _told_apart(values, least=1)


def _kind_of_feature(feature: Any) -> str:
    values = "values" in feature if isinstance(feature, Mapping) else isinstance(feature, Categorical)
    return "categorical" if values else "numeric"


Feature = Annotated[
    Annotated[Numeric, Tag("numeric")] | Annotated[Categorical, Tag("categorical")],
    Discriminator(_kind_of_feature),
]


class TabularTask(Table):
    """`[task]`: classify the rows of a table. Other columns are ignored.

    `patient` names the column with the patient of each row. It only tells rows of one person from rows of another:
    no model sees it and no site sends it.
    """

    kind: Literal["tabular-classification"] = Field(examples=['"tabular-classification"'])
    target: str = Field(min_length=1, examples=['"num"'])
    patient: str | None = Field(default=None, min_length=1, examples=['"patient_id"'])
    classes: Texts = Field(examples=['["0", "1"]'])
    model: str = Field(examples=['"logistic"'])
    features: tuple[Feature, ...] = Field(
        examples=["[task.features] and under it: age = { low = 20, high = 90 }"]
    )

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        return _told_apart(classes, least=2)

    @field_validator("model")
    @classmethod
    def _known(cls, model: str) -> str:
        if model not in MODELS and not CODE.fullmatch(model):
            raise Mistake('must be "logistic", "mlp" or "package.module:factory"', nearest(model, MODELS))
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

    @model_validator(mode="after")
    def _target_apart(self) -> Self:
        names = [feature.name for feature in self.features]
        if not names:
            hint = "add a line such as: age = { low = 20, high = 90 }"
            raise Mistake("has no entries", hint, ("features",))
        for name in (self.target, self.patient or self.target, *names):
            if not name.isprintable():
                raise Mistake("names a column with a line break or the like", "rename it in the data")
        # A reader compares names as `cleaned` text, so "age" and "age " are one column of a file.
        read = {cleaned(name): name for name in names}
        target, patient = cleaned(self.target), None if self.patient is None else cleaned(self.patient)
        if "" in read or len(read) < len(names):
            raise Mistake("names a column twice, or by nothing", "give each column one line", ("features",))
        if target in read:
            raise Mistake(
                "is the target, which a model must not see", "remove it", ("features", read[target])
            )
        if patient in read:
            reason = "says whose a row is, which a model must not see"
            raise Mistake(reason, "remove it", ("features", read[patient]))
        if patient == target:
            raise Mistake("is the target", "name the column that says whose a row is", ("patient",))
        return self

    @property
    def inputs(self) -> int:
        """Width of the model's input."""
        return sum(len(f.values) if isinstance(f, Categorical) else 1 for f in self.features)


def _told_apart(values: tuple[str, ...], least: int) -> tuple[str, ...]:
    """Values that a cell can be matched to: no text stands for two of them."""
    if len(values) < least:
        raise Mistake(f"must have at least {least} entries", 'write for example: ["0", "1"]')
    is_odd = any(not cleaned(value) or value != value.strip() for value in values)
    if is_odd or not are_told_apart(values):
        hint = "name each once; 1.0 is read as 1 where no value has decimals"
        raise Mistake("names a value twice, by nothing, or with blanks around it", hint)
    return values


def as_number(text: str) -> float | None:
    """The finite number that a text is, or None. Digits only: "1_000" and "nan" are texts."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") and "_" not in text else None


def as_text(number: float) -> str:
    """A finite number as people, TOML and CSV files write it: a whole one without decimals.

    >>> [as_text(number) for number in (100.0, 0.05, 1e-9, -0.0, 1e15)]
    ['100', '0.05', '1e-09', '0', '1000000000000000.0']
    """
    number = float(number)
    return str(int(number)) if number.is_integer() and abs(number) < 10**MAX_DIGITS else repr(number)
