"""What happens at a site, as its log tells it (`federation.log`): counts, names of sites and reasons, no data."""

from __future__ import annotations

import time
from collections.abc import Sequence

from clients.journal.journal import Journal
from clients.participant import Participant
from federation.log import Event, Fact, is_on, note
from federation.metering import Meter
from federation.plan.guarantee import site_cost
from federation.plan.plan import Plan
from federation.round.plays import account_name, fold_of, rounds_before
from federation.round.terms import Terms
from privacy.canonical import finite
from privacy.roster import Roster


def note_joined(run: bytes, plan: Plan, roster: Roster, journal: Journal) -> None:
    """The site takes part in a run, or goes on with one that its ledger has begun."""
    if not is_on():  # an epsilon takes a moment
        return
    name = account_name(plan, run)
    if plan.is_rehearsal:
        note("rehearsal_begins", run=run.hex(), plan=plan.rehearsed().digest, rounds=plan.rounds)
        return
    begun = journal.rounds_begun(name)
    note(
        "run_resumed" if begun else "run_begins",
        run=name,
        name=plan.federation.name,
        plan=plan.digest,
        sites=[entry.site for entry in roster.entries],
        rounds=plan.reserved[0],
        rounds_begun=begun,
        fold=fold_of(plan, run) or None,
        **_spent(plan, journal),
    )


def note_ended(run: bytes, plan: Plan | None, journal: Journal, meter: Meter) -> None:
    """The run is closed. What its computing took follows the batches: it is told here, and sent nowhere."""
    if not is_on():
        return
    if plan is not None and plan.is_rehearsal:
        note("rehearsal_ends", run=run.hex(), rounds_begun=journal.rounds_begun(run.hex()))
        return
    spent = {} if plan is None else _spent(plan, journal)
    taken, begun = meter.taken(), journal.rounds_begun(run.hex())
    took = {"cpu_seconds": round(taken.cpu_seconds, 1), "joules": taken.joules and round(taken.joules)}
    note("run_ends", run=run.hex(), rounds_begun=begun, **took, **spent)


def note_invited(participant: Participant) -> None:
    """The site is in the cohort of a round to come."""
    note("invited", **_place(participant))


def note_asked(participant: Participant) -> None:
    """The round begins: its params are here."""
    participant.began = time.monotonic()
    name: Event = "evaluation_begins" if participant.terms.is_evaluation else "round_begins"
    note(name, **_place(participant))


def note_sent(participant: Participant) -> None:
    """This site's part of the sum is made, masked, and handed over."""
    note("update_sent", **_place(participant))


def note_opened(participant: Participant, survivors: Sequence[str], journal: Journal) -> None:
    """The round ends: whose sum this site opens. Why another was lost the server knows.

    `epsilon`: of all rounds of the run that this site began so far, for one unit that the plan protects.
    """
    if not is_on():
        return
    terms, inside = participant.terms, set(survivors)
    note(
        "evaluation_ends" if terms.is_evaluation else "round_ends",
        **_place(participant),
        survivors=len(survivors),
        lost=[member.site for member in terms.members if member.site not in inside],
        seconds=time.monotonic() - participant.began,
        epsilon=_so_far(terms, journal),
    )


def _spent(plan: Plan, journal: Journal) -> dict[str, Fact]:
    """Epsilon of all that the ledger has charged to one unit that the plan protects, and its limit on record.

    None without a limit for it. A plan is charged as a whole before its first round, so this grows when a run
    begins, and not in between.
    """
    unit = plan.privacy.unit
    limit = journal.limits().get(unit)
    budget = limit.budget if limit is not None else None
    return {
        "unit": unit,
        "epsilon": journal.spent().get(unit),
        "epsilon_max": budget.epsilon if budget is not None else None,
        "delta": budget.delta if budget is not None else None,
    }


def _so_far(terms: Terms, journal: Journal) -> float | None:
    if not terms.plan.is_private or terms.plan.is_rehearsal:
        return None
    rounds = journal.rounds_begun(account_name(terms.plan, terms.run))
    return finite(site_cost(terms.plan, rounds, terms.is_evaluation).together)


def _place(participant: Participant) -> dict[str, Fact]:
    terms = participant.terms
    return {
        "run": account_name(terms.plan, terms.run),  # parts of a plan with folds are one run in the ledger
        "round": rounds_before(terms.plan, terms.run) + terms.round,
        "attempt": participant.tried,
        "cohort": len(terms.members),
        "rehearsal": "yes" if terms.plan.is_rehearsal else None,
    }
