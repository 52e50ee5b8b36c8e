"""All rounds of a run, over any transport.

    roster -> cohort -> invitation -> sealed shares -> masked updates -> sum -> mean delta -> optimizer -> params

One loop serves every transport. The caller stores each state before it asks for the next
round, so a killed run goes on where it was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from federation.errors import SumRefused
from federation.kinds.allowed import Unlikely
from federation.model.params import params_bytes, params_digest, params_view
from federation.report.receipt import Receipt
from federation.report.report import UnlikelySum
from federation.round.signed import PREPARED
from federation.round.terms import Terms
from federation.sums.state import ServerState, advance, require_finite
from federation.sums.transcript.evidence import to_bytes
from federation.sums.transcript.record import Content, Heading
from federation.sums.transcript.replay import to_packed
from privacy.ledger.heads import Head
from privacy.mechanism.noise import Stream
from server.coordinator import Coordinator
from server.evaluation import Evaluated, evaluated
from server.events import note_evaluated, note_lost_round, note_unlikely
from server.grouped import Attempt
from server.playing import Played, Setting, play_round
from server.sessions import Lines

ServerNoise: TypeAlias = Callable[[int], Stream]  # round -> the stream of the server's noise

LOST_IN_A_ROW = 3
"""Lost rounds after which a run ends rather than to spend more."""


def server_stream(_: int) -> Stream:
    """The server's noise of a round: secret, and fresh at every call."""
    return Stream(os.urandom(32))


@dataclass
class Course:
    """What one round of a run leaves to the next, beside the state: keys exchanged on the way, how many were lost.

    `charged`: the sites that an earlier process may have asked about the next round.
    """

    charged: frozenset[str] = frozenset()
    prepared: Coordinator | None = None
    lost_in_a_row: int = 0

    def play(self, setting: Setting) -> Played:
        """The next round, as `play_round`."""
        may_lose = self.lost_in_a_row + 1 < LOST_IN_A_ROW
        played = play_round(setting, self.prepared, may_lose=may_lose, charged=self.charged)
        self.charged = frozenset()
        self.prepared = played.last.following if played.has_sums else None
        self.lost_in_a_row = 0 if played.has_sums else self.lost_in_a_row + 1
        return played


def run(
    setting: Setting, stream: ServerNoise, course: Course | None = None
) -> Iterator[tuple[ServerState, Receipt]]:
    """Yield the state after every round that is left in this setting, with its receipt.

    A round that some sites may have charged, and that no attempt can finish, is lost: its number is used up, params
    stay, and the next number goes on without those that were in the way. So a plan of R rounds has R numbers,
    whatever happens. `stream` gives the server's noise, round by round, and is read only where the plan says
    `noise = "central"`. `course` is that of the rounds before, where this process played them.

    Raises TooFewSurvivors when every attempt at a round fails and no other cohort could do better, or so many
    rounds in a row are lost; RosterError when no cohort can be formed, TrainingDiverged when a round ended in
    params that are not finite, SumRefused when honest sites cannot have made the sum of a round and the plan does
    not have that reported.
    """
    course = course or Course(perhaps_charged(setting))
    while setting.state.round < setting.plan.rounds:
        after, receipt = _played(setting, stream, course)
        setting = replace(setting, state=after)
        yield after, receipt


def _played(setting: Setting, stream: ServerNoise, course: Course) -> tuple[ServerState, Receipt]:
    """The state after the next round. Nothing else of the round, such as its sum, is held when this is over."""
    plan, state = setting.plan, setting.state
    require_finite(state)
    started = time.monotonic()
    played = course.play(setting)
    found, digest = None, None
    left: tuple[str, ...] = ()
    if not played.has_sums:
        after = replace(state, round=state.round + 1)
    else:
        digest, sums = _keep(setting, played.last), played.last.sums()
        left = tuple(sorted(site for one in sums for site in one.left))
        with _shown_by(digest):
            after, found = advance(plan, state, sums, stream(setting.number))
    receipt = judged(_receipt(played, state, after, started, setting.lines), played.last.terms, found)
    if receipt.is_lost:
        note_lost_round(state.run, receipt)
    return after, receipt.model_copy(update={"transcript": digest, "excess_left": left})


def evaluate(setting: Setting, stream: ServerNoise) -> Evaluated:
    """The round after the last: noised figures of the model on what the sites held out."""
    setting = replace(setting, state=setting.state.concluded())
    played = play_round(setting, None, may_lose=False, charged=perhaps_charged(setting))
    terms, survivors, cohort = played.last.terms, played.survivors, played.last.terms.names
    if not played.has_sums:
        raise AssertionError("an evaluation may not be lost")
    digest = _keep(setting, played.last)
    with _shown_by(digest):
        done = evaluated(played.last.sums()[0], stream(terms.round), setting.lines.heads.of(cohort))
    if done.unlikely is not None:
        note_unlikely(terms, done.unlikely)
    note_evaluated(setting.state.run, cohort, survivors)
    return replace(done, transcript=digest)


def perhaps_charged(setting: Setting) -> frozenset[str]:
    """Whoever an earlier process may have asked about the round at which this one resumes."""
    return frozenset(member.site for member in setting.members) if setting.state.attempt else frozenset()


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
        params_before=params_digest(params_view(before.sent)).hex(),
        params_after=params_digest(params_view(after.sent)).hex(),
        average=None if after.average is None else params_digest(params_view(after.model)).hex(),
        heads={site: head.to_json() for site, head in heads.items()},
        **_moving(before, after),
    )


def _moving(before: ServerState, after: ServerState) -> dict[str, Any]:
    """What is told of a round whose clipping norm moves."""
    if before.clipping_norm is None:
        return {}
    return {"clipping_norm": before.clipping_norm, "model": params_digest(params_bytes(after.params)).hex()}


def _receipt(
    played: Played, before: ServerState, after: ServerState, started: float, lines: Lines
) -> Receipt:
    """The same of a round over lines, with its void attempts and all that is known of faults by now."""
    terms, faults = played.last.terms, lines.attendance.faults
    heads = lines.heads.of(terms.names)
    receipt = receipt_of(terms, played.survivors, before, after, started, lines.take_counts(), heads)
    known = {
        "void": played.voids,
        "accused": tuple(faults.accusations),
        "proven": tuple(sorted(faults.proven)),
    }
    return receipt.model_copy(update=known)


def judged(receipt: Receipt, terms: Terms, found: Unlikely | None) -> Receipt:
    """The receipt, with what is odd about the round's sum, which is told as well."""
    if found is None:
        return receipt
    note_unlikely(terms, found)
    return receipt.model_copy(update={"unlikely": UnlikelySum(check=found.check, ratio=found.ratio)})


def _keep(setting: Setting, coordinator: Attempt) -> str | None:
    """Make what shows the sum of a round durable, before anything follows from it; its digest, None without."""
    opened, total = coordinator.opened, coordinator.result
    if setting.transcripts is None or coordinator.uploads is None or opened is None or total is None:
        return None
    terms, params = coordinator.terms, params_bytes(setting.state.sent)
    content = Content(
        heading=Heading.of(terms, params_digest(params), setting.transcripts.roster),
        start=b"" if setting.state.optimizer.steps else params,
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
