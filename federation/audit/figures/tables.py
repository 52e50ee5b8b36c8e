"""Checks the table of a plan that trains nothing: it is made again of plan, params and the receipt of the round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from federation.audit.evidence import Params
from federation.audit.findings import Findings
from federation.audit.receipts import Receipts
from federation.audit.report import differs
from federation.audit.sums.steps import alike
from federation.plan.plan import Plan
from federation.report.figures.tables import Tables
from federation.sums.tables import tables

_DAMAGE = (ArithmeticError, LookupError, ValueError, TypeError, RuntimeError)


def check_tables(
    report: Mapping[str, Any], plan: Plan, params: Params | None, receipts: Receipts, found: Findings
) -> None:
    """Add a finding unless the report's table is the one that follows; nobody else may have one."""
    told = report.get("tables")
    try:
        follows = _followed(plan, params, receipts)
    except _DAMAGE:
        follows = None
    if (told is None) != (follows is None) or (told is not None and not alike(follows, told)):
        differs("tables is not what follows from the params and the receipt of their round", found)


def _followed(plan: Plan, params: Params | None, receipts: Receipts) -> dict[str, Any] | None:
    lines = list(receipts.rounds.values())
    if not plan.task_is_tally or params is None or not lines or lines[-1].is_lost:
        return None
    (counts,) = (tensor.reshape(-1).tolist() for tensor in params.tensors.values())
    last = lines[-1]
    told = tables(plan, counts, len(last.cohort), len(last.survivors), len(last.excess_left or ()))
    return None if told is None else Tables.model_validate(told).model_dump(mode="json", exclude_unset=True)
