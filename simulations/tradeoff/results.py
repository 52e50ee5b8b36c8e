"""What the trials came to, as plain data: the content of frontier.json, from which the page is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from federation.report.report import COUNTS, Report, metrics_of, whole, whole_risk
from simulations.comparing.alone import Alone
from simulations.tradeoff.bands import LEVEL, MEANING, band, differences
from simulations.tradeoff.kept import SCHEMA, Json
from simulations.tradeoff.points import CAUTION, Point
from simulations.tradeoff.risk import risk_of
from simulations.tradeoff.trials import Asked, Trials, alone_of, known

_BASELINES = {"without_privacy": "without-privacy", "pooled": "one-place"}


def figures_of(asked: Asked, trials: Trials) -> Json:
    """Everything. Figures of a seed whose run was refused are missing, and `refused_seeds` says why."""
    reports = [found for found in trials.runs.values() if isinstance(found, Report)]
    names = sorted({site.id for report in reports for site in report.sites})
    return {
        "schema": SCHEMA,
        "name": asked.plan.federation.name,
        "plan_digest": asked.plan.digest,
        "unit": asked.plan.privacy.unit,
        "delta": asked.plan.privacy.delta,
        "caution": CAUTION,
        "interval": {"kind": "t", "level": LEVEL, "over": "seeds", "means": MEANING},
        "seeds": list(asked.seeds),
        "metrics": list(asked.plan.evaluation.metrics),
        "points": [_point(asked, trials, point, names) for point in asked.points],
        "baselines": _baselines(asked, trials, reports),
        "sites": [_site(asked, trials, name, reports) for name in names],
        "contributions": _contributions(asked, trials, names),
        "tried": _tried(trials, reports),
    }


def _reports(asked: Asked, trials: Trials, point: Point) -> list[Report | None]:
    found = [trials.runs.get((point.name, seed)) for seed in asked.seeds]
    return [one if isinstance(one, Report) else None for one in found]


def _point(asked: Asked, trials: Trials, point: Point, names: Sequence[str]) -> Json:
    reports = _reports(asked, trials, point)
    whys = {
        str(seed): why
        for seed in asked.seeds
        if isinstance(why := trials.runs.get((point.name, seed), ""), str) and why
    }
    refused = point.refused or ("" if any(reports) else next(iter(whys.values()), ""))
    told = next((report for report in reports if report is not None), None)
    spent = None if told is None else whole(told.privacy)
    delta = asked.plan.privacy.delta or 0.0
    return {
        "epsilon": point.epsilon,
        "noise": point.noise,
        "delta": delta,
        "seeds": list(asked.seeds),
        "refused": refused or None,
        "refused_seeds": whys,
        "spent": spent,
        "noise_multiplier": None if told is None else told.privacy.noise_multiplier,
        "risk": None if told is None else _risk(asked, told, delta),
        "metrics": {} if told is None else _bands(asked, map(_pooled, reports)),
        "alone": _alone_bands(asked, trials, f"alone-{point.epsilon:g}"),
        "sites": {} if told is None else {name: _gain(asked, trials, point, name) for name in names},
        "plan": None if point.plan is None else f"plans/{point.name}.toml",
        "plan_digest": None if point.plan is None else point.plan.digest,
    }


def _risk(asked: Asked, told: Report, delta: float) -> Json:
    return risk_of(whole_risk(told.privacy), whole(told.privacy), delta, asked.plan.privacy.unit)


def _pooled(report: Report | None) -> Mapping[str, float | None]:
    return {} if report is None else metrics_of(report.evaluation.pooled)


def _bands(asked: Asked, found: Iterable[Mapping[str, Any]]) -> Json:
    """For each metric the band over what was found, seed by seed."""
    seeds = list(found)
    return {name: band(one.get(name) for one in seeds) for name in asked.plan.evaluation.metrics}


def _alone(asked: Asked, trials: Trials, what: str) -> list[Alone | None]:
    return [alone_of(trials.beside.get((what, seed))) for seed in asked.seeds]


def _alone_bands(asked: Asked, trials: Trials, what: str) -> Json | None:
    found = _alone(asked, trials, what)
    return _bands(asked, ({} if one is None else one.pooled for one in found)) if any(found) else None


def _site_metrics(reports: Iterable[Report | None], name: str) -> list[Mapping[str, Any]]:
    return [{} if one is None else one.evaluation.sites.get(name, {}) for one in reports]


def _gain(asked: Asked, trials: Trials, point: Point, name: str) -> Json:
    """A site's figures at a point, and what it gains there: against training alone, without privacy and with it."""
    ours = _site_metrics(_reports(asked, trials, point), name)
    free, same = (
        [{} if one is None else one.own.get(name, {}) for one in _alone(asked, trials, what)]
        for what in ("alone", f"alone-{point.epsilon:g}")
    )
    return {
        "metrics": _bands(asked, ours),
        "gain": _less(asked, ours, free),
        "gain_at_same_epsilon": _less(asked, ours, same),
    }


def _less(asked: Asked, ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> Json:
    return {
        name: differences((one.get(name) for one in ours), (one.get(name) for one in theirs))
        for name in asked.plan.evaluation.metrics
    }


def _baselines(asked: Asked, trials: Trials, reports: Sequence[Report]) -> Json:
    by_seed = {report.seed: report.evaluation.baselines.get("majority", {}) for report in reports}
    found = {"majority": _bands(asked, (by_seed.get(seed, {}) for seed in asked.seeds))}
    for name, what in _BASELINES.items():
        found[name] = _bands(
            asked, (known(trials.beside.get((what, seed)), "pooled") for seed in asked.seeds)
        )
    local = _alone_bands(asked, trials, "alone")
    if local is not None:
        found["local_only"] = local
        found["local_only_elsewhere"] = _bands(asked, map(_mean_elsewhere, _alone(asked, trials, "alone")))
    return found


def _mean_elsewhere(alone: Alone | None) -> Mapping[str, Any]:
    """The mean over the sites of each one's model on the records of all."""
    if alone is None:
        return {}
    names = {name for of in alone.elsewhere.values() for name in of}
    known_of = {
        name: [of[name] for of in alone.elsewhere.values() if of.get(name) is not None] for name in names
    }
    return {name: sum(v for v in of if v is not None) / len(of) for name, of in known_of.items() if of}


def _site(asked: Asked, trials: Trials, name: str, reports: Sequence[Report]) -> Json:
    """What is known of a site whatever the epsilon: its records, and its own model."""
    lines = [line for report in reports for line in report.sites if line.id == name]
    counts = [report.evaluation.sites[name] for report in reports if name in report.evaluation.sites]
    alone = _alone(asked, trials, "alone")
    return {
        "id": name,
        "records": lines[0].records if lines else None,
        "held_out": {key: counts[0].get(key) for key in COUNTS} if counts else None,
        "alone": _bands(asked, ({} if one is None else one.own.get(name, {}) for one in alone)),
        "alone_elsewhere": _bands(
            asked, ({} if one is None else one.elsewhere.get(name, {}) for one in alone)
        ),
    }


def _contributions(asked: Asked, trials: Trials, names: Sequence[str]) -> Json | None:
    """At one point: what each site gains by joining, and what the others gain by its presence."""
    point = asked.at
    if point is None:
        return None
    reports = _reports(asked, trials, point)
    gives: dict[str, Json] = {}
    for name in names:
        left = [trials.beside.get((f"left-out-{name}", seed)) for seed in asked.seeds]
        whys = [one["refused"] for one in left if one is not None and "refused" in one]
        others = [other for other in names if other != name]
        gives[name] = {
            "refused": whys[0] if len(whys) == len(asked.seeds) else None,
            "gives": {
                metric: band(
                    _given(report, one, others, metric) for report, one in zip(reports, left, strict=True)
                )
                for metric in asked.plan.evaluation.metrics
            },
            "to": {
                other: _less(asked, _site_metrics(reports, other), [known(one, other) for one in left])
                for other in others
            },
        }
    trainings = sum(what.startswith("left-out-") for what, _ in trials.beside)
    return {"epsilon": point.epsilon, "noise": point.noise, "trainings": trainings, "sites": gives}


def _given(report: Report | None, left: Json | None, others: Sequence[str], metric: str) -> float | None:
    """How much better the others are served with the site than without it, in the mean over those with figures."""
    if report is None:
        return None
    pairs = [
        (report.evaluation.sites.get(other, {}).get(metric), known(left, other).get(metric))
        for other in others
    ]
    found = [with_it - without for with_it, without in pairs if with_it is not None and without is not None]
    return sum(found) / len(found) if found else None


def _tried(trials: Trials, reports: Sequence[Report]) -> Json:
    """How many runs were made to choose by, and how often the same data were simulated on this machine."""
    counted = [report.privacy.tried for report in reports if report.privacy.tried is not None]
    last = max(counted, key=lambda one: one.runs or 0, default=None)
    return {
        "runs": len(reports),
        "comparisons": len(trials.beside),
        "on_these_data": None if last is None else last.to_json(),
    }
