"""The risk figures of report.json: what `privacy.accounting.risks.figures.Risk` writes, typed and frozen."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from federation.report.parts import Number, Part


class Belief(Part):
    """What a belief becomes: in the mean, and at the most except with chance delta."""

    mean: Number
    quantile: Number


class Beliefs(Part):
    """By what was believed before."""

    delta: Number
    from_: Mapping[str, Belief] = Field(alias="from")


class RiskFigures(Part):
    """The most that anybody can do who sees all that was released: shares, 1 for all."""

    advantage: Number
    tpr_at_fpr: Mapping[str, Number]
    posterior: Beliefs
    reconstruction: Mapping[str, Number]
