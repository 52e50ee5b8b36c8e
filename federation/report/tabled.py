"""Puts the table of a plan that trains nothing into its report: it follows from plan, params and receipts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from federation.plan.plan import Plan
from federation.report.figures.tables import Tables
from federation.report.receipt import Receipt
from federation.report.report import Report
from federation.sums.tables import tables

if TYPE_CHECKING:
    from torch import Tensor


def with_tables(report: Report, plan: Plan, params: Tensor, receipts: Sequence[Receipt]) -> Report:
    """The report with its table; as it is for other plans, and where no sum was opened."""
    if not plan.task_is_tally or not receipts:
        return report
    last = receipts[-1]
    told = tables(plan, params.tolist(), len(last.cohort), len(last.survivors), len(last.excess_left))
    return report if told is None else report.model_copy(update={"tables": Tables.model_validate(told)})
