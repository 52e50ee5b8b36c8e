"""Checks the risk figures of a report: each is recounted from the plan by the auditor's own accountant.

A figure below what is proved is a claim that does not hold ("risk-understated"). One that is far above it is not
what our accountant says, so somebody edited it ("report-mismatch"). An earlier version told no risk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federation.audit.findings import Findings
from federation.audit.outcome import RiskClaim
from federation.audit.recounting import risk_bounds
from federation.audit.report import differs
from federation.plan.plan import Plan
from privacy.accounting.events import MAX_EPSILON
from privacy.accounting.risks.figures import risk_from
from privacy.accounting.risks.recounted import RiskBounds
from privacy.accounting.units import UNITS, Charge, Patient
from privacy.errors import PrivacyError

# By how much of itself, and beside that, an upper bound of ours may be above another.
_SLACK, _SLACK_OF_GROUPS, _ABSOLUTE = 0.02, 0.1, 1e-9
Json = Mapping[str, Any]


@dataclass(frozen=True)
class _Place:
    """One risk in the report: where, what it says, beside which epsilon, and what it is of."""

    name: str
    part: Json
    charges: Sequence[Charge]
    unit: str
    patient: Patient


def check_risks(
    report: Json | None, plan: Plan, charges: Sequence[Charge], found: Findings
) -> RiskClaim | None:
    """Check every risk that the report tells; and what it has to say of the whole run. None without privacy.

    `charges`: of the training, and of the evaluation where the plan publishes one.
    """
    privacy = report.get("privacy") if report is not None else None
    told = privacy if isinstance(privacy, Mapping) else {}
    delta = plan.privacy.delta
    if delta is None:
        return None
    places = list(_places(told, plan, charges))
    if any("risk" in place.part for place in places):
        for place in places:
            _check(place, delta, found)
    elif report is not None:
        found.skip("report.json tells no risk: an earlier version wrote it")
    whole = _part(told, "together") if len(charges) > 1 else told
    claimed = whole.get("risk")
    return RiskClaim(
        plan.privacy.unit,
        claimed if isinstance(claimed, Mapping) else None,
        _bounds(charges, plan.privacy.unit, Patient(), delta),
    )


def _places(privacy: Json, plan: Plan, charges: Sequence[Charge]) -> Iterator[_Place]:
    """Every risk that a report has to tell: of the run and of each unit, of the training and of all together."""
    rows = privacy.get("units")
    units = [row for row in (rows if isinstance(rows, list) else []) if isinstance(row, Mapping)]
    parts: list[tuple[str, Json, object, object, object]] = [("privacy", privacy, plan.privacy.unit, 1, 1)]
    parts += [
        (f"privacy.units[{place}]", row, row.get("unit"), row.get("records"), row.get("sites"))
        for place, row in enumerate(units)
    ]
    for name, part, unit, records, sites in parts:
        try:
            patient = Patient(records, sites)  # type: ignore[arg-type]  # which refuses what is no number
        except PrivacyError:
            continue  # the row is a finding by itself
        yield _Place(name, part, charges[:1], str(unit), patient)
        if len(charges) > 1:
            yield _Place(f"{name}.together", _part(part, "together"), charges, str(unit), patient)


def _part(part: Json, name: str) -> Json:
    inner = part.get(name)
    return inner if isinstance(inner, Mapping) else {}


def _bounds(charges: Sequence[Charge], unit: str, patient: Patient, delta: float) -> RiskBounds | None:
    known = next((each for each in UNITS if each == unit), None)
    try:
        return None if known is None else risk_bounds(charges, known, patient, delta)
    except PrivacyError:
        return None


def _check(place: _Place, delta: float, found: Findings) -> None:
    epsilon, told = place.part.get("epsilon"), place.part.get("risk")
    is_promised = isinstance(epsilon, int | float) and epsilon <= MAX_EPSILON
    if told is None or not is_promised:
        # An epsilon that promises nothing is a finding elsewhere, where something is promised.
        if (told is not None) != is_promised or "risk" not in place.part:
            differs(f"{place.name}.risk does not go with its epsilon", found)
        return
    claimed, spent = risk_from(told, delta), _bounds(place.charges, place.unit, place.patient, delta)
    if claimed is None or spent is None:
        differs(f"{place.name}.risk is not as we write it", found)
        return
    slack = _SLACK_OF_GROUPS if place.patient != Patient() else _SLACK
    figures = zip(claimed.names, claimed.values, spent.lower.values, spent.upper.values, strict=True)
    for name, value, low, high in figures:
        if value < low * (1 - 1e-9):
            detail = f"{place.name}.risk.{name}: {value:.4g} is claimed, at least {low:.4g} can be done"
            found.add("risk-understated", f"report.json, {detail}")
        elif value > high * (1 + slack) + _ABSOLUTE:
            differs(f"{place.name}.risk.{name} is not what the plan allows", found)
