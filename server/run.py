"""All rounds of a run, over any transport.

    roster -> cohort -> invitation -> sealed shares -> masked updates -> sum -> mean delta -> optimizer -> params

One loop serves every transport. The caller stores each state before it asks for the next
round, so a killed run goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeAlias

from federation.errors import SumRefused, TooFewSurvivors
from federation.kinds.allowed import Unlikely
from federation.model.params import params_bytes, params_digest
from federation.plan.plan import Plan
from federation.report.receipt import Receipt
from federation.report.report import UnlikelySum
from federation.round.cohort import sample
from federation.round.messages import Member, Reason
from federation.round.terms import Terms
from federation.sums.evidence import to_bytes
from federation.sums.record import Content, Heading
from federation.sums.replay import to_packed
from federation.sums.state import ServerState, advance_by, require_finite
from privacy.ledger.heads import Head
from privacy.mechanism.noise import Stream
from privacy.roster import Roster
from server.coordinator import Coordinator
from server.evaluation import Evaluated, evaluated
from server.events import note_begins, note_evaluated, note_failed, note_lost, note_unlikely
from server.grouped import Grouped
from server.heads import Heads
from server.sessions import Lines
from server.transcripts import Transcripts

Members: TypeAlias = tuple[Member, ...]
ServerNoise: TypeAlias = Callable[[int], Stream]  # round -> the stream of the server's noise

ATTEMPTS = 3
# Attempts are numbered: one that the round before prepared comes first, then those that begin with an invitation.
PREPARED, FIRST = 1, 2
RESERVED = FIRST + ATTEMPTS  # how many numbers a round may use


def run(
    plan: Plan,
    state: ServerState,
    lines: Lines,
    members: Members,
    roster: Roster,
    stream: ServerNoise,
    transcripts: Transcripts | None = None,
) -> Iterator[tuple[ServerState, Receipt]]:
    """Yield the state after every round, with its receipt.

    `members` are the sites of the roster that consented. `stream` gives the server's noise, round by round, and is
    read only where the plan says `noise = "central"`. `transcripts` is where every opened sum is kept, None for
    nowhere. Raises TooFewSurvivors when every attempt at a round fails, RosterError when no cohort can be formed,
    TrainingDiverged when a round ended in params that are not finite, SumRefused when honest sites cannot have made
    the sum of a round and the plan does not have that reported.
    """
    prepared: Coordinator | None = None
    while state.round < plan.federation.rounds:
        require_finite(state)
        started = time.monotonic()
        setting = Setting(plan, state, members, roster, lines.heads, transcripts)
        coordinator = _round(setting, lines, prepared)
        terms, survivors, prepared = coordinator.terms, coordinator.survivors, coordinator.following
        digest = _keep(setting, coordinator)
        _welcome_back(coordinator, lines)
        sums = coordinator.sums()
        with _shown_by(digest):
            after, found = advance_by(plan, state, sums, stream(terms.round))
        heads = lines.heads.of(terms.names)
        receipt = receipt_of(terms, survivors, state, after, started, lines.take_counts(), heads)
        told = {"transcript": digest, "excess_left": tuple(sorted(site for one in sums for site in one.left))}
        yield after, judged(receipt, terms, found).model_copy(update=told)
        state = after


def evaluate(
    plan: Plan,
    state: ServerState,
    lines: Lines,
    members: Members,
    roster: Roster,
    stream: ServerNoise,
    transcripts: Transcripts | None = None,
) -> Evaluated:
    """The round after the last: noised figures of the final params on what the sites held out."""
    setting = Setting(plan, state, members, roster, lines.heads, transcripts)
    coordinator = _round(setting, lines, None)
    digest = _keep(setting, coordinator)
    terms, survivors, cohort = coordinator.terms, coordinator.survivors, coordinator.terms.names
    with _shown_by(digest):
        done = evaluated(coordinator.sums()[0], stream(terms.round), lines.heads.of(cohort))
    if done.unlikely is not None:
        note_unlikely(terms, done.unlikely)
    note_evaluated(state.run, cohort, survivors)
    return replace(done, transcript=digest)


def receipt_of(
    terms: Terms,
    survivors: tuple[str, ...],
    before: ServerState,
    after: ServerState,
    started: float,
    counts: tuple[Mapping[str, int], Mapping[str, int]],
    heads: Mapping[str, Head],
) -> Receipt:
    """The receipt of a round that began at `started` (monotonic); `counts` are bytes up and down, by site."""
    return Receipt(
        round=terms.round,
        attempts=max(1, terms.attempt - before.attempt - PREPARED),
        cohort=terms.names,
        survivors=survivors,
        seconds=time.monotonic() - started,
        bytes_up=counts[0],
        bytes_down=counts[1],
        params_before=params_digest(params_bytes(before.params)).hex(),
        params_after=params_digest(params_bytes(after.params)).hex(),
        heads={site: head.to_json() for site, head in heads.items()},
    )


def judged(receipt: Receipt, terms: Terms, found: Unlikely | None) -> Receipt:
    """The receipt, with what is odd about the round's sum, which is told as well."""
    if found is None:
        return receipt
    note_unlikely(terms, found)
    return receipt.model_copy(update={"unlikely": UnlikelySum(check=found.check, ratio=found.ratio)})


@dataclass(frozen=True)
class Setting:
    """The state of a run, and its sites."""

    plan: Plan
    state: ServerState
    members: Members
    roster: Roster
    heads: Heads
    transcripts: Transcripts | None = None

    def cohort(self, ahead: int) -> Members:
        """The cohort of the round `ahead` of the state."""
        return sample(self.plan, self.members, self.state.round + ahead)

    def attempt(self, number: int) -> Coordinator | Grouped:
        """A fresh attempt at the next round, by group where the plan has groups."""
        terms = terms_of(self.plan, self.state, self.cohort(1), number)
        if self.plan.secure_aggregation.groups is None or terms.is_evaluation:
            return self.coordinator(1, number)
        return Grouped(terms, self.roster, self.heads)

    def coordinator(self, ahead: int, attempt: int) -> Coordinator:
        """A fresh attempt at the round `ahead`, the attempt's number counted from the state's."""
        terms = terms_of(self.plan, self.state, self.cohort(ahead), attempt, ahead)
        uploads = self.transcripts.uploads() if self.transcripts is not None else None
        return Coordinator(terms, self.roster, self.heads, uploads)

    def following(self) -> Coordinator | None:
        """The round after the next, to be prepared on the way, if all of its cohort are in the next one too."""
        if self.state.round + 2 > self.plan.federation.rounds or self.plan.secure_aggregation.groups:
            return None
        return self.coordinator(2, PREPARED) if set(self.cohort(2)) <= set(self.cohort(1)) else None


def terms_of(plan: Plan, state: ServerState, members: Members, attempt: int = FIRST, ahead: int = 1) -> Terms:
    """The terms of an attempt at the round `ahead` of `state`."""
    number, dimension = state.round + ahead, state.params.numel()
    return Terms(plan, state.run, number, state.attempt + attempt, members, dimension)


def _round(setting: Setting, lines: Lines, prepared: Coordinator | None) -> Coordinator | Grouped:
    """Play the next round until an attempt has a sum; every attempt has keys and masks of its own."""
    failure: TooFewSurvivors | None = None
    for attempt in range(FIRST, FIRST + ATTEMPTS):
        is_prepared = prepared is not None and prepared.is_prepared
        coordinator = prepared if prepared is not None and is_prepared else setting.attempt(attempt)
        prepared = None
        note_begins(coordinator)
        try:
            _play(coordinator, setting, lines)
        except TooFewSurvivors as error:
            failure = error
            coordinator.forget()
            note_failed(coordinator, error.got, error.needed)
            note_lost(coordinator)
            _welcome_back(coordinator, lines)
            if not coordinator.may_repeat:
                failure.hint += "; on a ring a round that failed after masking is over: start another run"
                break
        except BaseException:
            coordinator.forget()
            raise
        else:
            note_lost(coordinator)
            return coordinator
    raise failure or AssertionError("unreachable")


def _keep(setting: Setting, coordinator: Coordinator | Grouped) -> str | None:
    """Make what shows the sum of a round durable, before anything follows from it; its digest, None without."""
    opened, total = coordinator.opened, coordinator.result
    if setting.transcripts is None or coordinator.uploads is None or opened is None or total is None:
        return None
    terms, params = coordinator.terms, params_bytes(setting.state.params)
    content = Content(
        heading=Heading.of(terms, params_digest(params), setting.transcripts.roster),
        start=params if terms.round == 1 else b"",
        evidence=to_bytes(opened),
        uploads=coordinator.uploads.parts(opened.survivors),
        total=to_packed(total, terms.parameters.ring_bits),
    )
    try:
        return setting.transcripts.keep(content)
    finally:
        coordinator.forget()


@contextmanager
def _shown_by(digest: str | None) -> Iterator[None]:
    """Within the context a sum is refused together with what shows it."""
    try:
        yield
    except SumRefused as error:
        error.transcript = digest
        raise


def _welcome_back(coordinator: Coordinator | Grouped, lines: Lines) -> None:
    """Greet the sites that restarted during a round, so that they take part in the next one."""
    unknown = Reason.UNKNOWN_RUN.name.lower()
    started = [site for site, reason in coordinator.left.items() if reason == unknown]
    if started:
        lines.greet(started, coordinator.terms.plan.cohort.deadline_seconds)


def _play(coordinator: Coordinator | Grouped, setting: Setting, lines: Lines) -> None:
    """Carry messages until the coordinator has its sums; every step has the plan's deadline."""
    outgoing, ends = coordinator.start(params_bytes(setting.state.params), setting.following()), 0.0
    while not coordinator.is_done:
        if outgoing:
            lines.send(outgoing)
            ends = time.monotonic() + setting.plan.cohort.deadline_seconds
        reply = lines.next(max(0.0, ends - time.monotonic()))
        outgoing = coordinator.deadline() if reply is None else coordinator.receive(*reply)
