"""Checks report.json field by field against plan, receipts and ledgers, and recounts every epsilon in it.

An audit asks two questions about an epsilon. Is it what our accountant says, so that nobody edited it? And is it at
least what another accountant proves (`privacy.accounting.bounds`), so that it is true?

An audit compares the JSON itself, not a `Report`: a strict reader refuses the whole file for one false field and
passes over fields that it does not know, and an audit has to name both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from federation.audit.claims import recounted_charge, told_units
from federation.audit.findings import Findings
from federation.audit.receipts import Receipts
from federation.audit.recounting import bounds, planned_releases
from federation.plan.plan import Plan
from privacy.accounting.bounds import Bounds
from privacy.accounting.events import GaussianEvent
from privacy.accounting.pld import epsilon, rdp_epsilon
from privacy.accounting.units import UNITS, Charge, Patient
from privacy.errors import PrivacyError

_TOLERANCE = 1e-4  # relative: versions of a library may round differently
_SLACK = 0.05  # an upper bound on epsilon by another accountant may be this much above ours
_ENGINES = ("vectorized", "protocol", "flower")
_KEYS = ("unit", "records", "sites")
# Checked by a function of their own.
_SEEN = ("engine", "simulated", "history", "evaluation", "privacy.units", "privacy.cross_check.prv")


def check_report(
    report: Mapping[str, Any],
    plan: Plan,
    receipts: Receipts,
    charge: Charge,
    executed: Mapping[str, int],
    sizes: Mapping[str, int],
    simulated: set[bool],
    found: Findings,
) -> None:
    """Add a finding for each field of `report` that plan, receipts or ledgers contradict.

    `executed`: by site, how many rounds its ledger began. `sizes`: how many records a simulated site declared.
    `simulated`: what the ledgers say about themselves.
    """
    if report.get("simulated") is not True and True in simulated:
        found.add("simulated-claim", "the report claims a real run, and a ledger says that it was simulated")
    # A server counts the rounds it invited a site to; only a simulation can look into the ledgers.
    counted = executed if report.get("simulated") is True else {}
    expected = _expected(plan, receipts, charge, counted, _named(report, receipts, executed))
    if True in simulated:
        expected["simulated"] = True
    for row in expected["sites"]:
        if row["id"] in sizes and plan.privacy.unit != "patient":
            row["records"] = sizes[row["id"]]
    _check_same(expected, report, "", found)
    _check_history(report.get("history"), plan, receipts, charge, found)
    _check_engine(report, found)
    _check_figures(report, receipts, found)
    _check_privacy(report.get("privacy"), plan, charge, len(expected["sites"]), found)
    for name in _extra(expected, report):
        if name not in _SEEN:
            found.skip(f"report.json: {name}")
    found.skip("metrics, seconds and bytes: they are the server's own word, the same in receipts and report")


def _named(report: Mapping[str, Any], receipts: Receipts, executed: Mapping[str, int]) -> list[str]:
    """The sites that the report has to name: every site that was invited. It may name others that joined."""
    rows = [row.get("id") for row in _rows(report.get("sites")) if isinstance(row, Mapping)]
    return sorted({*receipts.sites, *(site for site in executed if site in rows)})


def _expected(
    plan: Plan, receipts: Receipts, charge: Charge, executed: Mapping[str, int], sites: Sequence[str]
) -> dict[str, Any]:
    lines = receipts.rounds.values()
    seconds, client_rounds = sum(line.seconds for line in lines), sum(len(line.cohort) for line in lines)
    rounds = [
        {
            "round": number,
            "cohort": len(line.cohort),
            "survivors": len(line.survivors),
            "seconds": line.seconds,
        }
        for number, line in receipts.rounds.items()
    ]
    return {
        "schema": "federation.report/1",
        "plan_digest": plan.digest,
        "seed": plan.federation.seed,
        "name": plan.federation.name,
        "secure_aggregation": plan.secure_aggregation.model_dump(),
        "privacy": _privacy(plan, charge),
        "sites": [_site(site, plan, receipts, charge, executed) for site in sites],
        "rounds": rounds,
        "timing": {
            "training_seconds": seconds,
            "client_rounds_per_second": client_rounds / seconds if seconds else None,
        },
    }


def _privacy(plan: Plan, charge: Charge) -> dict[str, Any]:
    said = {"unit": plan.privacy.unit, "noise": plan.privacy.noise, "private": plan.is_private}
    if plan.privacy.delta is None or not isinstance(charge.event, GaussianEvent):
        return {**said, "epsilon": None, "delta": None, "noise_multiplier": None}
    return {
        **said,
        "epsilon": epsilon([charge.event], plan.privacy.delta),
        "delta": plan.privacy.delta,
        "noise_multiplier": charge.event.noise_multiplier,
        "clipping_norm": plan.privacy.clipping_norm,
        "accountant": "pld",
        "cross_check": {"rdp": rdp_epsilon([charge.event], plan.privacy.delta)},
    }


def _site(
    site: str, plan: Plan, receipts: Receipts, charge: Charge, executed: Mapping[str, int]
) -> dict[str, Any]:
    lines = receipts.rounds.values()
    rounds = executed.get(site, sum(site in line.cohort for line in lines))
    return {
        "id": site,
        "epsilon": _spent(plan, charge, rounds),
        "rounds": rounds,
        "steps": rounds * plan.training.local_steps,
        "bytes_up": _total([line.bytes_up for line in lines], site),
        "bytes_down": _total([line.bytes_down for line in lines], site),
    }


def _total(counts: Sequence[Mapping[str, Any]], site: str) -> int | None:
    values = [count[site] for count in counts if site in count]  # none in a run without messages
    return sum(values) if values and all(type(value) is int for value in values) else None


def _spent(plan: Plan, charge: Charge, rounds: int) -> float | None:
    event, delta = charge.event, plan.privacy.delta
    if delta is None or not isinstance(event, GaussianEvent):
        return None
    count = rounds * planned_releases(plan) // plan.federation.rounds
    return epsilon([GaussianEvent(event.noise_multiplier, event.sample_rate, count)], delta)


def _check_history(history: object, plan: Plan, receipts: Receipts, charge: Charge, found: Findings) -> None:
    rounds, told = receipts.rounds, [row for row in _rows(history) if isinstance(row, Mapping)]
    numbers = [number for row in told if type(number := row.get("round")) is int]
    if numbers != list(rounds) or len(told) != len(_rows(history)):
        differs("history is not of the rounds that have a receipt", found)
        return
    for row, line in zip(told, rounds.values(), strict=True):
        if row.get("metrics") != line.metrics:
            differs(f"history of round {line.round} is not what its receipt says", found)
    if plan.privacy.delta is None:
        return
    epsilons = [float(value) for row in told if isinstance(value := row.get("epsilon"), int | float)]
    if len(epsilons) != len(told) or epsilons != sorted(epsilons):
        differs("epsilon falls from one round to the next", found)
        return
    each = planned_releases(plan) // plan.federation.rounds
    for index in sorted({0, len(epsilons) // 2, len(epsilons) - 1}) if epsilons else ():
        if not _is_near(epsilons[index], recounted_charge(charge.with_count(each * numbers[index]), plan)):
            differs(f"history says another epsilon of round {numbers[index]}", found)


def _check_engine(report: Mapping[str, Any], found: Findings) -> None:
    engine, simulated = report.get("engine"), report.get("simulated")
    if engine not in _ENGINES or not isinstance(simulated, bool):
        differs("engine is none of ours, or simulated neither true nor false", found)
    elif engine == "vectorized" and not simulated:
        differs("this engine exists in simulations only", found)


def _check_figures(report: Mapping[str, Any], receipts: Receipts, found: Findings) -> None:
    """Exact figures about held-out records exist in simulations only; a real run has only what it published."""
    evaluation, lines = report.get("evaluation"), list(receipts.rounds.values())
    told = dict(evaluation) if isinstance(evaluation, Mapping) else {}
    if report.get("simulated") is not True:
        told.pop("published", None)
        if any(told.values()) or any(line.metrics for line in lines):
            detail = "report or receipts hold exact figures about held-out records, which nobody paid for"
            found.add("evaluation-unplanned", detail)
        return
    if lines and lines[-1].metrics:
        _check_same(lines[-1].metrics, told.get("pooled"), "evaluation.pooled", found)
    found.skip("report.json: evaluation of single sites and baselines, which no other file holds")


def _check_privacy(privacy: object, plan: Plan, charge: Charge, sites: int, found: Findings) -> None:
    """Check what depends on another accountant, or on what a person may hold: it must lie between our bounds."""
    if not isinstance(privacy, Mapping) or plan.privacy.delta is None:
        return
    checks = privacy.get("cross_check")
    prv = checks.get("prv") if isinstance(checks, Mapping) else None
    if prv is not None and not _is_near(prv, recounted_charge(charge, plan)):
        differs("privacy.cross_check.prv is not an epsilon of this plan", found)
    rows = _rows(privacy.get("units"))
    told = [tuple(row.get(key) for key in _KEYS) for row in rows if isinstance(row, Mapping)]
    if told != told_units(plan, sites):
        differs("privacy.units is not about the units that it has to be about", found)
    for place, row in enumerate(rows):
        try:
            unit = next(unit for unit in UNITS if unit == row["unit"])
            spent = bounds([charge], unit, Patient(row["records"], row["sites"]), plan.privacy.delta)
            held = row["epsilon"] is None if math.isinf(spent.lower) else _is_near(row["epsilon"], spent)
        except (StopIteration, TypeError, KeyError, AttributeError, PrivacyError):
            held = False
        if not held:
            differs(f"privacy.units[{place}] is not what the plan costs", found)


def _is_near(value: object, spent: Bounds | None) -> bool:
    if spent is None or not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return spent.lower * (1 - 1e-9) <= value <= spent.upper * (1 + _SLACK) + _SLACK


def _rows(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def differs(what: str, found: Findings) -> None:
    """Add the finding that report.json is wrong: `what` names the field and says how."""
    found.add("report-mismatch", f"report.json: {what}")


def _check_same(expected: Any, got: Any, where: str, found: Findings) -> None:
    """Check that `got` has every field of `expected`, and that every list has the same length.

    Numbers may differ by a relative 1e-4. `where` is the dotted place of `got` in the report, "" for the whole.
    """
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        for key, value in expected.items():
            _check_same(value, got.get(key), f"{where}.{key}" if where else key, found)
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        for index, value in enumerate(expected):
            _check_same(value, got[index], f"{where}[{index}]", found)
    elif not _is_same(expected, got):
        differs(f"{where} is not what plan, receipts and ledgers make of it", found)


def _is_same(expected: Any, got: Any) -> bool:
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in (expected, got)):
        return math.isclose(expected, got, rel_tol=_TOLERANCE, abs_tol=1e-9)
    if expected == math.inf:
        return got is None
    return type(expected) is type(got) and bool(expected == got)


def _extra(expected: Any, got: Any, where: str = "") -> list[str]:
    """Dotted names of the fields in `got` that are not in `expected`; rows of a list count once.

    >>> _extra({"seed": 7, "sites": [{"id": "ash"}]}, {"seed": 7, "name": "x", "sites": [{"id": "ash", "x": 1}]})
    ['name', 'sites[].x']
    """
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        names = []
        for key, value in got.items():
            place = f"{where}.{key}" if where else str(key)
            names += _extra(expected[key], value, place) if key in expected else [place]
        return names
    if isinstance(expected, list) and isinstance(got, list) and expected and got:
        return _extra(expected[0], got[0], f"{where}[]")
    return []
