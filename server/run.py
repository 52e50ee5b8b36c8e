"""All rounds of a run, over any transport.

    roster -> cohort -> invitation -> sealed shares -> masked updates -> sum -> mean delta -> optimizer -> params

One loop, and no branch on what carries the messages. The caller stores each state before it asks for the next
round, so a killed run goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from federation.cohort import sample
from federation.errors import TooFewSurvivors
from federation.messages import Member
from federation.plan import Plan
from federation.terms import Terms, params_bytes, params_digest
from privacy.noise import Stream
from server.coordinator import Coordinator
from server.lines import Lines
from server.state import ServerState, advance

ATTEMPTS = 3


@dataclass(frozen=True)
class RoundReport:
    """One round that is done. `seconds` is wall-clock time; bytes are those of the round, by site id."""

    round: int
    attempts: int
    cohort: tuple[str, ...]
    survivors: tuple[str, ...]
    seconds: float
    bytes_up: Mapping[str, int]
    bytes_down: Mapping[str, int]
    params_before: str
    params_after: str


def run(
    plan: Plan, state: ServerState, lines: Lines, roster: tuple[Member, ...], stream: Callable[[int], Stream]
) -> Iterator[tuple[ServerState, RoundReport]]:
    """Yield the state after every round, with its report.

    `stream` gives the server's noise, round by round; it is read only where the plan says `noise = "central"`.
    Raises TooFewSurvivors when a round fails three times over, RosterError when no cohort can be formed.
    """
    while state.round < plan.federation.rounds:
        started = time.monotonic()
        terms, coordinator = _round(plan, state, lines, sample(plan, roster, state.round + 1))
        if coordinator.result is None:
            raise AssertionError("a round ends with a sum or an error")
        noise = stream(terms.round)
        after = advance(plan, state, terms, coordinator.result, coordinator.survivors, noise)
        up, down = lines.take_counts()
        yield (
            after,
            RoundReport(
                round=terms.round,
                attempts=terms.attempt - state.attempt,
                cohort=tuple(member.site for member in terms.members),
                survivors=coordinator.survivors,
                seconds=time.monotonic() - started,
                bytes_up=up,
                bytes_down=down,
                params_before=terms.params_digest.hex(),
                params_after=params_digest(params_bytes(after.params)).hex(),
            ),
        )
        state = after


def _round(
    plan: Plan, state: ServerState, lines: Lines, members: tuple[Member, ...]
) -> tuple[Terms, Coordinator]:
    """Play the next round until an attempt has a sum; every attempt has keys and masks of its own."""
    params = params_bytes(state.params)
    failure: TooFewSurvivors | None = None
    for attempt in range(state.attempt + 1, state.attempt + 1 + ATTEMPTS):
        terms = terms_of(plan, state, members, attempt)
        coordinator = Coordinator(terms, params)
        try:
            _play(coordinator, lines, plan.cohort.deadline_seconds)
        except TooFewSurvivors as error:
            failure = error
        else:
            return terms, coordinator
    raise failure or AssertionError("unreachable")


def terms_of(plan: Plan, state: ServerState, members: tuple[Member, ...], attempt: int) -> Terms:
    """The terms of an attempt at the round after `state`."""
    return Terms(
        plan=plan,
        run=state.run,
        round=state.round + 1,
        attempt=attempt,
        members=members,
        params_digest=params_digest(params_bytes(state.params)),
        dimension=state.params.numel(),
    )


def _play(coordinator: Coordinator, lines: Lines, deadline_seconds: float) -> None:
    """Carry messages until the coordinator has a sum; every step has the plan's deadline."""
    outgoing, ends = coordinator.open(), 0.0
    while coordinator.result is None:
        if outgoing:
            lines.send(outgoing)
            ends = time.monotonic() + deadline_seconds
        reply = lines.next(max(0.0, ends - time.monotonic()))
        outgoing = coordinator.deadline() if reply is None else coordinator.receive(*reply)
