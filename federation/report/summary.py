"""Makes the `Report` of a run from plan and receipts, without any data.

A simulation adds what only it can know: records, metrics, baselines (`simulations.summary`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from federation.plan.guarantee import exposure
from federation.plan.plan import Plan
from federation.report.receipt import Receipt
from federation.report.report import (
    SCHEMA,
    Evaluation,
    HistoryLine,
    Metrics,
    PrivacyClaim,
    Published,
    Report,
    RoundLine,
    SiteLine,
    Timing,
    UnitCost,
)
from privacy.accounting.crosscheck import cross_check
from privacy.accounting.events import GaussianEvent
from privacy.accounting.pld import epsilon, epsilon_by_round

_NOT_MEASURED = Evaluation(pooled={}, sites={}, baselines={})


def summary_of(
    plan: Plan,
    receipts: Sequence[Receipt],
    rounds: Mapping[str, int] | None = None,
    *,
    engine: str,
    simulated: bool,
    published: Metrics | None,
    seconds: float,
    evaluation: Evaluation = _NOT_MEASURED,
) -> Report:
    """The report of a run.

    `rounds`: by site, for how many rounds it was charged; the default is the rounds to which the server invited it.
    `published`: the figures of the evaluation, None if there are none. `seconds`: of the whole command.
    """
    if rounds is None:
        rounds = Counter(site for receipt in receipts for site in receipt.cohort)
    spent = sum(receipt.seconds for receipt in receipts)
    client_rounds = sum(len(receipt.cohort) for receipt in receipts)
    lines = [
        RoundLine(round=one.round, cohort=len(one.cohort), survivors=len(one.survivors), seconds=one.seconds)
        for one in receipts
    ]
    if published is not None:
        evaluation = evaluation.model_copy(update={"published": Published(**published)})
    return Report(
        schema=SCHEMA,
        name=plan.federation.name,
        plan_digest=plan.digest,
        engine=engine,
        simulated=simulated,
        seed=plan.federation.seed,
        privacy=_claim(plan, len(rounds)),
        sites=tuple(_site(plan, name, charged, receipts) for name, charged in sorted(rounds.items())),
        rounds=tuple(lines),
        evaluation=evaluation,
        timing=Timing(
            total_seconds=seconds,
            training_seconds=spent,
            client_rounds_per_second=client_rounds / spent if spent else None,
        ),
        history=_history(plan, receipts),
        secure_aggregation=plan.secure_aggregation.model_dump(),
    )


def _claim(plan: Plan, sites: int) -> PrivacyClaim:
    privacy, event = plan.privacy, plan.kind.event
    if privacy.delta is None or not isinstance(event, GaussianEvent):
        return PrivacyClaim(
            unit=privacy.unit, noise=privacy.noise, epsilon=None, delta=None,
            noise_multiplier=None, accountant=None, cross_check={}, units=(), private=False,
        )  # fmt: skip
    return PrivacyClaim(
        unit=privacy.unit,
        noise=privacy.noise,
        epsilon=epsilon([event], privacy.delta),
        delta=privacy.delta,
        noise_multiplier=event.noise_multiplier,
        clipping_norm=privacy.clipping_norm,
        accountant="pld",
        cross_check=cross_check([event], privacy.delta),
        units=tuple(UnitCost(**line) for line in exposure(plan, sites)),
        private=True,
    )


def _site(plan: Plan, name: str, rounds: int, receipts: Sequence[Receipt]) -> SiteLine:
    """What one site spent and what went over its line."""
    event, delta = _releases(plan, rounds), plan.privacy.delta
    return SiteLine(
        id=name,
        epsilon=None if event is None or delta is None else epsilon([event], delta),
        rounds=rounds,
        steps=rounds * plan.training.local_steps,
        bytes_up=_sent(name, [receipt.bytes_up for receipt in receipts]),
        bytes_down=_sent(name, [receipt.bytes_down for receipt in receipts]),
    )


def _sent(name: str, counts: Sequence[Mapping[str, int]]) -> int | None:
    """What went over one site's line; None where there was no line, as in the vectorized engine."""
    known = [count[name] for count in counts if name in count]
    return sum(known) if known else None


def _releases(plan: Plan, rounds: int) -> GaussianEvent | None:
    """What so many rounds release; None without privacy."""
    event = plan.kind.event
    if not isinstance(event, GaussianEvent):
        return None
    return replace(event, count=rounds * plan.kind.releases_per_round)


def _history(plan: Plan, receipts: Sequence[Receipt]) -> tuple[HistoryLine, ...]:
    event, delta = _releases(plan, 1), plan.privacy.delta
    spent: Sequence[float | None] = [None] * plan.federation.rounds
    if event is not None and delta is not None:
        spent = epsilon_by_round(event, plan.federation.rounds, delta)
    return tuple(
        HistoryLine(round=receipt.round, epsilon=spent[receipt.round - 1], metrics=receipt.metrics)
        for receipt in receipts
    )
