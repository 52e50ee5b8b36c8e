"""A simulation through the real machines: every message and every mask, in one process or under Flower."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from clients.journal.lock import alone
from clients.site import Site
from federation.model.params import initial_params, params_bytes, params_digest
from federation.report.receipt import Receipt
from federation.report.report import Tried
from federation.round.plays import account_name, counted_rounds, counted_tests, has_evaluation
from federation.round.terms import evaluation_run
from federation.round.transport import Transport
from federation.sums.state import ServerState
from privacy.ledger.heads import Head
from server.attendance.faults import Faults as Accused
from server.evaluation import Evaluated
from server.playing import Setting
from server.run import evaluate, run, server_stream
from server.run_folder import RunFolder
from server.sessions import open_lines
from server.transcripts import Transcripts
from server.voice import Voice
from simulations.accounts.run import Paid, Telling
from simulations.faults.network import Network
from simulations.faults.playing import Rounds, greeting
from simulations.faults.rules import Faults
from simulations.faults.story import Story
from simulations.sums.shelf import SHELVES
from simulations.world import InTurn, World, journal_of, keep_identities, open_sites


@dataclass(frozen=True)
class _Played:
    """A run by one of the engines: its rounds, one by one, then its evaluation, then its end."""

    rounds: Iterator[tuple[ServerState, Receipt]]
    evaluate: Callable[[ServerState], Evaluated]
    close: Callable[[bytes], Mapping[str, Head]]  # digest of the model -> the last head of each ledger


@dataclass(frozen=True)
class Part:
    """One of the runs that a plan with folds is played as: its id, and where the journals of all of them are."""

    run: bytes
    journals: Path


def play_messages(
    folder: RunFolder,
    world: World,
    engine: str,
    telling: Telling,
    faults: Faults | None,
    part: Part | None = None,
) -> Paid:
    """Play what is left of a run, or of this part of one, each site with a journal of its own."""
    journals = folder.path / "journals" if part is None else part.journals
    folder.require_whole({name: journal_of(world, name, journals) for name in world.training})
    folder.require_accepted()
    keep_identities(world, folder.path / "checkpoint" / "keys")
    folder.write_roster(world.roster)
    with ExitStack() as stack:
        for rules in world.rules.values():
            stack.enter_context(alone(rules.journal))
        parties = open_sites(world, journals, layers=folder.path / "checkpoint" / SHELVES)
        for site in parties.values():
            stack.callback(site.close)
        start = b"" if part is None else part.run
        final, tried = _train(folder, world, parties, engine, telling, faults, start)
        run = account_name(world.plan, final.run)
        asked, tests = counted_rounds(world.plan, final.run), counted_tests(world.plan, final.run)
        rounds = {name: site.journal.begun_in(run, asked) for name, site in parties.items()}
        evaluated = [
            name for name, site in parties.items() if site.journal.begun_in(evaluation_run(run), tests) > 0
        ]
        charged = {name: site.journal.charged(run, evaluation_run(run)) for name, site in parties.items()}
        layers = {
            name: found for name, site in parties.items() if (found := site.layers_after(run)) is not None
        }
    return Paid(final, rounds, frozenset(evaluated), charged, tried, layers)


def _train(
    folder: RunFolder,
    world: World,
    sites: Mapping[str, Site],
    engine: str,
    telling: Telling,
    faults: Faults | None,
    run: bytes,
) -> tuple[ServerState, Tried | None]:
    """Play every round that is left; each is on disk before the next begins. The run is counted before the first.

    A run that a site refuses has tried nothing, and is not counted.
    """
    state = folder.state(initial_params(world.task.model, world.plan.federation.seed), run)
    with folder.keeping_refusal(state), ExitStack() as stack:
        kept = folder.transcripts(world.roster, state.params.numel())
        stated = partial(folder.store_consents, state.run)
        played = _play(world, state, sites, engine, stack, stated, folder.faults(), kept, faults)
        tried = telling.count(state.run.hex())
        for after, receipt in played.rounds:
            state, metrics = after, telling.measure(after)
            folder.store(state, receipt, metrics)
            telling.progress(receipt, metrics)
        if has_evaluation(world.plan, state.run) and folder.evaluation() is None:
            folder.store_evaluation(state.run, played.evaluate(state))
        folder.store_closing(state, played.close(params_digest(params_bytes(state.model))))
    return state, tried


def _play(
    world: World,
    state: ServerState,
    sites: Mapping[str, Site],
    engine: str,
    stack: ExitStack,
    stated: Callable[[Mapping[str, bytes]], None],
    accused: Accused,
    kept: Transcripts | None,
    faults: Faults | None,
) -> _Played:
    """What is left of a run, of whose sites some are `accused`. Every site has consented when this returns, but
    for those that a fault keeps away; `stated` gets what they signed.
    """
    plan, signed = world.plan, world.roster
    for site in sites.values():
        site.join(state.run, plan, signed)  # here and not only by message: a refusal keeps its own words
    receives = {name: site.receive for name, site in sites.items()}
    voice = Voice(plan, state.run, signed, world.coordinator)
    patience = plan.cohort.deadline_seconds
    if faults is not None:
        story = Story.about(faults, receives, plan.federation.rounds)
        rounds = Rounds(
            Network(story, receives), greeting(voice, kept, stated), server_stream, state, accused
        )

        def close(digest: bytes) -> Mapping[str, Head]:
            """Also at sites that the server has not let in again."""
            closed = rounds.close(digest, patience)
            return {name: closed.get(name) or sites[name].finish(state.run, digest) for name in sites}

        return _Played(iter(rounds), lambda _: rounds.evaluate(), close)
    transport: Transport = InTurn(receives)
    if engine == "flower":
        from simulations.flower import flower_world

        transport = stack.enter_context(flower_world(receives))
    lines, members = open_lines(
        voice, transport, at=(state.round, state.attempt), dimension=state.params.numel()
    )
    lines.attendance.faults = accused
    stated(lines.consents)
    name = state.run  # and not the state: nobody holds the params of rounds that are over
    return _Played(
        run(Setting(state, members, lines, kept), server_stream),
        lambda final: evaluate(Setting(final, members, lines, kept), server_stream),
        lambda digest: lines.close(name, digest, [member.site for member in members], patience),
    )
