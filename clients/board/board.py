"""The board of a site: what goes on there, put together for whoever looks on.

It is told by two. Whatever carries messages tells of the connection (`connecting`, `contacted`, `lost`,
`exchanged`); of runs and rounds it hears what the log tells (`federation.log.heard_by`), so that the
two cannot disagree, and nothing reaches a board that a log may not show. No method takes data. Any thread may call
any of them.

Everything kept is bounded: a server can make a site refuse as often as it likes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from clients.board.snapshot import Pool, RoundSeen, RunSeen, Standing, Trouble
from federation.log import Fact, Line, note, printable, warn

MAX_RUNS: Final = 100
MAX_ROUNDS: Final = 2000
MAX_TROUBLES: Final = 100
_TRAINING: Final = ("training", "sent", "evaluating")


class Board:
    """Thread-safe. `clock`: seconds since 1970."""

    def __init__(self, site: str, clock: Callable[[], float] = time.time) -> None:
        self._clock, self._guard = clock, threading.Lock()
        self._now = Standing(site, clock(), clock())

    def standing(self) -> Standing:
        """How the site stands now."""
        with self._guard:
            return replace(self._now, now=self._clock())

    def begins_with(self, pools: Sequence[Pool], runs: Sequence[RunSeen], refusals: int) -> None:
        """What the ledger holds of the time before this process."""
        self._change(pools=tuple(pools), runs=tuple(runs)[-MAX_RUNS:], refusals=refusals)

    def connecting(self, server: str) -> None:
        """The first connection is being made, to HOST:PORT."""
        self._change(server=printable(server), connection="connecting", connection_since=self._clock())

    def contacted(self) -> None:
        """The coordinator answers, with a message or without. The log has it once, until the connection is lost."""
        with self._guard:
            is_news, now = self._now.connection != "connected", self._clock()
            server = self._now.server
            began = now if is_news else self._now.connection_since
            self._now = replace(
                self._now, connection="connected", why="", connection_since=began, last_contact=now
            )
        if is_news:
            note("connected", server=server or None)

    def lost(self, why: str, *, is_gone: bool = False) -> None:
        """The coordinator does not answer, for a reason in plain words. The log has each reason once in a row.

        `is_gone`: nobody listens there.
        """
        with self._guard:
            known = (self._now.connection, self._now.why)
            is_news, is_first = known != ("lost", printable(why)), known[0] != "lost"
            began = self._clock() if is_first else self._now.connection_since
            told = replace(self._now, connection="lost", why=printable(why), connection_since=began)
            self._now = replace(told, is_gone=is_gone)
        if is_news:
            warn("connection_lost", detail=why)
            self._troubled(Trouble(self._clock(), "connection_lost", printable(why)))

    def exchanged(self) -> None:
        """A request of the coordinator was answered."""
        with self._guard:
            self._now = replace(self._now, exchanges=self._now.exchanges + 1, last_contact=self._clock())

    def counted(self, receive: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        """`receive`, each of whose replies is an exchange."""

        def received(request: bytes) -> bytes:
            try:
                return receive(request)
            finally:
                self.exchanged()

        return received

    def hear(self, line: Line) -> None:
        """One line of the log."""
        change = _CHANGES.get(line.event)
        if change is not None:
            with self._guard:
                self._now = change(self._now, line.at, line.facts)
        if line.is_warning and line.event not in ("", "connection_lost"):
            facts = line.facts
            about = _text(facts, "detail") or line.event.replace("_", " ")
            trouble = Trouble(line.at, line.event, about, _text(facts, "run"), _count(facts, "round") or None)
            self._troubled(trouble)

    def _troubled(self, trouble: Trouble) -> None:
        with self._guard:
            kept = (*self._now.troubles, trouble)[-MAX_TROUBLES:]
            more = trouble.event == "refused"
            self._now = replace(self._now, troubles=kept, refusals=self._now.refusals + more)

    def _change(self, **changed: Any) -> None:
        with self._guard:
            self._now = replace(self._now, **changed)


_Facts = Mapping[str, Fact]


def _begins(now: Standing, at: float, facts: _Facts) -> Standing:
    run, sites = _text(facts, "run"), facts.get("sites")
    seen = RunSeen(
        run=run,
        plan=_text(facts, "plan"),
        name=_text(facts, "name"),
        unit=_text(facts, "unit"),
        rounds=_count(facts, "rounds"),
        round=_count(facts, "rounds_begun"),
        sites=0 if sites is None or isinstance(sites, str | int | float) else len(sites),
        state="waiting",
        begun_at=at,
    )
    others = tuple(known for known in now.runs if known.run != run)
    return replace(now, runs=(*others, seen)[-MAX_RUNS:], pools=_pools(now, facts))


def _invited(now: Standing, _: float, facts: _Facts) -> Standing:
    """Of a round to come; the one that goes on is what counts."""
    known = _known(now, facts)
    is_busy = known is None or known.state in _TRAINING
    return now if is_busy else _with(now, facts, state="invited")


def _asked(state: str) -> Callable[[Standing, float, _Facts], Standing]:
    def change(now: Standing, _: float, facts: _Facts) -> Standing:
        number = {} if state == "evaluating" else {"round": _count(facts, "round")}
        return _with(now, facts, state=state, attempt=_count(facts, "attempt"), **number)

    return change


def _sent(now: Standing, _: float, facts: _Facts) -> Standing:
    return _with(now, facts, state="sent")


def _opened(is_evaluation: bool) -> Callable[[Standing, float, _Facts], Standing]:
    def change(now: Standing, at: float, facts: _Facts) -> Standing:
        lost = facts.get("lost")
        seen = RoundSeen(
            run=_text(facts, "run"),
            round=_count(facts, "round"),
            at=at,
            survivors=_count(facts, "survivors"),
            lost=() if lost is None or isinstance(lost, str | int | float) else tuple(lost),
            seconds=_number(facts, "seconds") or 0.0,
            epsilon=_number(facts, "epsilon"),
            is_evaluation=is_evaluation,
        )
        told = _with(now, facts, state="waiting", epsilon=seen.epsilon)
        return replace(told, rounds=(*now.rounds, seen)[-MAX_ROUNDS:])

    return change


def _ended(now: Standing, at: float, facts: _Facts) -> Standing:
    told = _with(now, facts, state="finished", ended_at=at)
    return replace(told, pools=_pools(told, facts))


def _refused(now: Standing, _: float, facts: _Facts) -> Standing:
    return _with(now, facts, state=f"refused: {_text(facts, 'detail')}")


_CHANGES: Final[Mapping[str, Callable[[Standing, float, _Facts], Standing]]] = {
    "run_begins": _begins,
    "run_resumed": _begins,
    "invited": _invited,
    "round_begins": _asked("training"),
    "evaluation_begins": _asked("evaluating"),
    "update_sent": _sent,
    "round_ends": _opened(False),
    "evaluation_ends": _opened(True),
    "run_ends": _ended,
    "refused": _refused,
}


def _known(now: Standing, facts: _Facts) -> RunSeen | None:
    run = _text(facts, "run")
    return next((known for known in now.runs if known.run == run), None)


def _with(now: Standing, facts: _Facts, **changed: Any) -> Standing:
    """The run that the facts name, changed; nothing for a run that this site has not joined."""
    found = _known(now, facts)
    if found is None:
        return now
    runs = tuple(replace(known, **changed) if known is found else known for known in now.runs)
    return replace(now, runs=runs)


def _pools(now: Standing, facts: _Facts) -> tuple[Pool, ...]:
    """The pools, that of the unit which the facts tell of renewed."""
    unit, spent = _text(facts, "unit"), _number(facts, "epsilon")
    if not unit or spent is None:
        return now.pools
    new = Pool(unit, spent, _number(facts, "epsilon_max"), _number(facts, "delta"))
    if any(pool.unit == unit for pool in now.pools):
        return tuple(new if pool.unit == unit else pool for pool in now.pools)
    return (*now.pools, new)


def _text(facts: _Facts, name: str) -> str:
    found = facts.get(name)
    return found if isinstance(found, str) else ""


def _count(facts: _Facts, name: str) -> int:
    found = facts.get(name)
    return found if isinstance(found, int) else 0


def _number(facts: _Facts, name: str) -> float | None:
    found = facts.get(name)
    return float(found) if isinstance(found, int | float) else None
