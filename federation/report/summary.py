"""What a run came to, as the content of report.json (schema federation.report/1): plan and receipts, no data.

A simulation adds what only it can know: records, metrics, baselines (`simulations.summary`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from federation.plan.guarantee import exposure
from federation.plan.plan import Plan
from privacy.accounting.crosscheck import cross_check
from privacy.accounting.events import Event, GaussianEvent
from privacy.accounting.pld import epsilon, epsilon_by_round

SCHEMA = "federation.report/1"
Metrics = Mapping[str, float | None]
Receipts = list[dict[str, Any]]


def summary_of(
    plan: Plan,
    receipts: Receipts,
    rounds: Mapping[str, int],
    *,
    engine: str,
    simulated: bool,
    evaluation: Mapping[str, Any],
    seconds: float,
) -> dict[str, Any]:
    """report.json of a run. `rounds` says, by site, for how many rounds it was charged."""
    spent = [entry["seconds"] for entry in receipts]
    client_rounds = sum(len(entry["cohort"]) for entry in receipts)
    return {
        "schema": SCHEMA,
        "name": plan.federation.name,
        "plan_digest": plan.digest,
        "engine": engine,
        "simulated": simulated,
        "seed": plan.federation.seed,
        "privacy": _privacy(plan, len(rounds)),
        "secure_aggregation": plan.secure_aggregation.model_dump(),
        "sites": [_site(plan, name, charged, receipts) for name, charged in sorted(rounds.items())],
        "rounds": [_round(entry) for entry in receipts],
        "history": _history(plan, receipts),
        "evaluation": evaluation,
        "timing": {
            "total_seconds": seconds,
            "training_seconds": sum(spent),
            "client_rounds_per_second": client_rounds / sum(spent) if sum(spent) else None,
        },
    }


def rounds_in(receipts: Receipts) -> dict[str, int]:
    """In how many rounds each site was in the cohort, as the server saw it."""
    return dict(Counter(site for entry in receipts for site in entry["cohort"]))


def _privacy(plan: Plan, sites: int) -> dict[str, Any]:
    privacy, event = plan.privacy, plan.kind.event
    if privacy.delta is None or not isinstance(event, GaussianEvent):
        return {
            "unit": privacy.unit, "noise": privacy.noise, "epsilon": None, "delta": None,
            "noise_multiplier": None, "accountant": None, "cross_check": {}, "units": [], "private": False,
        }  # fmt: skip
    return {
        "unit": privacy.unit,
        "noise": privacy.noise,
        "epsilon": epsilon([event], privacy.delta),
        "delta": privacy.delta,
        "noise_multiplier": event.noise_multiplier,
        "clipping_norm": privacy.clipping_norm,
        "accountant": "pld",
        "cross_check": cross_check([event], privacy.delta),
        "units": exposure(plan, sites),
        "private": True,
    }


def _site(plan: Plan, name: str, rounds: int, receipts: Receipts) -> dict[str, Any]:
    """What one site spent and what went over its line."""
    released = rounds * plan.kind.releases // plan.federation.rounds
    up, down = Counter[str](), Counter[str]()
    for entry in receipts:
        up.update(entry["bytes_up"])
        down.update(entry["bytes_down"])
    return {
        "id": name,
        "epsilon": _spent(plan, released),
        "rounds": rounds,
        "steps": rounds * plan.training.local_steps,
        "bytes_up": up[name],
        "bytes_down": down[name],
    }


def _spent(plan: Plan, releases: int) -> float | None:
    event: Event = plan.kind.event
    if plan.privacy.delta is None or not isinstance(event, GaussianEvent):
        return None
    return epsilon([GaussianEvent(event.noise_multiplier, event.sample_rate, releases)], plan.privacy.delta)


def _round(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "round": entry["round"],
        "cohort": len(entry["cohort"]),
        "survivors": len(entry["survivors"]),
        "seconds": entry["seconds"],
    }


def _history(plan: Plan, receipts: Receipts) -> list[dict[str, Any]]:
    event = plan.kind.event
    spent: list[float | None] = [None] * plan.federation.rounds
    if plan.privacy.delta is not None and isinstance(event, GaussianEvent):
        per_round = GaussianEvent(
            event.noise_multiplier, event.sample_rate, plan.kind.releases // plan.federation.rounds
        )
        spent = list(epsilon_by_round(per_round, plan.federation.rounds, plan.privacy.delta))
    return [
        {"round": entry["round"], "epsilon": spent[entry["round"] - 1], "metrics": entry["metrics"]}
        for entry in receipts
    ]
