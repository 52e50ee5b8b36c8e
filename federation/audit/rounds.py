"""Checks the server's receipts: rounds in order and complete, params that follow from one another to the end."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from federation.audit.claims import recounted_charge
from federation.audit.evidence import Params
from federation.audit.findings import Findings
from federation.audit.receipts import Receipt, Receipts
from federation.audit.recounting import releases_in_a_round
from federation.audit.report import differs, is_near, is_same, rows_of
from federation.model.params import Layout, initial_params, params_bytes, params_digest
from federation.model.task import build_task
from federation.plan.plan import Plan
from federation.plan.tabular import MODELS, TabularTask
from federation.round.cohort import required_survivors
from federation.round.groups import sums_of
from federation.round.sent import first_norm, joined
from privacy.accounting.events import GaussianEvent
from privacy.accounting.pld import epsilon_by_round
from privacy.accounting.units import Charge
from privacy.errors import PrivacyError
from privacy.roster import Roster

_MOST_LOOKS = 40  # at single rounds of a history


def check_receipts(receipts: Receipts, plan: Plan, roster: Roster | None, found: Findings) -> None:
    """Check that rounds have receipts in order: from the first to the last planned one, if the run was closed."""
    planned, rounds = plan.federation.rounds, receipts.rounds
    expected = 1
    seen: dict[int, Receipt] = {}
    for line in receipts.lines:
        before = seen.get(line.round)
        if before is None and line.round > expected:
            detail = f"the receipt of round {line.round} stands before that of round {expected}"
            found.add("receipt-order", detail)
        elif before is not None and line.round < expected - 1:
            detail = f"a receipt of round {line.round} stands after that of round {expected - 1}"
            found.add("receipt-order", detail)
        if before is not None:
            _check_replay(before, line, found)
        seen[line.round], expected = line, max(expected, line.round + 1)
        if line.is_lost and line.voids:
            _check_lost(line, plan, roster, found)
        else:
            check_cohort(f"round {line.round}", line.cohort, line.survivors, plan, roster, found, line.round)
    for number in rounds:
        if number > planned:
            found.add("receipt-beyond-plan", f"round {number} took place, {planned} are planned")
    last = planned if receipts.closing is not None else max(rounds, default=0)
    for number in range(1, last + 1):
        if number not in rounds:
            found.add("receipt-missing", f"round {number} has no receipt")


def _check_lost(line: Receipt, plan: Plan, roster: Roster | None, found: Findings) -> None:
    """A round without a sum moved nothing, and was asked of cohorts that could have had one."""
    for cohort in line.cohorts:
        check_cohort(f"round {line.round}", cohort, cohort, plan, roster, found, line.round)
    if line.params_after != line.params_before:
        found.add("params-chain", f"round {line.round} had no sum, and changed the params")
    why = ", ".join(f"{site} ({reason})" for site, reason in sorted(line.voids[-1].reasons.items()))
    detail = f"round {line.round} has no sum; it is charged by up to {len(line.charged)} sites. Lost: {why}"
    found.add("round-without-sum", detail)


def check_averages(receipts: Receipts, plan: Plan, found: Findings) -> None:
    """Check what is known of the average of the params without any sum: it is there, and moves when they do."""
    decay, before = plan.server.iterate_average, None
    for line in receipts.rounds.values():
        if (line.average is not None) != (decay is not None):
            what = "names no average of the params" if decay is not None else "names an average of the params"
            found.add("average-not-followed", f"round {line.round} {what}, other than the plan asks")
            return
        expected = before or line.model or line.params_before if line.is_lost else line.made
        is_known = line.is_lost or before is None or decay == 0
        if decay is not None and is_known and line.average != expected:
            found.add(
                "average-not-followed", f"round {line.round} names another average than its params make"
            )
        if not line.is_lost:
            before = line.average


def check_unlikely(receipts: Receipts, plan: Plan, found: Findings) -> None:
    """Note each sum that honest sites do not make: which one, by how much, and what was made of it."""
    odd = [(f"the sum of round {line.round}", line.unlikely) for line in receipts.rounds.values()]
    if receipts.evaluation is not None:
        odd.append(("the sum of the evaluation", receipts.evaluation.unlikely))
    for what, told in odd:
        if told is None:
            continue
        detail = f"{what} is {_beyond(told)}: at least one site sent what the plan does not allow"
        found.add("sum-unlikely", detail)
        if plan.server.unlikely_sum != "report":
            found.add("sum-accepted", f"{what} was used, and the plan refuses such a sum")
    for line in receipts.refused:
        found.add("sum-refused", f"the sum of round {line.round} is {_beyond(line.unlikely)}: it was refused")
        if plan.server.unlikely_sum == "report":
            found.add(
                "receipt-contradiction", f"round {line.round} was refused, and the plan has that reported"
            )
        elif receipts.closing is not None or line.round in receipts.rounds:
            found.add("sum-accepted", f"the run went on after the sum of round {line.round} was refused")


def _beyond(told: Mapping[str, Any]) -> str:
    what = {"coordinate": "a coordinate", "norm": "the L2 norm"}[told["check"]]
    return f"{told['ratio']:.3g} times what honest sites can send, by {what}"


def _check_replay(before: Receipt, line: Receipt, found: Findings) -> None:
    is_other = before.cohort != line.cohort and not (before.is_lost or line.is_lost)
    if is_other or before.params_before != line.params_before:
        found.add("receipt-contradiction", f"round {line.round} has two receipts that contradict each other")
    else:
        detail = f"round {line.round} has two receipts, as after a crash; the last one counts"
        found.add("receipt-replayed", detail)


def check_cohort(
    what: str,
    cohort: tuple[str, ...],
    survivors: tuple[str, ...],
    plan: Plan,
    roster: Roster | None,
    found: Findings,
    number: int | None = None,
) -> None:
    """Check that the cohort is on the roster, the survivors are in the cohort, and both are enough.

    `what` names the round in the finding, as in "round 3". `number` is there for a training round: where the
    plan has groups, each of its groups has a sum of its own.
    """
    wrong = ""
    if roster is not None and roster.entries and not set(cohort) <= roster.by_site.keys():
        wrong = "invited a site that is not on the roster"
    elif not set(survivors) <= set(cohort):
        wrong = "sums up a site that was not invited"
    elif len(cohort) < plan.cohort.minimum:
        wrong = f"invited {len(cohort)} sites, cohort.minimum is {plan.cohort.minimum}"
    else:
        parts = (cohort,) if number is None else sums_of(plan, number, cohort)
        stayed = [(len(part), len(set(part) & set(survivors))) for part in parts]
        few = [count for size, count in stayed if count < _needed(plan, size)]
        if few:
            wrong = f"sums up {few[0]} sites, fewer than the noise was shared out for"
    if wrong:
        found.add("receipt-cohort", f"{what} {wrong}")


def _needed(plan: Plan, sites: int) -> int:
    try:
        return required_survivors(plan, sites)
    except PrivacyError:
        return sites + 1


def check_params(
    run: Path, receipts: Receipts, params: Params | None, followed: Tensor | None, plan: Plan, found: Findings
) -> None:
    """Check that each round starts from the params of the one before, and that the file holds the last ones.

    `followed` are the params that follow from the sums, if they could be followed to the end.
    """
    lines = list(receipts.rounds.values())
    for before, after in pairwise(lines):
        if after.round == before.round + 1 and after.params_before != before.params_after:
            detail = f"round {after.round} starts from other params than round {before.round} ended with"
            found.add("params-chain", detail)
    ended = receipts.ended
    if receipts.closing is None and params is not None:
        detail = (
            "there are params, and receipts.jsonl does not say that the run ended, nor where the ledgers did"
        )
        found.add("closing-missing", detail)
    elif receipts.closing is not None and receipts.closing != ended:
        found.add("closing-mismatch", "the run ended with other params than its last round")
    if params is None:
        if receipts.closing is not None and not (run / "params.safetensors").exists():
            found.add("params-unreadable", "the run ended, and params.safetensors is missing")
        elif receipts.closing is None:
            detail = f"{len(lines)} of {plan.federation.rounds} rounds have a receipt"
            stopped = "" if lines or not receipts.run else ": it was stopped before its first round ended"
            found.add("run-unfinished", detail + stopped)
        return
    said = {"plan": plan.digest, "private": str(plan.is_private).lower()}
    if dict(params.metadata) != said:
        found.add("params-mismatch", "params.safetensors names another plan, or another guarantee")
    if not isinstance(plan.task, TabularTask) or plan.task.model not in MODELS:
        if followed is None:
            untold = (
                "params against receipts: the plan brings its own model, and an audit runs no code of a plan"
            )
            found.skip(untold)
        elif not is_laid_out(followed, list(params.tensors.values())):
            found.add("params-mismatch", "params.safetensors is not what follows from the sums")
        return
    _check_built_in(plan, params, lines[0].params_before if lines else None, ended, found)


def is_laid_out(flat: Tensor, tensors: Sequence[Tensor]) -> bool:
    """Whether the tensors, in some order, are the flat params: the order is the model's, whose code is not run."""
    if any(tensor.dtype != flat.dtype for tensor in tensors):
        return False
    left = [tensor.reshape(-1) for tensor in sorted(tensors, key=Tensor.numel, reverse=True)]
    at = 0
    while left:
        fits = (n for n, each in enumerate(left) if each.equal(flat[at : at + each.numel()]))
        if (found := next(fits, None)) is None:
            return False
        at += left.pop(found).numel()
    return at == flat.numel()


def dimension_of(params: Params | None, plan: Plan, signed: int | None, found: Findings) -> int | None:
    """How many params the model has: as sites `signed`, else by the file, or a built-in model; None if none tells.

    The file is the operator's. One of another size than the sites signed is found, and believed in nothing.
    """
    told = None if params is None else sum(tensor.numel() for tensor in params.tensors.values())
    if signed is not None:
        if told not in (None, signed):
            detail = f"params.safetensors holds {told} params, and the sites consented to {signed}"
            found.add("params-mismatch", detail)
        return signed
    if told is not None:
        return told
    if isinstance(plan.task, TabularTask) and plan.task.model in MODELS:
        return Layout.of(build_task(plan).model()).dimension
    return None


def _check_built_in(
    plan: Plan, params: Params, started: str | None, ended: str | None, found: Findings
) -> None:
    """Check the file's tensors: a built-in model's order is known without running code of the plan's author."""
    task = build_task(plan)
    layout, tensors = Layout.of(task.model()), params.tensors
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    whole = shapes == dict(zip(layout.names, layout.shapes, strict=True))
    if not whole or any(tensor.dtype != torch.float32 for tensor in tensors.values()):
        found.add("params-mismatch", "params.safetensors does not hold the plan's model")
        return
    flat = torch.cat([tensors[name].reshape(-1) for name in layout.names])
    if params_digest(params_bytes(flat)).hex() != ended:
        found.add("params-mismatch", "params.safetensors is not what the last round ended with")
    begun = joined(initial_params(task.model, plan.federation.seed), first_norm(plan.privacy))
    first = params_digest(params_bytes(begun)).hex()
    if started is not None and first != started:
        found.add(
            "params-start",
            "round 1 did not start from the params that the plan's seed gives in this version of torch",
        )


def check_history(
    report: Mapping[str, Any], receipts: Receipts, plan: Plan, charge: Charge, found: Findings
) -> None:
    """Check the report's history, round by round: metrics as in the receipts, epsilon as it was spent by then."""
    rows = rows_of(report.get("history"))
    rounds, told = receipts.rounds, [row for row in rows if isinstance(row, Mapping)]
    numbers = [number for row in told if type(number := row.get("round")) is int]
    if numbers != list(rounds) or len(told) != len(rows):
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
    for number in _other_epsilons(dict(zip(numbers, epsilons, strict=True)), plan, charge, found):
        differs(f"history says another epsilon of round {number}", found)


def _other_epsilons(told: Mapping[int, float], plan: Plan, charge: Charge, found: Findings) -> Iterator[int]:
    """The rounds after which epsilon is neither what our accountant says nor between the auditor's bounds."""
    if plan.privacy.delta is None or not isinstance(charge.event, GaussianEvent):
        return
    rounds, looks = plan.federation.rounds, 0
    each = charge.with_count(releases_in_a_round(plan)).event
    ours = epsilon_by_round(each, rounds, plan.privacy.delta) if isinstance(each, GaussianEvent) else {}
    listed = list(ours)  # what holds of the next round in the list holds of those before it
    for number, value in told.items():
        if number <= rounds and is_same(ours[listed[bisect_left(listed, number)]], value):
            continue
        looks += 1
        if looks > _MOST_LOOKS:
            found.skip(
                "report.json: history.epsilon of some rounds: an earlier version counted them otherwise"
            )
            return
        part = charge.with_count(number * releases_in_a_round(plan))
        if not is_near(value, recounted_charge(part, plan)):
            yield number
