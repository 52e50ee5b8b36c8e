"""The risk figures of report.json: what `privacy.accounting.risks.figures.Risk` writes, typed and frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import Field, model_validator

from federation.report.parts import Number, Part
from privacy.accounting.risks.figures import risk_from


class Belief(Part):
    """What a belief becomes: in the mean, and at the most except with chance delta."""

    mean: Number
    quantile: Number


class Beliefs(Part):
    """By what was believed before."""

    delta: float
    from_: Mapping[str, Belief] = Field(alias="from")


class RiskFigures(Part):
    """The most that anybody can do who sees all that was released: shares, 1 for all.

    All figures are there, as they were written: sentences are made of them without another look.
    """

    advantage: Number
    tpr_at_fpr: Mapping[str, Number]
    posterior: Beliefs
    reconstruction: Mapping[str, Number]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if risk_from(self.to_json(), self.posterior.delta) is None:
            raise ValueError("these are not the figures of a risk")
        return self
