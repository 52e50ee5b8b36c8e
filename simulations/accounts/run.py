"""A run whose simulated sites are charged in one account: rounds, evaluation, end, and taking it up again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from clients.journal.lock import alone
from clients.site import Site
from federation.kinds.allowed import Unlikely
from federation.model.params import initial_params, params_bytes, params_digest
from federation.report.receipt import Receipt
from federation.report.report import Metrics, Tried
from federation.round.terms import evaluation_run
from federation.sums.state import ServerState
from privacy.accounting.units import Charge
from privacy.ledger.heads import Head
from server import checkpoint
from server.evaluation import Evaluated
from server.run import server_stream
from server.run_folder import RunFolder
from simulations.accounts.book import Book, Told
from simulations.accounts.export import export
from simulations.accounts.file import FILE, AccountFile
from simulations.faults.computed import Computed
from simulations.faults.rules import Faults
from simulations.faults.story import Story
from simulations.sums.adding import Adding, Adds
from simulations.sums.making import adding_of
from simulations.sums.shelf import SHELVES
from simulations.vectorized import Cohorts, evaluate_vectorized, run_vectorized
from simulations.world import World, keep_identities, open_sites


@dataclass(frozen=True)
class Paid:
    """A run that is over: its state, the rounds each site began, who was evaluated, what is charged, the tries."""

    state: ServerState
    rounds: Mapping[str, int]
    evaluated: frozenset[str]
    charged: Mapping[str, Sequence[Charge]]
    tried: Tried | None
    layers: Mapping[str, Tensor] = field(default_factory=dict, repr=False)  # that each site kept for itself


@dataclass(frozen=True)
class Telling:
    """What a run says while it goes on: figures of a state, where they are measured; a finished round."""

    measure: Callable[[ServerState], Metrics]
    progress: Callable[[Receipt, Metrics], None]
    count: Callable[[str], Tried | None]


def play_accounted(
    folder: RunFolder, world: World, telling: Telling, device: str, adds: Adds, faults: Faults | None = None
) -> Paid:
    """Play what is left of a run, with these faults, and close it."""
    path, names = folder.path / "checkpoint" / FILE, world.simulated
    folder.require_accepted()
    _catch_up(folder, path, names)
    folder.require_whole({name: rules.journal for name, rules in world.rules.items()}, path)
    keep_identities(world, folder.path / "checkpoint" / "keys")
    folder.write_roster(world.roster)
    with ExitStack() as stack:
        for rules in world.rules.values():
            stack.enter_context(alone(rules.journal))
        own = open_sites(world, folder.path / "journals", world.rules.keys()) if world.rules else {}
        for site in own.values():
            stack.callback(site.close)
        state = folder.state(initial_params(world.task.model, world.plan.federation.seed))
        for site in own.values():
            site.join(state.run, world.plan, world.roster)
        book = Book.open(path, world.plan, state.run, names, world.roster.read())
        stack.callback(book.close)
        book.prompt = bool(own or world.plan.kept)  # files of kept layers are of the last rounds alone
        return _Accounted(folder, world, telling, book, own, device, adds, faults).played(state)


@dataclass(frozen=True)
class _Accounted:
    folder: RunFolder
    world: World
    telling: Telling
    book: Book
    own: Mapping[str, Site]
    device: str
    adds: Adds
    faults: Faults | None

    def played(self, state: ServerState) -> Paid:
        """Everything from this state on."""
        for stale in (self.folder.path / "journals").glob("*.sqlite"):
            stale.unlink()  # of a process that was stopped; written again when this one ends
        tried, run = self.telling.count(state.run.hex()), state.run.hex()
        begins, device = self.book.begins, self.device
        shelves = self.folder.path / "checkpoint" / SHELVES
        adding = adding_of(
            self.world.plan, self.world, self.own, device=device, begins=begins, shelves=shelves
        )
        if adding.shelf is not None:
            adding.shelf.go_on(state.round)
        adding = self.adds(self.world.plan, adding)
        with self.folder.keeping_refusal(state):
            try:
                played, evaluates = self._rounds(state, adding)
                state = self._trained(state, played)
                self._evaluate(state, evaluates)
                self._finish(state)
            except BaseException:
                self._stop()
                raise
        rounds, charged = self.book.rounds_begun(), self.book.charged()
        evaluated = set(self.book.evaluated_sites())
        for name, site in self.own.items():
            rounds[name] = site.journal.rounds_begun(run)
            charged[name] = site.journal.charged(run, evaluation_run(run))
            evaluated |= {name} if site.journal.rounds_begun(evaluation_run(run)) else set()
        layers = {} if adding.shelf is None else adding.shelf.ended()
        return Paid(state, rounds, frozenset(evaluated), charged, tried, layers)

    def _rounds(
        self, state: ServerState, adding: Adding
    ) -> tuple[Iterable[tuple[ServerState, Receipt]], Callable[[ServerState], Evaluated]]:
        """The rounds that are left, and what evaluates the params that they end with."""
        plan, members = self.world.plan, self.world.members
        cohorts = Cohorts(plan, members)
        if state.round < plan.federation.rounds:
            adding.prepare(cohorts.terms(state))
        if self.faults is None:
            return (
                run_vectorized(plan, state, members, adding, server_stream, cohorts),
                lambda final: evaluate_vectorized(plan, final, members, adding, server_stream),
            )
        story = Story.about(self.faults, (member.site for member in members), plan.federation.rounds)
        roster, charge = self.world.roster.read(), adding.charge
        computed = Computed(plan, state, members, roster, story, adding.over, charge, server_stream)
        return computed, lambda _: computed.evaluate()

    def _trained(self, state: ServerState, rounds: Iterable[tuple[ServerState, Receipt]]) -> ServerState:
        accounting = 0.0  # of the round before: what is written of a round cannot say how long that took
        for after, receipt in rounds:
            state, metrics = after, self.telling.measure(after)
            counted = receipt.model_copy(update={"seconds": receipt.seconds + accounting})
            started = time.monotonic()
            done = self.book.ended(after, counted, metrics)
            accounting = time.monotonic() - started
            self._tell(done)
        self._tell(self.book.flush())
        return state

    def _evaluate(self, state: ServerState, evaluates: Callable[[ServerState], Evaluated]) -> None:
        if self.world.plan.evaluation.epsilon is not None and self.folder.evaluation() is None:
            done = evaluates(state)
            self.book.evaluated(done)
            self.folder.store_evaluation(state.run, done)

    def _finish(self, state: ServerState) -> None:
        digest = params_digest(params_bytes(state.model))
        self.book.finish(digest)
        heads = dict(self._export())
        heads |= {name: site.finish(state.run, digest) for name, site in self.own.items()}
        self.folder.store_closing(state, heads)

    def _tell(self, done: Sequence[Told]) -> None:
        for one in done:
            self.folder.store(one.state, one.receipt, one.metrics, accounted=True)
            self.telling.progress(one.receipt, one.metrics)

    def _stop(self) -> None:
        """What was charged is on record, and in ledgers, whatever ended the run; no fault in this hides that."""
        with suppress(Exception):
            for one in self.book.stop():
                self.folder.store(one.state, one.receipt, one.metrics, accounted=True)
            self._export()

    def _export(self) -> Mapping[str, Head]:
        journals, identities = self.folder.path / "journals", self.world.identities
        return export(self.book, journals, identities.__getitem__, self.world.coordinator)


def _catch_up(folder: RunFolder, path: Path, names: Sequence[str]) -> None:
    """Tell what a process that was killed had charged and done, and had not told yet; go on from there."""
    if not (path.exists() and checkpoint.exists(folder.path / "checkpoint")):
        return
    begun = checkpoint.read(folder.path / "checkpoint", folder.plan)
    book = Book(AccountFile.open(path), folder.plan, names)
    try:
        if begun is not None:
            book.require_of(begun.run)
        run, told = bytes.fromhex(book.facts["run"]), {receipt.round for receipt in folder.receipts()}
        for receipt, metrics in book.receipts():
            if receipt.round not in told:
                folder.tell(run, receipt, metrics)
        if (newest := book.newest()) is not None:
            folder.take_up(newest)
        done = book.evaluation()
        if done is not None and folder.evaluation() is None:
            folder.store_evaluation(run, _evaluated(done))
    finally:
        book.close()


def _evaluated(told: Mapping[str, Any]) -> Evaluated:
    odd = told.get("unlikely")
    return Evaluated(
        told["figures"],
        tuple(told["cohort"]),
        tuple(told["survivors"]),
        unlikely=None if odd is None else Unlikely(odd["check"], odd["ratio"]),
        excess_left=tuple(told["excess_left"]),
    )
