"""Makes the `Report` of a run from plan and receipts, without any data.

A simulation adds what only it can know: records, metrics, baselines (`simulations.summary`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from federation.plan.columns.encoder import encoders_of
from federation.plan.guarantee import clipping_facts, cost_for, epsilons, exposure, site_cost, with_risk
from federation.plan.personal import kept_of
from federation.plan.plan import Plan
from federation.report.receipt import Receipt
from federation.report.report import (
    SCHEMA,
    Evaluation,
    HistoryLine,
    KeptLayers,
    Pinned,
    PrivacyClaim,
    Published,
    ReadBy,
    Report,
    RoundLine,
    SiteLine,
    Timing,
    UnlikelySum,
)
from federation.round.excess import excess_facts
from privacy.accounting.crosscheck import cross_check
from privacy.accounting.events import GaussianEvent
from privacy.accounting.pld import accountant, epsilon_by_round
from privacy.accounting.units import Patient

_NOT_MEASURED = Evaluation(pooled={}, sites={}, baselines={})


def summary_of(
    plan: Plan,
    receipts: Sequence[Receipt],
    rounds: Mapping[str, int] | None = None,
    *,
    engine: str,
    simulated: bool,
    published: Mapping[str, Any] | None,
    seconds: float,
    evaluated: Collection[str] | None = None,
    evaluation: Evaluation = _NOT_MEASURED,
    unlikely: UnlikelySum | None = None,
    population: int | None = None,
) -> Report:
    """The report of a run.

    `rounds`: by site, for how many rounds it was charged; the default is the rounds to which the server invited it,
    and of those that were lost the ones that it can have charged.
    `evaluated`: the sites that were charged for the evaluation that the plan publishes, if it does; None for all.
    `published`: the figures of the evaluation, None if there are none; `unlikely`: what is odd about them.
    `seconds`: of the whole command. `population`: how many sites there are, if none is to be listed.
    """
    if rounds is None:
        rounds = charged_rounds(receipts)
    spent = sum(receipt.seconds for receipt in receipts)
    client_rounds = sum(len(receipt.cohort) for receipt in receipts)
    lines = [_line(one) for one in receipts]
    if published is not None:
        evaluation = evaluation.model_copy(update={"published": Published.from_json(published)})
    if unlikely is not None:
        evaluation = evaluation.model_copy(update={"unlikely": unlikely})
    report = Report(
        schema=SCHEMA,
        name=plan.federation.name,
        plan_digest=plan.digest,
        engine=engine,
        simulated=simulated,
        seed=plan.federation.seed,
        privacy=_claim(plan, population or len(rounds), lines),
        sites=tuple(
            _site(plan, name, charged, evaluated is None or name in evaluated, receipts)
            for name, charged in sorted(rounds.items())
            if population is None
        ),
        rounds=tuple(lines),
        evaluation=evaluation,
        timing=Timing(
            total_seconds=seconds,
            training_seconds=spent,
            client_rounds_per_second=client_rounds / spent if spent else None,
        ),
        history=_history(plan, receipts),
        secure_aggregation=plan.secure_aggregation.tolerance,
    )
    encoders = tuple(ReadBy(**one.to_json()) for one in encoders_of(plan.task))
    told = {
        "encoders": encoders or None,
        "iterate_average": plan.server.iterate_average,
        "population": population,
        "base": None if plan.base is None else Pinned(**plan.base.model_dump()),
        "purpose": None if plan.purpose is None else plan.purpose.model_dump(exclude_none=True),
        "kept": None if (kept := kept_of(plan)) is None else KeptLayers(layers=kept[0], numbers=kept[1]),
    }
    return report.model_copy(update={name: value for name, value in told.items() if value is not None})


def charged_rounds(receipts: Sequence[Receipt]) -> Mapping[str, int]:
    """By site, to how many rounds it was invited, without those that were lost and that it cannot have charged."""
    rounds = Counter({site: 0 for receipt in receipts for site in receipt.invited})
    rounds.update(site for receipt in receipts for site in receipt.charged)
    return rounds


def _line(receipt: Receipt) -> RoundLine:
    line = RoundLine(
        round=receipt.round,
        cohort=len(receipt.cohort),
        survivors=len(receipt.survivors),
        seconds=receipt.seconds,
        excess_left=len(receipt.excess_left),
    )
    told = {
        "unlikely": receipt.unlikely,
        "lost": receipt.lost,
        "simulated_seconds": receipt.simulated_seconds,
        "clipping_norm": receipt.clipping_norm,
    }
    return line.model_copy(update={name: value for name, value in told.items() if value is not None})


def _claim(plan: Plan, sites: int, lines: Sequence[RoundLine]) -> PrivacyClaim:
    privacy, event = plan.privacy, plan.kind.event
    cohort = min((line.cohort for line in lines), default=plan.cohort.minimum)
    if privacy.delta is None or not isinstance(event, GaussianEvent):
        return PrivacyClaim(
            unit=privacy.unit, noise=privacy.noise, epsilon=None, delta=None,
            noise_multiplier=None, accountant=None, cross_check={}, units=(), private=False,
        )  # fmt: skip
    return PrivacyClaim.from_json(
        {
            "unit": privacy.unit,
            "noise": privacy.noise,
            **with_risk(cost_for(plan, privacy.unit, Patient()), plan, privacy.unit, Patient()),
            "delta": privacy.delta,
            "noise_multiplier": event.noise_multiplier,
            "clipping_norm": privacy.clipping_norm,
            **clipping_facts(plan, cohort, [line.clipping_norm for line in lines]),
            "accountant": accountant([event], privacy.delta),
            "cross_check": cross_check([event], privacy.delta),
            **excess_facts(plan, cohort),
            "units": exposure(plan, sites),
            "private": True,
        }
    )


def _site(plan: Plan, name: str, rounds: int, evaluated: bool, receipts: Sequence[Receipt]) -> SiteLine:
    """What one site spent and what went over its line."""
    spent = epsilons(site_cost(plan, rounds, evaluated)) if plan.is_private else {"epsilon": None}
    return SiteLine.from_json(
        {
            "id": name,
            **spent,
            "rounds": rounds,
            "steps": rounds * plan.training.local_steps,
            "bytes_up": _sent(name, [receipt.bytes_up for receipt in receipts]),
            "bytes_down": _sent(name, [receipt.bytes_down for receipt in receipts]),
        }
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
    spent: dict[int, float] = {}
    if event is not None and delta is not None:
        spent = epsilon_by_round(event, plan.federation.rounds, delta)
    listed = list(spent)
    return tuple(
        HistoryLine(
            round=receipt.round,
            # What holds of the next round in the list holds of this one, too.
            epsilon=spent[listed[bisect_left(listed, receipt.round)]] if spent else None,
            metrics=receipt.metrics,
        )
        for receipt in receipts
    )
