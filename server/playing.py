"""One round, attempt by attempt, until there is a sum or the round is lost.

Every attempt has keys and masks of its own. What may change from one to the next is the cohort, and that under
one rule: no site is asked a second question under a number that it may have charged. So while nobody of it can have
charged, another cohort is another attempt. After that the same cohort is tried again, on the same charge; where
that cannot help, the number is used up, and the next one begins with other sites and a charge of its own.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from federation.errors import TooFewSurvivors
from federation.model.params import params_view
from federation.plan.plan import Plan
from federation.report.receipt import Void
from federation.round.groups import can_sum
from federation.round.messages import Member, Reason
from federation.round.signed import PREPARED
from federation.round.terms import Terms
from federation.sums.state import ServerState
from privacy.roster import Roster
from server.attendance.cure import cure
from server.coordinator import SILENT, Coordinator
from server.events import note_begins, note_failed, note_lost
from server.grouped import Attempt, Grouped
from server.sessions import Lines
from server.transcripts import Transcripts
from server.voice import Place

Members: TypeAlias = tuple[Member, ...]

ATTEMPTS = 3
FIRST = PREPARED + 1
RESERVED = FIRST + ATTEMPTS  # how many numbers a round may use


@dataclass(frozen=True)
class Setting:
    """The state of a run, its sites that consented, and the lines to them.

    `transcripts` is where every opened sum is kept, None for nowhere.
    """

    state: ServerState
    members: Members
    lines: Lines
    transcripts: Transcripts | None = None

    @property
    def plan(self) -> Plan:
        """What the sites consented to."""
        return self.lines.voice.plan

    @property
    def roster(self) -> Roster:
        """Who the sites are."""
        return self.lines.voice.sites

    @property
    def number(self) -> int:
        """The round to be played."""
        return self.state.round + 1

    @property
    def place(self) -> Place:
        """Where the run stands, as a greeting says it."""
        return self.state.round, self.state.attempt

    def cohort(self, ahead: int = 1) -> Members:
        """The cohort of the round `ahead` of the state, as things stand."""
        return self.lines.attendance.cohort(self.plan, self.members, self.state.round + ahead)

    def here(self, cohort: Members) -> frozenset[str]:
        """The sites of a cohort that are not known to be away."""
        return frozenset(member.site for member in cohort) - set(self.lines.attendance.absence.away)

    def can_sum(self, cohort: Members) -> bool:
        """Whether enough of a cohort are here, for each sum of the round to be played."""
        names = [member.site for member in cohort]
        return can_sum(self.plan, self.number, names, self.here(cohort))

    def coordinator(self, ahead: int, attempt: int, cohort: Members) -> Coordinator:
        """A fresh attempt at the round `ahead` of the state, the attempt's number counted from the state's."""
        terms = terms_of(self.plan, self.state, cohort, attempt, ahead)
        uploads = self.transcripts.uploads() if self.transcripts is not None else None
        return Coordinator(terms, self.roster, self.lines.voice.key, self.lines.heads, uploads)

    def attempt(self, number: int, cohort: Members) -> Attempt:
        """A fresh attempt at the round to be played: one coordinator, or one for each group."""
        terms = terms_of(self.plan, self.state, cohort, number)
        if len(terms.groups) == 1:
            return self.coordinator(1, number, cohort)
        return Grouped(terms, self.roster, self.lines.voice.key, self.lines.heads)

    def following(self, present: AbstractSet[str]) -> Coordinator | None:
        """The round after the next, to be prepared on the way, if all who are asked to it are in the next one."""
        if self.state.round + 2 > self.plan.rounds or self.plan.secure_aggregation.groups:
            return None
        cohort = self.cohort(2)
        return self.coordinator(2, PREPARED, cohort) if self.here(cohort) <= present else None


@dataclass(frozen=True)
class Played:
    """A round that is over: its last attempt, the void ones, and whether it has its sums, or is lost."""

    last: Attempt
    voids: tuple[Void, ...]
    has_sums: bool

    @property
    def survivors(self) -> tuple[str, ...]:
        """The sites in the sum; none if the round is lost."""
        return self.last.survivors if self.has_sums else ()


def terms_of(plan: Plan, state: ServerState, members: Members, attempt: int = FIRST, ahead: int = 1) -> Terms:
    """The terms of an attempt at the round `ahead` of `state`."""
    number, dimension = state.round + ahead, state.params.numel()
    return Terms(plan, state.run, number, state.attempt + attempt, members, dimension)


def play_round(
    setting: Setting,
    prepared: Coordinator | None,
    *,
    may_lose: bool,
    charged: AbstractSet[str] = frozenset(),
) -> Played:
    """Play the next round until an attempt has a sum, or the round is lost.

    `charged`: the sites that may have charged it already. TooFewSurvivors if no attempt has a sum, and either
    nobody can have charged the round, or it may not be lost, or another number could do no better.
    """
    lines, voids, failure = setting.lines, list[Void](), TooFewSurvivors(0, 0)
    lines.greet(setting.place, setting.plan.cohort.deadline_seconds)
    lines.await_back(lambda: not lines.attendance.absence.away, 0)  # whoever's answer is here already
    cohort = setting.cohort()
    coordinator: Attempt | None = (
        prepared if prepared is not None and _fits(prepared, setting, cohort) else None
    )
    for attempt in range(FIRST, RESERVED):
        coordinator = coordinator or setting.attempt(attempt, cohort)
        note_begins(coordinator, len(voids) + 1)
        try:
            _play(coordinator, setting, is_first=not voids, is_last=attempt == RESERVED - 1)
        except TooFewSurvivors as error:
            failure = error
            coordinator.forget()
            note_failed(coordinator, len(voids) + 1, error.got, error.needed)
        except BaseException:
            coordinator.forget()
            raise
        else:
            _learn(coordinator, setting, len(voids) + 1)
            return Played(coordinator, tuple(voids), has_sums=True)
        _learn(coordinator, setting, len(voids) + 1)
        charged |= coordinator.charged
        voids.append(_void(coordinator))
        last, coordinator = coordinator, None
        if (again := _again(last, setting, charged)) is None:
            break
        cohort = again
        if attempt < RESERVED - 1:
            lines.await_back(partial(setting.can_sum, cohort), setting.plan.cohort.deadline_seconds)
    if charged and may_lose and _may_do_better(last, setting):
        return Played(last, tuple(voids), has_sums=False)
    failure.hint += _cures(setting.plan, last, failure)
    if told := lines.attendance.faults.told():
        failure.hint += f"; {told}"
    failure.is_free = not charged
    raise failure


def _cures(plan: Plan, last: Attempt, failure: TooFewSurvivors) -> str:
    """What would have helped where sites fell silent; the reasons of those that refused speak for themselves."""
    silent = list(failure.left.values()).count(SILENT)
    return f"; {cure(plan, len(last.terms.names), silent)}" if silent else ""


def _again(last: Attempt, setting: Setting, charged: AbstractSet[str]) -> Members | None:
    """The cohort of another attempt at the same number after a void one; None if it would help nothing."""
    fresh = setting.cohort()
    if not charged & {member.site for member in fresh}:
        return fresh
    is_blamed = fresh != last.terms.members and (last.accused or last.proven)
    return last.terms.members if last.may_repeat and not is_blamed else None


def _fits(prepared: Coordinator, setting: Setting, cohort: Members) -> bool:
    """Whether a prepared round is to be played: with all who are here, and with nobody who is left out."""
    return prepared.is_prepared and prepared.partners == setting.here(cohort)


def _may_do_better(last: Attempt, setting: Setting) -> bool:
    """Whether the next number can have a sum where this one has none."""
    fresh = setting.cohort()
    if fresh != last.terms.members and (last.accused or last.proven):
        return True  # also where no number is left: the run ends without this round
    if _has_diverged(last, setting.plan):
        return False  # others would diverge, too, at a charge of their own
    is_other = fresh != last.terms.members or not last.may_repeat
    return is_other and setting.can_sum(fresh) and setting.number < setting.plan.rounds


def _has_diverged(last: Attempt, plan: Plan) -> bool:
    """Whether more sites say that their updates left the ring than may lie about it, to end the run."""
    told = list(last.reasons.values()).count(Reason.DIVERGED.name.lower())
    return told > plan.secure_aggregation.colluders


def _void(coordinator: Attempt) -> Void:
    terms = coordinator.terms
    return Void(
        attempt=terms.attempt,
        cohort=terms.names,
        reasons=coordinator.reasons,
        charged=tuple(sorted(coordinator.charged)),
    )


def _learn(coordinator: Attempt, setting: Setting, tried: int) -> None:
    """Note who was lost in an attempt, and who is at fault; in one with a sum, also who stayed to its end."""
    note_lost(coordinator, tried)
    attendance = setting.lines.attendance
    attendance.faults.accuse(coordinator.accused.items())
    attendance.faults.prove(sorted(coordinator.proven))
    if coordinator.is_done:
        for site in set(coordinator.terms.names) - coordinator.lost.keys():
            attendance.absence.stayed(site)


def _play(coordinator: Attempt, setting: Setting, *, is_first: bool, is_last: bool) -> None:
    """Carry messages until the coordinator has its sums. A site that falls silent is greeted at once.

    Only the first attempt at a round prepares the next one: a prepared attempt has a number, which is used once.
    """
    lines, whole, known = setting.lines, setting.plan.cohort.deadline_seconds, set[str]()
    patience, absence = lines.attendance.patience, lines.attendance.absence
    members = frozenset(member.site for member in coordinator.terms.members)
    present = coordinator.partners or members
    following = setting.following(present) if is_first else None
    outgoing = coordinator.start(params_view(setting.state.sent), following)
    while not coordinator.is_done:
        if outgoing:
            lines.send(outgoing)
            patience.begins(whole, is_training=coordinator.is_training, is_last=is_last)
        reply = lines.next(patience.left(is_enough=coordinator.has_enough))
        try:
            outgoing = coordinator.deadline() if reply is None else coordinator.receive(*reply)
        finally:
            if news := coordinator.gone - known:
                known |= news
                for site in sorted(news):
                    absence.lost(site, setting.number)
                lines.greet(setting.place, whole)
