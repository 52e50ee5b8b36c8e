"""A site put together: identity, policy, data, journal; one request in, one reply out.

`Site.receive` is all that the outside can reach, whatever carries the bytes. It answers every request with one
frame and never raises: a refusal is an ABORT with a reason from a fixed list, because an exception's text could
carry data. What really happened is kept in `last_error` and in the log, for the people at the site.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from clients.events import note_asked, note_ended, note_invited, note_joined, note_opened, note_sent
from clients.greeting.greeting import agreed, greeted
from clients.greeting.greetings import Greetings
from clients.greeting.joined import Joined
from clients.greeting.parts import begun_of, is_same, parted, require_playable
from clients.greeting.position import Position
from clients.greeting.refusals import UnknownRun, asked_to_exit, reason_of
from clients.journal.journal import Journal
from clients.participant import Participant, ShareDoesNotOpen, machine_of, require_same_company, settle
from clients.people.leaving_out import People, ended_layers, forget_if_listed, layers_of, seconds_at_most
from clients.policy import Policy, consent
from clients.rehearsing.understudy import Understudy
from clients.release import Present, excess_of, release
from clients.timing import minute
from clients.training.screening.screen import said_of, screened, try_out
from clients.training.work import Trainer, worst_case_seconds
from clients.trust import Trust, genuine_heads, require_own_ledgers
from federation.errors import TaskError, TrainingDiverged
from federation.log import said, warn
from federation.metering import Meter
from federation.model.params import Layout, params_from_bytes
from federation.model.task import build_task
from federation.plan.plan import Plan
from federation.round.messages import (
    MAX_HELLO,
    Broadcast,
    Frame,
    Kind,
    Member,
    Paired,
    Reason,
    abort_body,
    closing_digest,
    few,
    heads_body,
)
from federation.round.plays import MODEL, account_name, fold_of
from federation.round.sent import sent_length
from federation.round.sizes import longest_request
from federation.round.terms import Terms, evaluation_run
from privacy.errors import FaultyServer, LedgerRefusal, MalformedMessage
from privacy.ledger.heads import Head
from privacy.mechanism.encoding import EncodingOverflow, RingVector
from privacy.roster import Roster, SignedRoster
from privacy.secagg.client import Entropy
from privacy.secagg.kem import require_kem
from privacy.secagg.ring import packed_size
from privacy.signing import public_identity
from privacy.suite import SUITE
from privacy.wire import Content, Octets, digest

_log = logging.getLogger(__name__)
_REMEMBERED = 256  # plans whose task failed
_PACE_MARGIN = 2.0  # a machine is not equally fast at all times
Load = Callable[[Plan], Trainer]
"""Consented plan -> model, data, streams; DataError and TaskError are the site's own."""


@dataclass
class Site:
    """One institution's side of every run. Owns the data, the keys of each round and the journal."""

    member: Member
    trust: Trust
    policy: Callable[[], Policy]  # as it stands at this moment: it is asked in every round
    journal: Journal
    load: Load
    entropy: Entropy = os.urandom
    ledgers: Callable[[], frozenset[bytes]] | None = None  # tags of all of this site's, if it has a registry
    greetings: Greetings = field(default_factory=Greetings)
    clock: Callable[[], float] = time.time
    understudy: Understudy | None = None  # takes the site's place in rehearsals
    people: People | None = None  # whose records to leave out
    layers: Path | None = None  # the folder of those that the site keeps for itself from round to round
    is_timed: bool = False  # whether to measure, when joining, how long the answer to a round may take
    meter: Meter = field(default_factory=Meter.begin, init=False, repr=False)  # since joining: folds go on
    pace: float = field(default=0.0, init=False)  # seconds; see `clients.timing`
    last_error: Exception | None = field(default=None, init=False)
    _joined: Joined | None = field(default=None, init=False, repr=False)
    _of_data: Exception | None = field(default=None, init=False, repr=False)
    _failing: list[str] = field(default_factory=list, init=False, repr=False)  # plans whose task failed

    def __post_init__(self) -> None:
        require_kem()

    def receive(self, data: bytes) -> bytes:
        """The reply to a request of the server."""
        if self.understudy is not None and (reply := self.understudy.answer(data, self._is_busy)) is not None:
            return reply
        frame = Frame(Kind.ABORT, bytes(16), 0, 0)
        try:
            frame = Frame.header(data)
            self._require_fits(frame, len(data))
            frame = Frame.from_bytes(data)
            return self._answer(frame).to_bytes()
        except (Exception, SystemExit) as error:  # nothing may leave but the reason
            reason = self._refused(frame, error if isinstance(error, Exception) else asked_to_exit())
            slot = error.slot if isinstance(error, ShareDoesNotOpen) else None
            return frame.reply(Kind.ABORT, abort_body(reason, slot)).to_bytes()

    def close(self) -> None:
        """Let go of the journal."""
        self.journal.close()

    def _refused(self, frame: Frame, error: Exception) -> Reason:
        """Tell the people at the site why; the reason that may be sent."""
        self.last_error, reason = error, Reason.FAILED if error is self._of_data else reason_of(error)
        self._of_data = None
        word, number = reason.name.lower(), frame.round or None
        warn("refused", run=frame.run.hex(), round=number, reason=word, detail=said(error))
        return reason

    def join(self, run: bytes, plan: Plan, roster: SignedRoster, heads: tuple[Head, ...] = ()) -> None:
        """Consent to a run: roster, witnesses and policy first, then the whole plan's budget, then the data.

        A user's own code is tried on made-up records of their shapes; if it fails, the budget is given back. Then
        it is run on every record: those on which it raises are left out (`clients.training.screening.screen`).

        Idempotent for a run: consenting again keeps the rounds that are open.
        """
        self.trust.require_of_its_kind(plan)
        genuine = self.trust.accept(roster, self.member)
        shown = self._believed(heads, genuine)
        joined, name = self._joined, account_name(plan, run)
        if joined is not None and (joined.run, joined.plan, joined.roster) == (run, plan, genuine):
            self.journal.require_present(name)
            self.journal.witness(shown)
            return
        self._require_free(run, plan)
        require_playable(plan, run)
        policy = self.policy()
        consent(plan, policy)
        self.journal.require_approved(name, plan.digest, policy.runs_of(plan.digest))
        self._require_untried(plan)
        build_task(plan)  # what is missing, or is not what the plan pins, is told before anything is charged
        self.journal.accept(genuine.serial, genuine.root.hex())
        self.trust.remember(genuine)
        self.journal.witness(shown)
        if joined is not None and (joined.run, joined.plan) == (run, plan):
            joined.regroup(genuine)
            return
        (rounds, tests), names = plan.reserved, (name, evaluation_run(name))
        agreed_on = plan.digest, plan.charges, rounds
        self.journal.reserve_plan(names, *agreed_on, policy.limits(), policy.runs_of(plan.digest), tests)
        if not self.journal.is_open(name):
            self._joined = Joined(run, plan, genuine, None, 0)
            return
        trainer = self._whole(run, plan)
        dimension = Layout.of(trainer.task.model()).dimension
        if self.is_timed:
            members = tuple(Member(entry.site, entry.size) for entry in genuine.entries)
            largest = Terms(plan, run, 1, 1, members, dimension)
            leaving = seconds_at_most(trainer.data, self.member.size)
            self.pace = _PACE_MARGIN * (worst_case_seconds(largest, self.member.site, trainer) + leaving)
        begun = Position(begun=begun_of(plan, run, self.journal.last_begun(name)))
        given = parted(trainer, plan, run)
        whole = None if given is trainer else trainer  # of one part nothing is kept twice
        self._joined = Joined(run, plan, genuine, given, dimension, begun, whole=whole)
        note_joined(run, plan, genuine, self.journal)

    def _believed(self, heads: tuple[Head, ...], roster: Roster) -> tuple[Head, ...]:
        """The heads that a server shows. LedgerRefusal if one is of a ledger of this site that it does not know."""
        shown = genuine_heads(heads, roster, self.member.site, rehearsed=self.trust.rehearses)
        if self.ledgers is not None:
            site, key = self.member.site, public_identity(self.trust.identity)
            require_own_ledgers(shown, site, key, self.journal.tag(), self.ledgers)
        return shown

    def _is_busy(self) -> bool:
        """Whether a run is open in this process."""
        return self._joined is not None and self.journal.is_open(self._joined.account)

    def _require_free(self, run: bytes, plan: Plan) -> None:
        """LedgerRefusal for another run than the one that is open here: no greeting ends that one."""
        joined = self._joined
        if joined is not None and not is_same(joined.plan, joined.run, plan, run) and self._is_busy():
            raise LedgerRefusal(
                f"this site takes part in run {joined.account}, which is not over",
                hint=f"finish it; if it will not go on: federation ledger close SITE {joined.account}",
            )

    def _whole(self, run: bytes, plan: Plan) -> Trainer:
        """All records that the plan may be played on. Parts of one plan share them: no file is read between two."""
        joined, name = self._joined, account_name(plan, run)
        if joined is not None and joined.whole is not None and (joined.plan, joined.account) == (plan, name):
            return joined.whole
        self.meter = Meter.begin()
        trainer = self._loaded(plan)
        self._try_out(run, plan, trainer)
        trainer = screened(trainer, plan, each_alone=self.is_timed)
        self._tell(trainer)
        return trainer

    def _loaded(self, plan: Plan) -> Trainer:
        """The data. What is wrong with them, whoever finds it, is sent as one and the same reason."""
        try:
            return self.load(plan)
        except Exception as error:
            self._of_data = error
            raise

    def _try_out(self, run: bytes, plan: Plan, trainer: Trainer) -> None:
        """TaskError if the task's code fails on made-up records: it has seen no data, and nothing stays charged."""
        try:
            try_out(trainer.task, trainer.data, plan, self.member.size, trainer.place)
        except TaskError:
            name = account_name(plan, run)
            self.journal.abandon_run(name, bytes(32).hex(), evaluation_run(name))
            self._failing.append(plan.digest)
            del self._failing[:-_REMEMBERED]
            raise

    def _require_untried(self, plan: Plan) -> None:
        """TaskError for a plan whose task failed before: to try it once more is work, and entries in the ledger."""
        if plan.digest in self._failing:
            message = "the task's code failed on made-up records before"
            raise TaskError(message, hint="correct it, then start the site again")

    def _present(self, joined: Joined) -> Present | None:
        """Takes out, for good, the records of people who withdrew. Their list is looked at before any charge."""
        if (people := self.people) is None:
            return None
        people.now()

        def present(read: Trainer) -> tuple[Trainer, Callable[[bytes], str]]:
            joined.trainer, left_out = people.present(read)
            return joined.trainer, left_out

        return present

    def _tell(self, trainer: Trainer) -> None:
        """How many records raised since the last time, for the people at the site."""
        if trainer.tally.raised:
            _log.warning("%s", said_of(self.member.site, trainer.tally.raised))
        trainer.tally.raised = 0

    def release(
        self, terms: Terms, params: Tensor, heads: tuple[Head, ...] = (), excess: bytes = b""
    ) -> RingVector:
        """What this site adds to the sum of a round it joined, if its policy allows it: see `release`."""
        joined = self._joined_run(terms.run)
        shown = self._believed(heads, joined.roster)
        policy = self.policy()
        consent(joined.plan, policy)
        limits, trainer = policy.limits(), joined.trainer
        if trainer is None:
            raise LedgerRefusal("this run is closed", hint="start a new one")
        present = self._present(joined)
        try:
            given = terms, self.member.site, params, trainer, self.journal
            at = minute(self.clock())
            own = layers_of(self.layers, terms, self.people)
            found = release(
                *given, limits=limits, heads=shown, excess=excess, present=present, at=at, layers=own
            )
            forget_if_listed(own, terms, self.people)
            self._tell(joined.trainer or trainer)
            return found
        except EncodingOverflow:
            raise TrainingDiverged.beyond(f"round {terms.round}: the update of {self.member.site}") from None

    def layers_after(self, run: str) -> Tensor | None:
        """The layers that the site kept for itself in a run, after its last round there."""
        known = None if self.people is None else self.people.now()
        return None if self._joined is None else ended_layers(self.layers, self._joined.plan, run, known)

    def finish(self, run: bytes, params: bytes) -> Head:
        """The run is over and ended in these params (a digest): rounds that were never begun are returned.

        A fold ends nothing of the ledger's: the training of the model does. The head of the journal after it.
        """
        joined = self._joined
        if joined is not None and joined.run == run and fold_of(joined.plan, run) != MODEL:
            self.journal.forget(joined.account, evaluation_run(joined.account))
            return self.journal.head()
        self.journal.close_run(run.hex(), params.hex(), evaluation_run(run.hex()))
        note_ended(run, self._joined.plan if self._joined is not None else None, self.journal, self.meter)
        return self.journal.head()

    @property
    def largest(self) -> int:
        """Bytes of the longest request that this site can be sent by an honest server, now."""
        joined, rehearsed = self._joined, 0 if self.understudy is None else self.understudy.largest
        return max(MAX_HELLO, rehearsed, 0 if joined is None else self._largest_of(joined))

    def _largest_of(self, joined: Joined) -> int:
        return longest_request(joined.dimension, len(joined.roster.entries))

    def _require_fits(self, frame: Frame, length: int) -> None:
        """MalformedMessage for a request longer than its plan has room for: nothing of it is copied or parsed."""
        most = MAX_HELLO if frame.kind is Kind.HELLO else self._largest_of(self._joined_run(frame.run))
        if length > most:
            raise MalformedMessage(f"a {frame.kind.name} of {length} bytes, where {most} are the most")

    def _answer(self, frame: Frame) -> Frame:
        if frame.kind is Kind.HELLO:
            return self._consented(frame)
        joined = self._joined_run(frame.run)
        joined.require_said(frame)
        if frame.kind is Kind.CLOSE:
            return frame.reply(Kind.CLOSED, heads_body([self.finish(frame.run, closing_digest(frame.body))]))
        if frame.kind is Kind.INVITE:
            return frame.reply(Kind.ADVERT, self._invited(joined, frame).machine.advertise())
        participant = joined.asked(frame.round)
        if participant is None or participant.terms.place != (frame.run, frame.round, frame.attempt):
            raise FaultyServer("a message of a round that this site was not invited to")
        if frame.kind not in (Kind.BROADCAST, Kind.CERTIFICATE):
            return frame.reply(*self._reply(participant, frame.kind, bytes(frame.body)))
        paired = Paired.from_bytes(frame.body)
        kind, own = self._reply(participant, frame.kind, paired.own)
        if kind is Kind.MASKED:
            joined.position = joined.position.began(frame.round)
        following = self._following(frame, bytes(paired.following))
        return frame.reply(kind, Paired(own, following, (self.journal.head(),)).to_bytes())

    def _consented(self, frame: Frame) -> Frame:
        """The signed consent to a greeting. Nothing is done for one that is not the coordinator's, and of now."""
        greeting = greeted(frame, self.trust, self.member, self.greetings, self.clock())
        self._require_free(greeting.run, greeting.plan)
        if self.understudy is not None:
            self.understudy.leave()
        self.join(greeting.run, greeting.plan, greeting.signed, greeting.heads)
        self.greetings.remember(greeting.roster.coordinator, greeting.issued, greeting.run)
        joined = self._joined_run(greeting.run)
        joined.position = joined.position.greeted(greeting.stands)
        witnessed = few(head for head in self.journal.witnessed() if head.site in joined.roster.by_site)
        welcome = agreed(greeting, self.member, self.journal.head(), joined.dimension, self.trust.identity)
        return frame.reply(Kind.WELCOME, replace(welcome, heads=witnessed).to_bytes())

    def _following(self, present: Frame, data: bytes) -> bytes:
        """The answer to a frame of the next round that came with this one; empty if there is none.

        Whatever is wrong with it concerns the next round only, which then begins with an invitation of its own.
        """
        if not data:
            return b""
        try:
            frame = Frame.from_bytes(data)
            if frame.kind not in (Kind.INVITE, Kind.ADVERTS) or frame.round != present.round + 1:
                raise FaultyServer(f"a {frame.kind.name} frame travels with another round")
            return self._answer(frame).to_bytes()
        except Exception as error:  # as in `receive`: this round's reply must not suffer
            self._refused(present, error)
            return b""

    def _joined_run(self, run: bytes) -> Joined:
        if self._joined is None or self._joined.run != run:
            raise UnknownRun("a message of a run that this site has not joined, or not since it started")
        return self._joined

    def _invited(self, joined: Joined, frame: Frame) -> Participant:
        self.journal.require_present(joined.account)
        if joined.trainer is None:
            raise LedgerRefusal("this run is closed", hint="start a new one")
        consent(joined.plan, self.policy())
        terms = settle(joined.plan, frame, self.member, joined.dimension, joined.roster, self.policy())
        known = joined.rounds.get(terms.round)
        if known is not None and known.terms == terms:
            return known  # the same invitation again: the same keys, never a second pair for one attempt
        if known is not None and known.terms.attempt >= terms.attempt:
            raise FaultyServer("an invitation to an attempt that is over")
        joined.position.require_near(frame, joined.plan, len(joined.roster.entries))
        present = frozenset(terms.names)
        require_same_company(joined.plan, joined.company or present, present)
        excess = excess_of(terms, self.journal)
        machine = machine_of(
            terms, self.member.site, self.trust, joined.roster, self.policy(), self.entropy, excess
        )
        tried = joined.position.tried(terms.attempt)
        joined.open(terms.round, Participant(terms, machine, excess, tried=tried))
        joined.company = joined.company or present
        note_invited(joined.rounds[terms.round])
        return joined.rounds[terms.round]

    def _reply(self, participant: Participant, kind: Kind, body: Octets) -> tuple[Kind, Octets]:
        """The reply to one request of a round; any refusal ends the attempt, and its secrets go.

        The same request again gets the same bytes: nothing is trained, charged or masked a second time.
        """
        asked, known = digest("federation/request/1", body), participant.replies.get(kind)
        if known is None or known[0] != asked:
            try:
                known = participant.replies[kind] = asked, self._take_part(participant, kind, body)
            except BaseException:
                participant.abort()
                raise
        replied, content = known[1]
        return replied, content[:]

    def _take_part(self, participant: Participant, kind: Kind, body: Octets) -> tuple[Kind, Content]:
        """One step of a round. Each thing is on record before what depends on it is computed.

        Shares that do not open end the attempt before anything is charged. Before a sum is opened the journal holds
        whose it is, and a second opening, for other survivors, is refused: the two would bare a single update.
        """
        terms, machine = participant.terms, participant.machine
        match kind:
            case Kind.ADVERTS:
                return Kind.SHARES, machine.share(bytes(body))
            case Kind.BROADCAST if Kind.ADVERTS in participant.replies:
                note_asked(participant)
                broadcast = Broadcast.from_bytes(body)
                params = params_from_bytes(broadcast.params, sent_length(terms))
                participant.accept(bytes(broadcast.shares))
                excess, participant.excess = participant.excess, b""  # from here on the journal keeps it
                vector = self.release(terms, params, broadcast.heads, excess)  # charges, trains, fixes
                once = terms.parameters.is_ring
                size = packed_size(terms.length, terms.codec.ring_bits)
                self.journal.mask(*terms.account, terms.attempt, suite=SUITE, once=once, size=size)
                masked = participant.mask(vector, terms.context(broadcast.params), self.journal.folder)
                note_sent(participant)
                return Kind.MASKED, masked
            case Kind.SURVIVORS:
                return Kind.VOTE, machine.commit(bytes(body))
            case Kind.CERTIFICATE:
                survivors = machine.check(bytes(body))
                asked = digest("federation/survivors/2", *(name.encode() for name in survivors))
                self.journal.reveal(*terms.account, asked.hex())
                reply = machine.reveal(bytes(body))
                note_opened(participant, survivors, self.journal)
                return Kind.REVEAL, reply
        raise FaultyServer(f"a {kind.name} frame inside a round")
