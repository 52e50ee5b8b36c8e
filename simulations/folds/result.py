"""What a cross-validation came to: folds.json (schema federation.folds/1)."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from federation.plan.plan import Plan
from federation.report.numbers import tiny, upward
from federation.report.parts import AnyList, Part
from federation.report.report import Amount, Figures, Metrics, Report, Tried, metrics_of
from federation.words import many
from privacy.accounting.costs import cost
from privacy.accounting.events import GaussianEvent
from privacy.accounting.units import Patient, Unit
from privacy.canonical import finite

SCHEMA: Literal["federation.folds/1"] = "federation.folds/1"
_UNITS: Mapping[Unit, str] = {"record": "a record", "patient": "a person", "client": "a site"}


class FoldLine(Part):
    """One fold: its run folder, its exact figures on the records that it held out, and those of its baselines."""

    fold: int
    run: str
    pooled: Figures
    baselines: Mapping[str, Metrics]


class Spread(Part):
    """A figure over folds: mean, standard deviation (None for one fold), and how many folds have the figure."""

    mean: float | None
    deviation: float | None
    folds: int


class FoldsCost(Part):
    """What as many trainings would cost one unit, were this a real run: all of one plan, admitted together.

    `trainings` are those that its data are in: of the folds, and the final one on all records. `evaluation` is what
    the one evaluation costs that it is tested in, and `together` all of it composed; both are there only where the
    plan publishes evaluations. None: no bound.
    """

    unit: Unit
    delta: float
    trainings: int
    epsilon: float | None
    evaluation: Amount | None = None
    together: Amount | None = None


class CrossValidation(Part):
    """All folds of a plan. `cost` is None without privacy; `tried` counts each fold as a run on these data.

    `faults`: how sites were to be lost on the way, where they were.
    """

    schema_: Literal["federation.folds/1"] = Field(alias="schema")
    name: str
    plan_digest: str
    engine: str
    seed: int
    simulated: Literal[True]
    folds: Annotated[tuple[FoldLine, ...], AnyList]
    metrics: Mapping[str, Spread]
    baselines: Mapping[str, Mapping[str, Spread]]
    cost: FoldsCost | None = None
    tried: Tried | None = None
    faults: Mapping[str, Any] | None = None


def folds_cost(plan: Plan, folds: int) -> FoldsCost | None:
    """What a cross-validation would cost as a real run; None without privacy.

    A record, or a person, is held out in one fold and trained on in the others and in the end: in `folds`
    trainings, and in one evaluation. A site is in every fold.
    """
    privacy, (training, *evaluation) = plan.privacy, plan.charges
    if privacy.delta is None or not isinstance(training.event, GaussianEvent):
        return None
    trainings = folds + 1 if privacy.unit == "client" else folds
    charges = [training.with_count(training.event.count * trainings), *evaluation]
    spent = cost(charges, privacy.unit, Patient(), privacy.delta)
    alone, *tested = (Amount(epsilon=finite(each)) for each in spent.each)
    both = {"evaluation": tested[0], "together": Amount(epsilon=finite(spent.together))} if tested else {}
    return FoldsCost(
        unit=privacy.unit, delta=privacy.delta, trainings=trainings, epsilon=alone.epsilon, **both
    )


def cross_validated(
    plan: Plan, engine: str, reports: Sequence[Report], runs: Sequence[str]
) -> CrossValidation:
    """The figures of all folds, from their reports and the names of their folders."""
    lines = [
        FoldLine(
            fold=number,
            run=run,
            pooled=report.evaluation.pooled,
            baselines=report.evaluation.baselines,
        )
        for number, (report, run) in enumerate(zip(reports, runs, strict=True), 1)
    ]
    names = dict.fromkeys(name for line in lines for name in line.baselines)
    told: dict[str, Any] = {
        "schema": SCHEMA,
        "name": plan.federation.name,
        "plan_digest": plan.digest,
        "engine": engine,
        "seed": plan.federation.seed,
        "simulated": True,
        "folds": tuple(lines),
        "metrics": spreads(metrics_of(line.pooled) for line in lines),
        "baselines": {name: spreads(line.baselines.get(name, {}) for line in lines) for name in names},
        "cost": folds_cost(plan, len(reports)),
        "tried": reports[-1].privacy.tried,
    }
    if (suffered := reports[-1].faults) is not None:
        told["faults"] = suffered.rules
    return CrossValidation(**told)


def spreads(figures: Iterable[Metrics]) -> dict[str, Spread]:
    """Mean and deviation of each metric, over the folds in which it exists."""
    rows = list(figures)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _spread([value for row in rows if (value := row.get(name)) is not None]) for name in names}


def _spread(values: Sequence[float]) -> Spread:
    mean = statistics.fmean(values) if values else None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(mean=mean, deviation=deviation, folds=len(values))


def said(found: CrossValidation) -> str:
    """What it would cost, in a sentence or two."""
    cost, folds = found.cost, len(found.folds)
    if cost is None:
        return "The plan adds no noise: no epsilon says what these trainings tell of a record."
    held = "is held out in one fold" if cost.unit != "client" else "is in every fold"
    whole = cost.epsilon if cost.together is None else cost.together.epsilon
    tested = "" if cost.together is None else " and one evaluation"
    text = (
        f"As a real run, {many(folds, 'fold')} and the final training would cost epsilon {upward(whole)} at delta "
        f"{tiny(cost.delta)}: {_UNITS[cost.unit]} {held}, so it is in {cost.trainings} trainings{tested}."
    )
    paid = " Figures would have to be paid for, too: evaluation.epsilon." if cost.together is None else ""
    return text + paid
