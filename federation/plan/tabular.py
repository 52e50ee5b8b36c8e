"""The built-in task: classify the rows of a table whose columns have public ranges or public values.

What a feature may be: federation/plan/features.py. The columns of the input: federation/plan/layout.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from federation.config.schema import Mistake, Table, Texts, nearest
from federation.plan.features import Feature, told_apart
from federation.plan.identifiers import cleaned
from federation.plan.weights import Weights, check_weights, shares

MODELS = ("logistic", "mlp")
CODE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


class TabularTask(Table):
    """`[task]`: classify the rows of a table. Other columns are ignored.

    `patient` names the column with the patient of each row. It only tells rows of one person from rows of another:
    no model sees it and no site sends it.
    """

    kind: Literal["tabular-classification"] = Field(examples=['"tabular-classification"'])
    target: str = Field(min_length=1, examples=['"num"'])
    patient: str | None = Field(default=None, min_length=1, examples=['"patient_id"'])
    classes: Texts = Field(examples=['["0", "1"]'])
    class_weights: Weights | None = Field(default=None, examples=['{ "1" = 5.0 }'])
    model: str = Field(examples=['"logistic"'])
    features: tuple[Feature, ...] = Field(
        examples=["[task.features] and under it: age = { low = 20, high = 90 }"]
    )

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        return told_apart(classes, least=2)

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

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        check_weights(self.class_weights, self.classes)
        return self

    @property
    def shares(self) -> tuple[float, ...]:
        """What the gradient of a record counts, by its class: the largest weight is 1. Empty without weights."""
        return shares(self.class_weights, self.classes)

    @property
    def inputs(self) -> int:
        """Width of the model's input."""
        return sum(len(feature.parts) for feature in self.features)
