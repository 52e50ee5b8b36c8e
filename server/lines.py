"""The lines to the sites: who answers at which address, and how many bytes went each way.

`open_lines` shows plan and roster to everyone in reach; a site of the roster takes part once it has consented.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping

from federation.claim import noise_text
from federation.errors import FederationError, RosterError
from federation.messages import Frame, Hello, Kind, Member, Reason, Welcome, abort_reason
from federation.plan import Plan
from federation.transport import Arrival, Outgoing, Transport
from privacy.errors import BudgetExceeded, MalformedMessage, PolicyViolation, PrivacyError
from privacy.secagg.roster import Roster, SignedRoster


class Lines:
    """A transport that speaks site ids instead of addresses."""

    def __init__(self, transport: Transport, addresses: Mapping[str, str], hello: bytes) -> None:
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
        """The next reply as (site id, bytes), or None when `seconds` pass without one."""
        arrival = self._transport.next(seconds)
        if not isinstance(arrival, Arrival):
            return None
        site = self._sites.get(arrival.sender, "")
        self._up[site] += len(arrival.data)
        return site, arrival.data

    def greet(self, sites: Iterable[str], seconds: float) -> None:
        """Show the plan again to sites that were started anew, and await their answers, whatever these are."""
        waiting = set(sites)
        self.send(Outgoing(site, self._hello) for site in sorted(waiting))
        ends = time.monotonic() + seconds
        while waiting and (reply := self.next(max(0.0, ends - time.monotonic()))) is not None:
            waiting.discard(reply[0])

    def take_counts(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """Bytes up and down by site since the last call."""
        counts = dict(self._up), dict(self._down)
        self._up.clear()
        self._down.clear()
        return counts


def open_lines(
    plan: Plan, run: bytes, transport: Transport, roster: SignedRoster
) -> tuple[Lines, tuple[Member, ...]]:
    """Ask everyone in reach for consent; the lines to those on the roster who gave it, and who they are.

    Too few: the sites' reason decides the error. PolicyViolation or BudgetExceeded where sites refused,
    RosterError where they were not there.
    """
    body = Hello(plan.canonical(), roster.to_bytes()).to_bytes()
    hello = Frame(Kind.HELLO, run, 0, 0, body).to_bytes()
    known = {entry.site: entry.size for entry in Roster.from_bytes(roster.roster).entries}
    waiting = set(transport.addresses())
    transport.send([Outgoing(address, hello) for address in sorted(waiting)])
    addresses: dict[str, str] = {}
    members: list[Member] = []
    refusals: list[Reason] = []
    ends = time.monotonic() + plan.cohort.deadline_seconds
    while waiting:
        arrival = transport.next(max(0.0, ends - time.monotonic()))
        if not isinstance(arrival, Arrival):
            break
        if arrival.sender not in waiting:
            continue  # delivered twice
        waiting.remove(arrival.sender)
        answer = _answer(arrival.data, run, plan)
        if isinstance(answer, Reason):
            refusals.append(answer)
        elif known.get(answer.site) != answer.size:
            refusals.append(Reason.PROTOCOL)
        elif answer.site in addresses:
            raise RosterError(
                f"two sites call themselves {answer.site}", hint="give every site an id of its own"
            )
        else:
            members.append(answer)
            addresses[answer.site] = arrival.sender
    if len(members) < plan.cohort.minimum:
        raise _too_few(plan, len(members), refusals)
    return Lines(transport, addresses, hello), tuple(sorted(members, key=lambda member: member.site))


def _answer(data: bytes, run: bytes, plan: Plan) -> Member | Reason:
    try:
        frame = Frame.from_bytes(data)
        if frame.kind is Kind.ABORT:
            return abort_reason(frame.body)
        welcome = Welcome.from_bytes(frame.body)
    except MalformedMessage:
        return Reason.PROTOCOL
    same = (frame.kind, frame.run, welcome.plan_digest) == (Kind.WELCOME, run, plan.digest)
    # Equal plans and other noise: that site's accountant is of another version, and its grid would not fit ours.
    same = same and welcome.noise_multiplier == noise_text(plan)
    return welcome.member if same else Reason.PROTOCOL


def _too_few(plan: Plan, joined: int, refusals: list[Reason]) -> FederationError | PrivacyError:
    story = f"{joined} sites joined, cohort.minimum is {plan.cohort.minimum}"
    hint = "ask the sites: their own log says why"
    if Reason.BUDGET in refusals:
        return BudgetExceeded(
            f"{refusals.count(Reason.BUDGET)} sites have no budget left for this plan: {story}", hint=hint
        )
    if Reason.POLICY in refusals:
        return PolicyViolation(
            f"{refusals.count(Reason.POLICY)} sites' policy refuses this plan: {story}", hint=hint
        )
    return RosterError(story, hint=hint if refusals else "wait for more sites or lower cohort.minimum")
