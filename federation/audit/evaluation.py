"""Checks the published evaluation: the receipt of the round after the last, and whether its figures are possible.

Whether the figures come from the opened sum is for its transcript to show. Without one, one release of known noise
still stands behind them, so the standard error follows from the other three, and two evaluations cannot have been
drawn or published.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from federation.audit.figures.counted import wrong_with
from federation.audit.figures.exact import check_exact
from federation.audit.figures.measured import wrong_with_measures
from federation.audit.findings import Findings
from federation.audit.receipts import Evaluation, Receipts
from federation.audit.recounting import counted_shares, share_left
from federation.audit.report import check_same, differs
from federation.audit.rounds import check_cohort
from federation.kinds.cells import Cells, blocks_of
from federation.kinds.figures import FIGURES_NORM, LOSS_BOUND
from federation.kinds.moments import Numbers, Times
from federation.plan.plan import Plan
from privacy.accounting.events import GaussianEvent
from privacy.accounting.units import Charge
from privacy.errors import PrivacyError
from privacy.roster import Roster

_NAMES = {"records", "accuracy", "loss", "standard_error"}
# Relative: by how much the grid and the float of a noise may differ from the plain formula.
_ROUNDING = 0.01


def check_evaluation(
    receipts: Receipts,
    report: Mapping[str, Any] | None,
    plan: Plan,
    charge: Charge | None,
    roster: Roster | None,
    found: Findings,
) -> None:
    """Check that there is one evaluation if the plan asks for it: of enough sites, told once, as in the report.

    `charge` is what the plan charges for it, None if it publishes none.
    """
    line = receipts.evaluation
    if line is not None and charge is None:
        found.add("evaluation-unplanned", "receipts.jsonl holds an evaluation that the plan does not pay for")
    if line is None and charge is not None and receipts.closing is not None:
        detail = "the run ended, and the evaluation that the plan asks for has no receipt"
        found.add("evaluation-missing", detail)
    for other in receipts.evaluations[1:]:
        if other != line:
            found.add("receipt-contradiction", "the evaluation has two receipts that contradict each other")
        else:
            found.add("receipt-replayed", "the evaluation has two receipts that say the same")
    if line is not None:
        check_cohort("the evaluation", line.cohort, line.survivors, plan, roster, found)
        if charge is not None and isinstance(charge.event, GaussianEvent):
            _check_figures(line, plan, charge.event, found)
    if report is None:
        return
    told = report.get("evaluation")
    published = told.get("published") if isinstance(told, Mapping) else None
    if published != (dict(line.figures) if line is not None else None):
        differs("evaluation.published is not what its receipt says", found)
    odd = told.get("unlikely") if isinstance(told, Mapping) else None
    check_same(None if line is None else line.unlikely, odd, "evaluation.unlikely", found)
    check_exact(report, receipts, found)


def _check_figures(line: Evaluation, plan: Plan, event: GaussianEvent, found: Findings) -> None:
    blocks = blocks_of(plan)
    part = "histogram" if isinstance(blocks, Cells) else "measured"
    if line.figures.keys() != {*_NAMES, *([] if blocks is None else [part])}:
        found.add("evaluation-figures", "the evaluation holds other figures than an evaluation publishes")
        return
    try:
        deviation = _deviation(line, plan, event)
    except PrivacyError:
        return  # the cohort is a finding by itself
    values = {name: line.figures[name] for name in _NAMES}
    if isinstance(blocks, Cells) and (reason := wrong_with(line.figures[part], values, blocks, deviation)):
        found.add("evaluation-figures", f"the histogram of the evaluation {reason}")
    if isinstance(blocks, Numbers | Times):
        if reason := wrong_with_measures(line.figures[part], values, blocks, deviation):
            found.add("evaluation-figures", f"the figures of the evaluation {reason}")
        return
    if all(value is None for value in values.values()):
        return  # hidden by the noise
    if not all(type(value) in (int, float) for value in values.values()):
        found.add("evaluation-figures", "the evaluation holds other figures than an evaluation publishes")
        return
    records, accuracy, loss = values["records"], values["accuracy"], values["loss"]
    if records <= 0 or not 0 <= accuracy <= 1 or not 0 <= loss <= LOSS_BOUND:
        found.add("evaluation-figures", "the evaluation holds a figure that cannot be")
        return
    halves = math.sqrt(blocks.halves) if isinstance(blocks, Cells) else 1.0
    error = deviation * halves * math.hypot(1 - accuracy, accuracy) / records
    if not math.isclose(values["standard_error"], error, rel_tol=_ROUNDING):
        detail = "the standard error of the evaluation is not what its noise makes of its other figures"
        found.add("evaluation-figures", detail)


def _deviation(line: Evaluation, plan: Plan, event: GaussianEvent) -> float:
    """Standard deviation of the noise on each sum; sites beyond those that the guarantee counts on add more.

    What the sum does not need is taken out, but for the sites of which that could not be opened.
    """
    counted, sites, survivors = 1, len(line.cohort), len(line.survivors)
    shares: float = 1 if plan.privacy.noise == "central" else survivors
    if plan.privacy.noise == "distributed":
        counted = counted_shares(plan, sites)
        if line.excess_left is not None:
            whole = len(line.excess_left)
            shares = whole + (survivors - whole) * share_left(plan, sites, sites - survivors)
    blocks = blocks_of(plan)
    norm = FIGURES_NORM if blocks is None else blocks.norm
    return event.noise_multiplier * norm * math.sqrt(shares / counted)
