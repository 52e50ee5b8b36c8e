"""A dry round: all sites of the roster play a plan on made-up records, before any budget is spent.

What is tried: keys and roster, the network and its size, the clocks, versions that give another noise or another
model, policies, the task's code, and how long each step takes. What is not: the data and the budget of the sites,
which only their own people see (`federation check PLAN --site SITE`).

It is a plan of its own, with a digest of its own (`Plan.rehearsal`): nothing that is signed in it counts in a run.
No params, receipt, transcript or roster is written: all that is left is a record, `rehearsals/*.json`, which no
command takes for a run.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from federation.errors import FederationError, RosterError
from federation.files import kept, replace_file
from federation.identity.roster_file import load_roster
from federation.log import note
from federation.model.code import code_digest
from federation.model.params import initial_params, params_bytes, params_digest
from federation.model.task import build_task
from federation.plan.plan import Plan, load
from federation.report.receipt import Receipt
from federation.round.messages import RUN_ID_BYTES, Frame, Kind, abort_reason
from federation.round.transport import Arrival, Deadline, Outgoing, Transport
from federation.sums.state import ServerState, begin
from privacy.errors import MalformedMessage, PrivacyError
from server.coordinator import SILENT
from server.memory.heads import Heads
from server.playing import Setting
from server.run import run, server_stream
from server.sessions import Answers, Lines, Refusal, open_lines
from server.voice import Voice, coordinator_key

FOLDER = "rehearsals"
SCHEMA = "federation.rehearsal/1"
_SLOW = 1 / 2  # of the deadline
_FAREWELL = 10.0  # seconds, at most, for the sites to hear that it is over
_STAGES: Mapping[Kind, str] = {
    Kind.HELLO: "joining",
    Kind.INVITE: "keys",
    Kind.ADVERTS: "shares",
    Kind.BROADCAST: "training",
    Kind.SURVIVORS: "voting",
    Kind.CERTIFICATE: "opening",
    Kind.CLOSE: "closing",
}


@dataclass(frozen=True)
class Rehearsed:
    """One site of the roster. `state`: took part, joined (and no round came for it), refused, silent or lost.

    `seconds`: the longest that it took for each stage.
    """

    id: str
    state: str
    reason: str | None = None
    detail: str | None = None
    rounds: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    bytes_up: int = 0
    bytes_down: int = 0

    @property
    def is_well(self) -> bool:
        """Whether it took part as far as there was something to take part in."""
        return self.state in ("took part", "joined")


@dataclass(frozen=True)
class Rehearsal:
    """What came of it. `plan_digest` is of the plan that was rehearsed; `unnamed`: answers of unknown senders."""

    plan_digest: str
    rehearsal_digest: str
    run: str
    date: str
    version: str
    deadline_seconds: float
    planned_rounds: int
    rounds: int
    seconds_a_round: float | None
    failure: str | None
    sites: tuple[Rehearsed, ...]
    unnamed: tuple[Mapping[str, str | None], ...]
    warnings: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every site of the roster took part to the end."""
        return self.failure is None and all(site.is_well for site in self.sites)

    def to_json(self) -> dict[str, Any]:
        """As it is written down and printed."""
        head = {"schema": SCHEMA, "rehearsal": True, "complete": self.is_complete}
        return json.loads(json.dumps({**head, **asdict(self)}))  # type: ignore[no-any-return]

    def require_complete(self) -> None:
        """RosterError that names who was missing, and why as far as it is known."""
        if self.is_complete:
            return
        missing = [f"{site.id} ({site.reason or site.state})" for site in self.sites if not site.is_well]
        if not missing:
            raise RosterError(f"the rehearsal did not come to its end: {self.failure}", hint="rehearse again")
        told = f"{len(missing)} of {len(self.sites)} sites did not take part to the end: {', '.join(missing)}"
        raise RosterError(f"REHEARSAL: {told}", hint="ask them: their own log says why; then rehearse again")


def rehearse(
    plan_path: Path,
    roster_path: Path,
    state_dir: Path,
    transport: Transport,
    identity: Path = Path(),
    named: Callable[[str], str | None] = lambda _: None,
) -> Rehearsal:
    """Rehearse the plan with the sites of the roster, and write what came of it under `state_dir`.

    `named` tells the site behind an address, where the transport knows it: a refusal says nothing of its sender.
    """
    plan, signed = load(plan_path), load_roster(roster_path)
    _, key = coordinator_key(signed, roster_path, identity)
    voice = Voice(plan.rehearsal(), os.urandom(RUN_ID_BYTES), signed, key)
    stage = _Stage(plan, voice, _Clocked(transport), named)
    note("rehearsal_begins", run=voice.run.hex(), plan=plan.digest, sites=sorted(voice.sites.by_site))
    found = stage.play()
    folder = state_dir / FOLDER
    with kept(folder):
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{found.date.replace(':', '').replace('-', '')}-{found.run[:8]}.json"
        replace_file(folder / name, (json.dumps(found.to_json(), indent=1) + "\n").encode())
    well = sum(site.is_well for site in found.sites)
    note("rehearsal_ends", run=found.run, sites_well=well, of=len(found.sites), detail=found.failure)
    return found


class _Clocked:
    """A transport that notes how long each answer took, and how many bytes went each way, by address."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._asked: dict[str, tuple[str, float]] = {}
        self.seconds: dict[str, dict[str, float]] = defaultdict(dict)
        self.aborts: dict[str, str] = {}  # the reason given last
        self.up: Counter[str] = Counter()
        self.down: Counter[str] = Counter()

    def addresses(self) -> tuple[str, ...]:
        return self._transport.addresses()

    def send(self, messages: Iterable[Outgoing]) -> None:
        batch = list(messages)
        for message in batch:
            self.down[message.to] += len(message.data)
            self._asked[message.to] = _STAGES.get(Frame.header(message.data).kind, "other"), time.monotonic()
        self._transport.send(batch)

    def next(self, timeout: float) -> Arrival | Deadline:
        arrival = self._transport.next(timeout)
        if isinstance(arrival, Arrival):
            self.up[arrival.sender] += len(arrival.data)
            if (reason := _abort_of(arrival.data)) is not None:
                self.aborts[arrival.sender] = reason
            if (asked := self._asked.pop(arrival.sender, None)) is not None:
                known = self.seconds[arrival.sender]
                known[asked[0]] = max(known.get(asked[0], 0.0), time.monotonic() - asked[1])
        return arrival


class _Stage:
    """One rehearsal, while it is played."""

    def __init__(self, plan: Plan, voice: Voice, lines: _Clocked, named: Callable[[str], str | None]) -> None:
        self.plan, self.voice, self.clocked, self.named = plan, voice, lines, named
        self.answers = Answers()
        self.receipts: list[Receipt] = []
        self.failure: str | None = None

    def play(self) -> Rehearsal:
        """Greet, play the rounds, close; whatever fails is part of what is found."""
        task = build_task(self.plan)
        state = begin(self.voice.plan, self.voice.run, initial_params(task.model, self.plan.federation.seed))
        lines: Lines | None = None
        try:
            lines, members = open_lines(
                self.voice, self.clocked, dimension=state.params.numel(), told=self._told
            )
            for after, receipt in run(Setting(state, members, lines), server_stream):
                state = after
                self.receipts.append(receipt)
        except (FederationError, PrivacyError) as error:
            self.failure = str(error)
        self._close(lines, state)
        return self._found()

    def _told(self, answers: Answers) -> None:
        self.answers = answers

    def _close(self, lines: Lines | None, state: ServerState) -> None:
        """Tell all who joined that it is over, so that their memory is free again; nobody needs to hear it."""
        heads = Heads(self.voice.sites, rehearsed=True)
        lines = lines or Lines(self.clocked, self.answers.addresses, self.voice, heads)
        digest, seconds = params_digest(params_bytes(state.model)), self.plan.cohort.deadline_seconds / 2
        lines.close(self.voice.run, digest, self.answers.addresses, min(_FAREWELL, seconds))

    def _found(self) -> Rehearsal:
        rounds = [receipt.seconds for receipt in self.receipts if not receipt.is_lost]
        senders = self._senders()
        refused = {site: self.answers.refusals[address] for address, site in senders.items()}
        sites = tuple(self._site(name, refused) for name in sorted(self.voice.sites.by_site))
        return Rehearsal(
            plan_digest=self.plan.digest,
            rehearsal_digest=self.voice.plan.digest,
            run=self.voice.run.hex(),
            date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            version=version("private-federation"),
            deadline_seconds=self.plan.cohort.deadline_seconds,
            planned_rounds=self.plan.federation.rounds,
            rounds=len(rounds),
            seconds_a_round=rounds[-1] if rounds else None,
            failure=self.failure,
            sites=sites,
            unnamed=self._unnamed(senders),
            warnings=tuple(_warnings(self.plan, sites)),
        )

    def _site(self, name: str, refused: Mapping[str, Refusal]) -> Rehearsed:
        address = self.answers.addresses.get(name)
        if address is None:
            refusal = refused.get(name, Refusal(None))
            state = "silent" if refusal.reason is None else "refused"
            return Rehearsed(name, state, refusal.word if refusal.reason else None, refusal.detail)
        asked = [receipt for receipt in self.receipts if name in receipt.invited]
        inside = [receipt for receipt in asked if name in receipt.survivors]
        state, reason = ("took part" if asked else "joined"), None
        if len(inside) < len(asked) or address in self.clocked.aborts:
            state, reason = "lost", self.clocked.aborts.get(address, SILENT)
        seconds = {stage: round(spent, 3) for stage, spent in self.clocked.seconds[address].items()}
        up, down = self.clocked.up[address], self.clocked.down[address]
        return Rehearsed(name, state, reason, None, len(inside), seconds, up, down)

    def _senders(self) -> dict[str, str]:
        """The site behind an address that refused: as the transport says, or the one that is missing if one is."""
        refused = self.answers.refusals.keys()
        known = {address: site for address in refused if (site := self.named(address)) is not None}
        missing = self.voice.sites.by_site.keys() - self.answers.addresses.keys() - set(known.values())
        rest = refused - known.keys()
        return known | dict(zip(rest, missing, strict=True)) if len(missing) == len(rest) == 1 else known

    def _unnamed(self, senders: Mapping[str, str]) -> tuple[Mapping[str, str | None], ...]:
        """Refusals of which nobody knows whose they are, by address."""
        return tuple(
            {"address": address, "reason": refusal.word, "detail": refusal.detail}
            for address, refusal in sorted(self.answers.refusals.items())
            if address not in senders
        )


def _warnings(plan: Plan, sites: Iterable[Rehearsed]) -> Iterable[str]:
    """What would not end a run, and should be known before it."""
    deadline = plan.cohort.deadline_seconds
    for site in sites:
        for stage, spent in site.seconds.items():
            if spent > _SLOW * deadline:
                yield f"{site.id}: {stage} took {spent:.1f} s of a deadline of {deadline:g} s"
        if site.state == "joined":
            yield f"{site.id}: joined, and was in no round"
    if plan.has_own_code and plan.federation.code is None:
        pin = f'code = "{code_digest(plan.code)}" under [federation]'
        yield f"the plan does not pin the code of {plan.code}: sites may have other code; write {pin}"


def _abort_of(data: bytes) -> str | None:
    """The reason in an ABORT, in lower case; None for any other message."""
    try:
        if Frame.header(data).kind is not Kind.ABORT:
            return None
        return abort_reason(Frame.from_bytes(data).body).name.lower()
    except MalformedMessage:
        return None
