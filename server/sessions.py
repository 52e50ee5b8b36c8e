"""The lines to the sites: who answers at which address, and how many bytes went each way.

`open_lines` shows plan and roster to everyone in reach; a site of the roster takes part once it has consented.
Where an answer came from says nothing: an address is a site's once a consent under the site's key came from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from federation.errors import FederationError, RosterError
from federation.log import warn
from federation.plan.plan import Plan
from federation.round.messages import (
    FRAME_ROOM,
    PEER_ROOM,
    Frame,
    Kind,
    Member,
    Reason,
    Welcome,
    abort_reason,
    heads_from,
)
from federation.round.signed import greeting_digest, is_consent
from federation.round.transport import Arrival, Outgoing, Transport
from federation.words import many
from privacy.errors import BudgetExceeded, FaultyClient, MalformedMessage, PolicyViolation, PrivacyError
from privacy.ledger.heads import Head
from server.attendance.attendance import Attendance
from server.attendance.patience import Patience, machine_clock
from server.coordinator import SILENT
from server.memory.heads import Heads
from server.voice import Place, Voice

Clock: TypeAlias = Callable[[], float]


class Lines:
    """A transport that speaks site ids instead of addresses; `heads` is what the sites have shown over it.

    `clock` is that of the transport, in seconds.
    """

    def __init__(
        self,
        transport: Transport,
        addresses: Mapping[str, str],
        voice: Voice,
        heads: Heads,
        clock: Clock = machine_clock,
    ) -> None:
        self.heads, self.voice = heads, voice
        self.attendance = Attendance(patience=Patience(clock))
        self.consents: dict[str, bytes] = {}  # as they were signed, by site
        self.greeted: frozenset[str] = frozenset(addresses.values())  # addresses, whatever they answered
        self._greetings: dict[str, Frame] = {}  # the newest to each site that was away
        self._transport, self._clock = transport, clock
        self._addresses = dict(addresses)
        self._sites = {address: site for site, address in addresses.items()}
        self._up: Counter[str] = Counter()
        self._down: Counter[str] = Counter()

    def send(self, messages: Iterable[Outgoing]) -> None:
        """Send frames addressed to site ids."""
        batch = list(messages)
        for message in batch:
            self._down[message.to] += message.size
        self._transport.send(Outgoing(self._addresses[message.to], message.content) for message in batch)

    def next(self, seconds: float) -> tuple[str, bytes] | None:
        """The next reply as (site id, bytes), or None when `seconds` pass without one.

        A site that was away and consents again is back from then on.
        """
        arrival = self._transport.next(seconds)
        if not isinstance(arrival, Arrival):
            return None
        site = self._sites.get(arrival.sender, "")
        self._up[site] += len(arrival.data)
        if site in self.attendance.absence.away and self._is_back(site, arrival.data):
            self.attendance.absence.back(site)
        return site, arrival.data

    @property
    def joined(self) -> frozenset[str]:
        """The addresses of the sites that these lines lead to."""
        return frozenset(self._sites)

    @property
    def others(self) -> frozenset[str]:
        """Who else can be reached now."""
        return frozenset(self._transport.addresses()) - self.joined

    def greet(self, at: Place, pause: float) -> None:
        """Show the plan again to the sites that are away and due in the round after `at`. Waits for no answer.

        A site that does not answer is greeted again after so many seconds.
        """
        due = self.attendance.absence.due(at[0] + 1, self._clock(), pause)
        if due:
            hello = self.voice.hello(at, self.heads.all())
            self._greetings |= dict.fromkeys(due, hello)
            data = hello.to_bytes()
            self.send(Outgoing(site, data) for site in due)

    def await_back(self, is_enough: Callable[[], bool], seconds: float) -> None:
        """Wait until enough sites are back, so many seconds at most. All else that comes is late, and dropped."""
        ends = self._clock() + seconds
        while not is_enough() and self.next(max(0.0, ends - self._clock())) is not None:
            pass

    def _is_back(self, site: str, data: bytes) -> bool:
        """Whether a site that was away consents to the run again, with a ledger that is whole."""
        hello = self._greetings.get(site)
        answer = _answer(data, self.voice, hello) if hello is not None else Reason.PROTOCOL
        if not isinstance(answer, Welcome) or answer.member.site != site:
            return False
        return _is_whole(self.voice.run, answer, self.heads)

    def close(self, run: bytes, params: bytes, sites: Iterable[str], seconds: float) -> Mapping[str, Head]:
        """Tell sites that the run is over, with this model (the digest of its params); the last head of each.

        A site that does not hear of it keeps its budget reserved until its own people close the run. One that is
        away is told, too, and nobody waits for its answer.
        """
        closing, told = self.voice.closing(params).to_bytes(), set(sites)
        self.send(Outgoing(site, closing) for site in sorted(told))
        waiting, ends = told - set(self.attendance.absence.away), self._clock() + seconds
        while waiting and (reply := self.next(max(0.0, ends - self._clock()))) is not None:
            site, data = reply
            if site in told and self._is_closed(site, run, data):
                waiting.discard(site)
                told.discard(site)
        return self.heads.of(sites)

    def _is_closed(self, site: str, run: bytes, data: bytes) -> bool:
        """Whether this is the site's last word on the run: its head, or a refusal."""
        try:
            frame = Frame.from_bytes(data)
            if frame.kind is Kind.CLOSED and frame.run == run:
                self.heads.take(site, heads_from(frame.body))
                return True
        except (MalformedMessage, FaultyClient):
            return True
        return frame.kind is Kind.ABORT and (frame.run, frame.round) == (run, 0)

    def take_counts(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """Bytes up and down by site since the last call."""
        counts = dict(self._up), dict(self._down)
        self._up.clear()
        self._down.clear()
        return counts


@dataclass
class Answers:
    """Who consented to a greeting, by site: with what, and from where. Who did not, by address, and why."""

    welcomes: dict[str, Welcome] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, Refusal] = field(default_factory=dict)

    @property
    def greeted(self) -> frozenset[str]:
        """The addresses of all these, once all have answered or the time is up."""
        return frozenset(self.addresses.values()) | self.refusals.keys()

    def take(self, address: str, answer: Welcome | Reason | str) -> None:
        """Note an answer: a consent, a reason, or what is wrong with it. One site is at one address, the first."""
        if isinstance(answer, Welcome) and answer.member.site not in self.welcomes:
            self.welcomes[answer.member.site] = answer
            self.addresses[answer.member.site] = address
        elif isinstance(answer, Reason):
            self.refusals[address] = Refusal(answer)
        else:
            known = answer if isinstance(answer, str) else f"another node is {answer.member.site} already"
            self.refusals[address] = Refusal(Reason.PROTOCOL, known)


@dataclass(frozen=True)
class Refusal:
    """Why an address takes no part; None if nothing came from it. `detail`: what the server makes of it."""

    reason: Reason | None
    detail: str | None = None

    @property
    def word(self) -> str:
        """The reason, as logs and receipts have it."""
        return SILENT if self.reason is None else self.reason.name.lower()


def open_lines(
    voice: Voice,
    transport: Transport,
    known: Iterable[Head] = (),
    at: Place = (0, 0),
    dimension: int = 0,
    told: Callable[[Answers], None] = lambda _: None,
    clock: Clock = machine_clock,
) -> tuple[Lines, tuple[Member, ...]]:
    """Ask everyone in reach for consent; the lines to those on the roster who gave it, and who they are.

    `known` are earlier heads of the sites' ledgers, `at` is where the run stands. A site does not take part if it
    shows a head older than one that the server or a peer knows; nor does a node that answers in a site's name,
    without its key or after another, or a site whose model has another number of params than `dimension`, if
    that is told. `told` gets the answers, also where they are too few.

    Too few: the sites' reason decides the error. PolicyViolation or BudgetExceeded where sites refused,
    RosterError where they were not there.
    """
    plan, run, heads = voice.plan, voice.run, Heads(voice.sites, known, rehearsed=voice.plan.is_rehearsal)
    answers = _asked(voice, transport, voice.hello(at, heads.all()), dimension, clock)
    told(answers)
    welcomes = answers.welcomes
    for welcome in welcomes.values():
        for head in welcome.heads:
            if head.site != welcome.member.site:
                heads.note(head)
    members = [welcome.member for welcome in welcomes.values() if _is_whole(run, welcome, heads)]
    refusals = [one.reason for one in answers.refusals.values() if one.reason is not None]
    refusals += [Reason.PROTOCOL] * (len(welcomes) - len(members))
    if len(members) < plan.cohort.minimum:
        raise too_few(plan, len(members), refusals)
    lines = Lines(transport, answers.addresses, voice, heads, clock)
    lines.greeted = answers.greeted
    lines.consents.update({member.site: welcomes[member.site].to_consent() for member in members})
    return lines, tuple(sorted(members, key=lambda member: member.site))


def _asked(voice: Voice, transport: Transport, hello: Frame, dimension: int, clock: Clock) -> Answers:
    """Greet everyone in reach; the first answer of each, until all have answered or the time is up."""
    answers, waiting = Answers(), set(transport.addresses())
    transport.send([Outgoing(address, hello.to_bytes()) for address in sorted(waiting)])
    ends = clock() + voice.plan.cohort.deadline_seconds
    while waiting:
        arrival = transport.next(max(0.0, ends - clock()))
        if not isinstance(arrival, Arrival):
            break
        if arrival.sender in waiting:  # else delivered twice
            waiting.remove(arrival.sender)
            answers.take(arrival.sender, _of_size(_answer(arrival.data, voice, hello), dimension))
            _tell_refusal(voice.run, arrival.sender, answers)
    for address in sorted(waiting):
        answers.refusals[address] = Refusal(None)
        _tell_refusal(voice.run, address, answers)
    return answers


def _tell_refusal(run: bytes, address: str, answers: Answers) -> None:
    """A line in the log for an address that takes no part."""
    if (refusal := answers.refusals.get(address)) is not None:
        warn("site_refused", run=run.hex(), address=address, reason=refusal.word, detail=refusal.detail)


def _is_whole(run: bytes, welcome: Welcome, heads: Heads) -> bool:
    """Whether a site's ledger is no shorter than what it showed to anyone before; one that is new is told."""
    site = welcome.member.site
    try:
        if heads.name(welcome.head):
            warn("ledger_new", run=run.hex(), site=site, ledger=welcome.head.ledger.hex())
    except FaultyClient as error:
        reason = Reason.PROTOCOL.name.lower()
        warn("site_refused", run=run.hex(), site=site, reason=reason, detail=error.message)
        return False
    return True


def _of_size(answer: Welcome | Reason | str, dimension: int) -> Welcome | Reason | str:
    """What is wrong with a consent to a model of another size; else the answer as it is."""
    if not isinstance(answer, Welcome) or not dimension or answer.dimension in (0, dimension):
        return answer
    return f"the model of site {answer.member.site} has {answer.dimension} params, and ours {dimension}"


def _answer(data: bytes, voice: Voice, hello: Frame) -> Welcome | Reason | str:
    """The consent to this greeting; or the reason of the refusal, or what is wrong with it."""
    if len(data) > FRAME_ROOM + PEER_ROOM * len(voice.sites.entries):
        return Reason.PROTOCOL  # not even parsed: a head of each site takes less
    try:
        frame = Frame.from_bytes(data)
        if frame.kind is Kind.ABORT:
            return abort_reason(frame.body)
        welcome = Welcome.from_bytes(frame.body)
    except MalformedMessage:
        return Reason.PROTOCOL
    entry = voice.sites.by_site.get(welcome.member.site)
    if entry is None or entry.size != welcome.member.size:
        return f"the roster has no site {welcome.member.site} of this size"
    if frame.kind is not Kind.WELCOME or not is_consent(
        welcome, voice.run, entry.key, rehearsed=voice.plan.is_rehearsal
    ):
        return f"the key of site {welcome.member.site} on the roster did not sign this consent"
    return _agreed(welcome, voice, hello) if frame.run == voice.run else Reason.PROTOCOL


def _agreed(welcome: Welcome, voice: Voice, hello: Frame) -> Welcome | str:
    """The consent, or in what it is one to something else than what was asked.

    Equal plans and other noise: that site's accountant is of another version, and its grid would not fit ours.
    """
    told = welcome.plan_digest, welcome.noise_multiplier, welcome.root, welcome.greeting
    asked = voice.plan.digest, voice.plan.kind.noise_text, voice.sites.root, greeting_digest(hello)
    for what, its, ours in zip(("plan", "noise multiplier", "roster", "greeting"), told, asked, strict=True):
        if its != ours:
            return (
                f"site {welcome.member.site} consents to another {what}: another version may be at work there"
            )
    return welcome


def too_few(plan: Plan, joined: int, refusals: list[Reason]) -> FederationError | PrivacyError:
    """Why a run cannot begin with so many sites: the reasons of those that refused decide."""
    story = f"{many(joined, 'site')} joined, cohort.minimum is {plan.cohort.minimum}"
    hint = "ask the sites: their own log says why"
    if joined:
        hint += (
            "; those that joined stay in this run: start it again with the same state, or let them close it"
        )
    if count := refusals.count(Reason.BUDGET):
        return BudgetExceeded(f"{count} sites have no budget left for this plan: {story}", hint=hint)
    if count := refusals.count(Reason.POLICY):
        reason = f"{count} sites' policy refuses this plan, or another run is open there: {story}"
        return PolicyViolation(reason, hint=hint)
    return RosterError(story, hint=hint if refusals else "wait for more sites or lower cohort.minimum")
