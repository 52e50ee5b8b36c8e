"""What happens to a run, as the coordinator's log tells it (`federation.log`): rounds, and who was lost why."""

from __future__ import annotations

from collections.abc import Iterable

from federation.kinds.allowed import Unlikely
from federation.log import Event, Fact, is_on, note, warn
from federation.plan.plan import Plan
from federation.report.receipt import Receipt
from federation.round.plays import fold_of, rounds_before
from federation.round.terms import Terms
from federation.sums.state import ServerState
from privacy.accounting.events import GaussianEvent
from privacy.accounting.pld import epsilon
from privacy.roster import Roster
from server.grouped import Attempt


def note_joined(plan: Plan, state: ServerState, sites: Iterable[str], roster: Roster) -> None:
    """The run begins, or goes on after the server was stopped; `absent` are sites of the roster without consent."""
    names = sorted(sites)
    note(
        "run_resumed" if state.round else "run_begins",
        run=state.run.hex(),
        plan=plan.digest,
        sites=names,
        absent=sorted(set(roster.by_site) - set(names)),
        rounds=plan.reserved[0],
        rounds_done=rounds_before(plan, state.run) + state.round,
        fold=fold_of(plan, state.run) or None,
    )


def note_begins(coordinator: Attempt, tried: int) -> None:
    """An attempt at a round begins, the `tried`th at it."""
    if is_on():
        terms = coordinator.terms
        name: Event = "evaluation_begins" if terms.is_evaluation else "round_begins"
        note(name, **_place(coordinator, tried), cohort=len(terms.names), sites=terms.names)


def note_lost(coordinator: Attempt, tried: int) -> None:
    """Each site that the attempt went on without, or failed for, and why: a reason from the fixed list."""
    if not is_on():
        return
    for site, reason in coordinator.reasons.items():
        accused = coordinator.accused.get(site)
        warn("site_lost", **_place(coordinator, tried), site=site, reason=reason, dealt_by=accused)


def note_lost_round(run: bytes, receipt: Receipt) -> None:
    """A round has no sum and never will; some sites may have charged it. The next one begins."""
    accused = [f"{accuser}>{accused}" for accuser, accused in receipt.accused] or None
    charged = sorted(receipt.charged)
    warn("round_lost", run=run.hex(), round=receipt.round, charged=charged, accused=accused)


def note_failed(coordinator: Attempt, tried: int, got: int, needed: int) -> None:
    """An attempt has no sum; `site_lost` lines say for whom."""
    warn("round_failed", **_place(coordinator, tried), survivors=got, needed=needed)


def note_round(plan: Plan, run: bytes, receipt: Receipt) -> None:
    """A round is done; `epsilon`: of all rounds so far, for one unit that the plan protects.

    Rounds of a plan with folds are numbered through all of its parts.
    """
    number = rounds_before(plan, run) + receipt.round
    if is_on() and not receipt.is_lost:
        note(
            "round_ends",
            run=run.hex(),
            round=number,
            rounds=plan.reserved[0],
            cohort=len(receipt.cohort),
            survivors=len(receipt.survivors),
            lost=[site for site in receipt.cohort if site not in receipt.survivors],
            seconds=receipt.seconds,
            epsilon=_so_far(plan, number),
        )


def note_unlikely(terms: Terms, found: Unlikely) -> None:
    """A sum that honest sites do not make was used, as the plan has that reported."""
    warn("sum_unlikely", run=terms.run.hex(), round=terms.round, check=found.check, ratio=found.ratio)


def note_evaluated(run: bytes, cohort: Iterable[str], survivors: Iterable[str]) -> None:
    """The evaluation is published."""
    inside = set(survivors)
    lost = [site for site in cohort if site not in inside]
    note("evaluation_ends", run=run.hex(), survivors=len(inside), lost=lost)


def _so_far(plan: Plan, rounds: int) -> float | None:
    event, delta = plan.charges[0].event, plan.privacy.delta
    if not isinstance(event, GaussianEvent) or delta is None:
        return None
    done = plan.charges[0].of(rounds, plan.reserved[0])
    return epsilon([done.event], delta)


def _place(coordinator: Attempt, tried: int) -> dict[str, Fact]:
    """People count tries of a round from 1; the protocol's number goes on over rounds' and processes' ends."""
    terms = coordinator.terms
    return {
        "run": terms.run.hex(),
        "round": rounds_before(terms.plan, terms.run) + terms.round,
        "attempt": tried,
    }
