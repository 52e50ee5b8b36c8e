"""The lines to the sites: who answers at which address, and how many bytes went each way.

`open_lines` shows plan and roster to everyone in reach; a site of the roster takes part once it has consented.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from federation.errors import FederationError, RosterError
from federation.log import warn
from federation.plan.plan import Plan
from federation.round.messages import (
    FRAME_ROOM,
    PEER_ROOM,
    Frame,
    Hello,
    Kind,
    Member,
    Reason,
    Welcome,
    abort_reason,
    heads_from,
)
from federation.round.transport import Arrival, Outgoing, Transport
from privacy.errors import BudgetExceeded, FaultyClient, MalformedMessage, PolicyViolation, PrivacyError
from privacy.ledger.heads import Head
from privacy.roster import Roster, SignedRoster
from server.attendance.attendance import Attendance
from server.coordinator import SILENT
from server.heads import Heads


class Lines:
    """A transport that speaks site ids instead of addresses; `heads` is what the sites have shown over it.

    `is_welcome` says of a reply of a site whether it is its consent to this run.
    """

    def __init__(
        self,
        transport: Transport,
        addresses: Mapping[str, str],
        hello: bytes,
        heads: Heads,
        is_welcome: Callable[[str, bytes], bool] = lambda _site, _reply: False,
    ) -> None:
        self.heads = heads
        self.attendance = Attendance()
        self._is_welcome = is_welcome
        self._transport = transport
        self._hello = hello
        self._addresses = dict(addresses)
        self._sites = {address: site for site, address in addresses.items()}
        self._up: Counter[str] = Counter()
        self._down: Counter[str] = Counter()

    def send(self, messages: Iterable[Outgoing]) -> None:
        """Send frames addressed to site ids."""
        batch = list(messages)
        for message in batch:
            self._down[message.to] += len(message.data)
        self._transport.send(Outgoing(self._addresses[message.to], message.data) for message in batch)

    def next(self, seconds: float) -> tuple[str, bytes] | None:
        """The next reply as (site id, bytes), or None when `seconds` pass without one.

        A site that was away and consents again is back from then on.
        """
        arrival = self._transport.next(seconds)
        if not isinstance(arrival, Arrival):
            return None
        site = self._sites.get(arrival.sender, "")
        self._up[site] += len(arrival.data)
        if site in self.attendance.absence.away and self._is_welcome(site, arrival.data):
            self.attendance.absence.back(site)
        return site, arrival.data

    def greet(self, number: int, pause: float) -> None:
        """Show the plan again to the sites that are away and due in this round. Waits for no answer.

        A site that does not answer is greeted again after so many seconds.
        """
        due = self.attendance.absence.due(number, time.monotonic(), pause)
        self.send(Outgoing(site, self._hello) for site in due)

    def await_back(self, is_enough: Callable[[], bool], seconds: float) -> None:
        """Wait until enough sites are back, so many seconds at most. All else that comes is late, and dropped."""
        ends = time.monotonic() + seconds
        while not is_enough() and self.next(max(0.0, ends - time.monotonic())) is not None:
            pass

    def close(self, run: bytes, params: bytes, sites: Iterable[str], seconds: float) -> Mapping[str, Head]:
        """Tell sites that the run is over, with these last params (a digest); the last head of each is returned.

        A site that does not answer in time keeps its budget reserved until its own people close the run.
        """
        waiting = set(sites)
        closing = Frame(Kind.CLOSE, run, 0, 0, params).to_bytes()
        for site, data in self._ask(waiting, closing, seconds):
            if site in waiting and self._is_closed(site, run, data):
                waiting.discard(site)
        return self.heads.of(sites)

    def _ask(self, waiting: set[str], data: bytes, seconds: float) -> Iterator[tuple[str, bytes]]:
        """Send the same frame to all that are waited for; replies, until the caller waits for no site any more."""
        self.send(Outgoing(site, data) for site in sorted(waiting))
        ends = time.monotonic() + seconds
        while waiting and (reply := self.next(max(0.0, ends - time.monotonic()))) is not None:
            yield reply

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


def open_lines(
    plan: Plan, run: bytes, transport: Transport, roster: SignedRoster, known: Iterable[Head] = ()
) -> tuple[Lines, tuple[Member, ...]]:
    """Ask everyone in reach for consent; the lines to those on the roster who gave it, and who they are.

    `known` are earlier heads of the sites' ledgers. A site does not take part if it shows a head older than one
    that the server or a peer knows.

    Too few: the sites' reason decides the error. PolicyViolation or BudgetExceeded where sites refused,
    RosterError where they were not there.
    """
    entries = Roster.from_bytes(roster.roster)
    heads = Heads(entries, known)
    body = Hello(plan.canonical(), roster.to_bytes(), heads.all()).to_bytes()
    hello = Frame(Kind.HELLO, run, 0, 0, body).to_bytes()
    waiting = set(transport.addresses())
    transport.send([Outgoing(address, hello) for address in sorted(waiting)])
    addresses: dict[str, str] = {}
    welcomes: dict[str, Welcome] = {}
    refusals: list[Reason] = []
    ends = time.monotonic() + plan.cohort.deadline_seconds
    while waiting:
        arrival = transport.next(max(0.0, ends - time.monotonic()))
        if not isinstance(arrival, Arrival):
            break
        if arrival.sender not in waiting:
            continue  # delivered twice
        waiting.remove(arrival.sender)
        answer = _answer(arrival.data, run, plan, entries)
        if isinstance(answer, Reason):
            refusals.append(answer)
            warn("site_refused", run=run.hex(), address=arrival.sender, reason=answer.name.lower())
            continue
        member = answer.member
        entry = entries.by_site.get(member.site)
        if entry is None or entry.size != member.size:
            refusals.append(Reason.PROTOCOL)
            _warn_protocol(run, member.site, "the roster has no such site of this size")
        elif member.site in welcomes:
            raise RosterError(f"two sites call themselves {member.site}", hint="give each an id of its own")
        else:
            welcomes[member.site] = answer
            addresses[member.site] = arrival.sender
    for welcome in welcomes.values():
        for head in welcome.heads:
            if head.site != welcome.member.site:
                heads.note(head)
    members = [welcome.member for welcome in welcomes.values() if _is_whole(run, welcome, heads)]
    for address in sorted(waiting):
        warn("site_refused", run=run.hex(), address=address, reason=SILENT)
    refusals += [Reason.PROTOCOL] * (len(welcomes) - len(members))
    if len(members) < plan.cohort.minimum:
        raise _too_few(plan, len(members), refusals)
    lines = Lines(transport, addresses, hello, heads, partial(_is_back, run, plan, entries, heads))
    return lines, tuple(sorted(members, key=lambda member: member.site))


def _is_back(run: bytes, plan: Plan, roster: Roster, heads: Heads, site: str, data: bytes) -> bool:
    """Whether a site that was away consents to the run again, with a ledger that is whole."""
    answer, entry = _answer(data, run, plan, roster), roster.by_site.get(site)
    if isinstance(answer, Reason) or entry is None or answer.member != Member(entry.site, entry.size):
        return False
    return _is_whole(run, answer, heads)


def _is_whole(run: bytes, welcome: Welcome, heads: Heads) -> bool:
    """Whether a site's ledger is no shorter than what it showed to anyone before."""
    try:
        heads.take(welcome.member.site, welcome.heads)
    except FaultyClient as error:
        _warn_protocol(run, welcome.member.site, error.message)
        return False
    return True


def _warn_protocol(run: bytes, site: str, detail: str) -> None:
    reason = Reason.PROTOCOL.name.lower()
    warn("site_refused", run=run.hex(), site=site, reason=reason, detail=detail)


def _answer(data: bytes, run: bytes, plan: Plan, roster: Roster) -> Welcome | Reason:
    if len(data) > FRAME_ROOM + PEER_ROOM * len(roster.entries):
        return Reason.PROTOCOL  # not even parsed: a head of each site takes less
    try:
        frame = Frame.from_bytes(data)
        if frame.kind is Kind.ABORT:
            return abort_reason(frame.body)
        welcome = Welcome.from_bytes(frame.body)
    except MalformedMessage:
        return Reason.PROTOCOL
    same = (frame.kind, frame.run, welcome.plan_digest) == (Kind.WELCOME, run, plan.digest)
    # Equal plans and other noise: that site's accountant is of another version, and its grid would not fit ours.
    same = same and welcome.noise_multiplier == plan.kind.noise_text
    return welcome if same else Reason.PROTOCOL


def _too_few(plan: Plan, joined: int, refusals: list[Reason]) -> FederationError | PrivacyError:
    story = f"{joined} sites joined, cohort.minimum is {plan.cohort.minimum}"
    hint = "ask the sites: their own log says why"
    if count := refusals.count(Reason.BUDGET):
        return BudgetExceeded(f"{count} sites have no budget left for this plan: {story}", hint=hint)
    if count := refusals.count(Reason.POLICY):
        return PolicyViolation(f"{count} sites' policy refuses this plan: {story}", hint=hint)
    return RosterError(story, hint=hint if refusals else "wait for more sites or lower cohort.minimum")
