"""What every simulated site of a run is charged: written once a round, and told only when it is on the disk.

Writing waits for the disk, training does not: rounds go on while those before them are written, several at once
where they are quick. What comes of a round is handed out (`Told`) when its charge and result are written, and not
before.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from federation.errors import CheckpointError
from federation.model.params import params_bytes, params_digest
from federation.plan.plan import Plan
from federation.report.receipt import Receipt
from federation.report.report import Metrics
from federation.round.terms import Terms
from federation.sums.state import ServerState
from privacy.accounting.units import Charge
from privacy.errors import LedgerRefusal
from privacy.roster import Roster
from server import checkpoint
from server.evaluation import Evaluated
from simulations.accounts.file import AccountFile, Event, Places
from simulations.accounts.opening import opening, runs_of

_WAITS = 20.0  # of the time between two waits for the disk, a wait may take this part
_MOST = 256  # rounds that are not written yet
_SAME = {
    "cohort",
    "survivors",
    "bytes_up",
    "bytes_down",
    "metrics",
    "heads",
}  # what a receipt has from elsewhere


@dataclass(frozen=True)
class Told:
    """A round that is charged and done: from now on it may be told."""

    state: ServerState
    receipt: Receipt
    metrics: Metrics


class Book:
    """The account of a run. `names` are the simulated sites, in order."""

    def __init__(self, file: AccountFile, plan: Plan, names: Sequence[str]) -> None:
        self.names = names
        self._file, self._plan = file, plan
        self._events = file.events()
        self._by_round = {event.body["round"]: event for event in self._events if event.kind == "round"}
        self._open: Event | None = None  # is being played
        self._queue: list[tuple[Event, Told | None]] = []
        self._writer = ThreadPoolExecutor(1, "accounts")
        self._written: Future[list[Told]] | None = None
        self._waited, self._takes = time.monotonic(), 0.0
        self.prompt = False  # whether to wait for the disk in every round

    @classmethod
    def open(cls, path: Path, plan: Plan, run: bytes, names: Sequence[str], roster: Roster) -> Book:
        """The account at `path`, or a new one in which every site has consented to the run.

        LedgerRefusal, and others, where a site's own rules would refuse the plan.
        """
        if path.exists():
            book = cls(AccountFile.open(path), plan, names)
            book.require_of(run)
            book._accept(roster)
            return book
        facts = {"run": run.hex(), "plan": plan.digest, "salt": os.urandom(32).hex()}
        first = Event(0, "opened", {"entries": opening(plan, run.hex(), roster)})
        return cls(AccountFile.create(path, facts, first), plan, names)

    @cached_property
    def facts(self) -> Mapping[str, str]:
        """Run, plan, and the salt of what is derived."""
        return self._file.facts()

    def require_of(self, run: bytes) -> None:
        """CheckpointError, and the file is closed, unless this is the account of that run and of its plan."""
        if (self.facts.get("run"), self.facts.get("plan")) != (run.hex(), self._plan.digest):
            path = self._file.path
            self.close()
            hint = "put it back as it was, or start again in another folder"
            raise CheckpointError(f"{path} is the account of another run", hint=hint)

    @property
    def events(self) -> Sequence[Event]:
        """All that is written, in order."""
        return self._events

    def begins(self, terms: Terms, params: Tensor, charged: Collection[str] | None = None) -> None:
        """A round is about to be played. LedgerRefusal if it was charged for another question, or is done.

        `charged`: the sites of the cohort that charge it; None for all.
        """
        kind, number = ("evaluation", 1) if terms.is_evaluation else ("round", terms.round)
        inside = self._charged_in(terms.names if charged is None else charged)
        if self._open is not None and self._open.body.get("round", 1) == number:
            # Another group of it, or another attempt, which may have reached others: whoever was charged stays so.
            self._open = replace(self._open, cohort=_both(self._open.cohort, inside))
            return
        question = terms.question_of(params_digest(params_bytes(params))).hex()
        known = self._evaluation if terms.is_evaluation else self._by_round.get(number)
        if known is not None and (known.body["question"] != question or "receipt" in known.body):
            message = f"round {number} was begun with another question: other params or cohort"
            raise LedgerRefusal(message, hint="start another run in another folder")
        body: dict[str, Any] = {"question": question} | ({} if terms.is_evaluation else {"round": number})
        if known is None:
            self._open = Event(self._next, kind, body, inside)
        else:
            self._open = Event(known.seq, kind, body, _both(known.cohort, inside))

    def ended(self, state: ServerState, receipt: Receipt, metrics: Metrics) -> list[Told]:
        """The round that was begun is done, in `state`. Those that may be told by now, in order."""
        assert self._open is not None, "a round that was not begun"  # noqa: S101
        told = receipt.model_dump(mode="json", exclude=_SAME, exclude_none=True, exclude_unset=True)
        told |= self._who(receipt.cohort, receipt.survivors)
        body = {**self._open.body, "receipt": told, "metrics": dict(metrics)}
        self._add(replace(self._open, body=body), Told(state, receipt, metrics))
        return self._told(now=self._is_time)

    def evaluated(self, done: Evaluated) -> None:
        """The evaluation that was begun is done. On the disk when this returns."""
        assert self._open is not None, "an evaluation that was not begun"  # noqa: S101
        told: dict[str, Any] = {"figures": dict(done.figures), "excess_left": list(done.excess_left)}
        told |= self._who(done.cohort, done.survivors)
        if done.unlikely is not None:
            told["unlikely"] = {"check": done.unlikely.check, "ratio": done.unlikely.ratio}
        self._add(replace(self._open, body={**self._open.body, "receipt": told}), None)
        self._told(now=True)

    def flush(self) -> list[Told]:
        """Wait until all is on the disk: what may be told then."""
        return self._told(now=True)

    def stop(self) -> list[Told]:
        """The run ends here for now. What was begun is charged, without a result: an error may tell of data."""
        if self._open is not None:
            self._add(self._open, None)
        return self._told(now=True)

    def finish(self, params: bytes) -> None:
        """The run is over, and ended in these params (a digest). LedgerRefusal for others than before."""
        known = next((event for event in self._events if event.kind == "closed"), None)
        if known is None:
            self._add(Event(self._next, "closed", {"params": params.hex()}), None)
            self._told(now=True)
        elif known.body["params"] != params.hex():
            raise LedgerRefusal("this run was closed with other params")

    def close(self) -> None:
        """Let go of the file."""
        self._writer.shutdown(wait=True)
        self._file.close()

    def newest(self) -> bytes | None:
        """The checkpoint after the last round that is done, None if none is."""
        return self._file.newest()

    def receipts(self) -> list[tuple[Receipt, Metrics]]:
        """Of every round that is done, with its metrics, as it was or may be told."""
        done = [event for event in self._by_round.values() if "receipt" in event.body]
        return [(self._receipt(event), event.body["metrics"]) for event in done]

    def evaluation(self) -> dict[str, Any] | None:
        """What is on record of the evaluation that is done, with its cohort; None while it is not."""
        known = self._evaluation
        if known is None or "receipt" not in known.body:
            return None
        return self._told_of(known)

    def cohort(self, event: Event) -> tuple[str, ...]:
        """Who was charged."""
        if event.cohort is None:
            return tuple(self.names)
        return tuple(self.names[place] for place in event.cohort.tolist())

    def rounds_begun(self) -> dict[str, int]:
        """How many rounds each site was charged for; of a population, those that were in any."""
        counts = np.zeros(len(self.names), np.int64)
        for event in self._by_round.values():
            counts[slice(None) if event.cohort is None else event.cohort] += 1
        if isinstance(self.names, tuple):
            return dict(zip(self.names, counts.tolist(), strict=True))
        return {self.names[place]: int(counts[place]) for place in np.flatnonzero(counts).tolist()}

    def evaluated_sites(self) -> tuple[str, ...]:
        """Who was charged for the evaluation."""
        return () if self._evaluation is None else self.cohort(self._evaluation)

    def charged(self) -> dict[str, tuple[Charge, ...]]:
        """What each site's ledger holds charged for the run, and for its evaluation."""
        evaluated, known = set(self.evaluated_sites()), dict[tuple[int, bool], tuple[Charge, ...]]()
        found = {}
        for name, count in self.rounds_begun().items():
            place = count, name in evaluated
            if place not in known:
                runs = runs_of(self._events, *place)
                charges = [run.charged for run in runs]
                known[place] = tuple(charge for charge in charges if charge is not None)
            found[name] = known[place]
        return found

    @property
    def _next(self) -> int:
        return self._events[-1].seq + 1

    @property
    def _evaluation(self) -> Event | None:
        return next((event for event in reversed(self._events) if event.kind == "evaluation"), None)

    @property
    def _is_time(self) -> bool:
        """Whether a wait for the disk is a small part of the time since the last, or there is too much to write."""
        free = time.monotonic() - self._waited
        return self.prompt or free > _WAITS * self._takes or len(self._queue) >= _MOST

    def _accept(self, roster: Roster) -> None:
        """Another process goes on, with a roster of its own: as a site would, put it on record."""
        told = {"serial": roster.serial, "root": roster.root.hex()}
        self._add(Event(self._next, "roster", told), None)
        self._told(now=True)

    def _charged_in(self, charged: Collection[str]) -> Places | None:
        """The places of the simulated sites among those that charge a round."""
        if charged == self.names:
            return None
        inside = sorted(place for name in charged if (place := self._place(name)) is not None)
        return None if len(inside) == len(self.names) else np.array(inside, np.uint32)

    def _place(self, name: str) -> int | None:
        place = bisect_left(self.names, name)
        return place if place < len(self.names) and self.names[place] == name else None

    def _add(self, event: Event, told: Told | None) -> None:
        if event.seq == self._next:
            self._events.append(event)
        else:
            self._events[event.seq] = event
        if event.kind == "round":
            self._by_round[event.body["round"]] = event
        self._queue.append((event, told))
        self._open = None

    def _told(self, *, now: bool) -> list[Told]:
        """Write what waits; what is written, of which with `now` all is waited for."""
        found: list[Told] = []
        while self._queue or self._written is not None:
            if self._written is not None:
                if not (now or self._written.done()):
                    break
                found += self._written.result()
                self._written = None
                self._waited = time.monotonic()
            if self._queue:
                group, self._queue = self._queue, []
                self._written = self._writer.submit(self._write, group)
        return found

    def _write(self, group: Sequence[tuple[Event, Told | None]]) -> list[Told]:
        started, told = time.monotonic(), [one for _, one in group if one is not None]
        newest = None
        if told:
            newest = told[-1].state.round, checkpoint.packed(self._plan, told[-1].state)
        self._file.put([event for event, _ in group], newest)
        self._takes = time.monotonic() - started
        return told

    def _who(self, cohort: tuple[str, ...], survivors: tuple[str, ...]) -> dict[str, list[str]]:
        """The cohort of what is being played, where others are charged here, and who stayed, where not all of it.

        Sites with journals of their own are not charged here, nor are those that the params did not reach.
        """
        assert self._open is not None  # noqa: S101
        told = {} if cohort == self.cohort(self._open) else {"cohort": list(cohort)}
        return told if survivors == cohort else told | {"survivors": list(survivors)}

    def _told_of(self, event: Event) -> dict[str, Any]:
        told = event.body["receipt"]
        cohort = tuple(told.get("cohort") or self.cohort(event))
        return {"survivors": cohort, **told, "cohort": cohort}

    def _receipt(self, event: Event) -> Receipt:
        told = {"round": event.body["round"], "bytes_up": {}, "bytes_down": {}}
        return Receipt.from_json(told | self._told_of(event))


def _both(some: Places | None, others: Places | None) -> Places | None:
    """The places that are in either; None for all."""
    return None if some is None or others is None else np.union1d(some, others)
