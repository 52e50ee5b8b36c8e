"""One simulation, from a plan and a folder of sites to a run folder with a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from clients.data.folders import find_sites, mixed_hold_outs
from clients.data.notes import Note
from clients.site import Site
from federation.config.toml import read, with_value
from federation.model.params import initial_params, params_bytes, params_digest
from federation.plan.plan import Plan, parse
from federation.plan.tabular import TabularTask
from federation.report.files import PAGE, read_report, write_page, write_report
from federation.report.receipt import Receipt
from federation.report.report import Made, Metrics, Report
from federation.round.terms import Terms
from federation.round.transport import Transport
from privacy.ledger.heads import Head
from privacy.mechanism.encoding import RingVector
from privacy.roster import Roster
from server.evaluation import Evaluated
from server.run import evaluate, run
from server.run_folder import RunFolder
from server.sessions import open_lines
from server.state import ServerState
from simulations.baseline import FOLDER, without_privacy
from simulations.optional import DIVERGED, Optional
from simulations.summary import model_of, pooled_metrics, summarize, with_baseline
from simulations.vectorized import evaluate_vectorized, run_vectorized
from simulations.world import InProcess, World, keep_identities, open_sites, read_world, server_stream

Engine = Literal["vectorized", "protocol", "flower"]
ENGINES: tuple[str, ...] = get_args(Engine)
Progress = Callable[[Receipt, Metrics], None]
Stage = Callable[
    [str, int, int], None
]  # what begins or goes on, how much of it is done, of how much (0: unknown)
_KEYS = Path("checkpoint", "keys")
BARE = "without_privacy"


@dataclass(frozen=True)
class _Played:
    """A run by one of the engines: its rounds, one by one, then its evaluation, then its end."""

    rounds: Iterator[tuple[ServerState, Receipt]]
    evaluate: Callable[[ServerState], Evaluated]
    close: Callable[[bytes], Mapping[str, Head]]  # digest of the last params -> the last head of each ledger


def simulate(
    plan: Plan | Path | str,
    sites: Path | str,
    out: Path | str,
    *,
    engine: Engine = "vectorized",
    seed: int | None = None,
    baseline: bool = True,
    progress: Progress | None = None,
    stage: Stage = lambda _what, _done, _all: None,
    warn: Callable[[Note], None] = lambda _: None,
) -> Report:
    """Run a plan, or the plan in a file, over the sites in a folder (NAME.csv each); return the report.

    Resumes the run in `out`; if it is already complete, returns its report. `seed` replaces `federation.seed`.
    `baseline`: train once more without privacy, to compare. `progress` is called after every round, `stage` when
    something else begins that may take long, `warn` with what looks odd in the files. Torch is set to one thread.

    Raises a FederationError or PrivacyError: PlanError for the plan, DataError for a site's file, CheckpointError
    for a folder that holds something else, TooFewSurvivors for a round that lost too many sites.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}")
    started = time.perf_counter()
    stage("working out the noise", 0, 0)
    plan, text = _with_seed(plan, seed)
    sites, out = Path(sites), Path(out)
    torch.set_num_threads(1)  # a site's batches are too small for a second thread to pay
    stage("reading the data", 0, 0)
    world = _read_sites(plan, sites, out / _KEYS, warn)
    folder = RunFolder.open(out, plan, text)
    if folder.is_finished:
        return _described(read_report(out), world, out, baseline, stage)
    final, rounds = _run(folder, world, engine, progress)
    folder.write_params(world.task.model(), final.params)
    # The run is paid for, and these two files are what for. They are on disk before anything else is tried.
    stage("counting what was spent", 0, 0)
    report = summarize(
        world,
        model_of(world, final.params),
        folder.receipts(),
        rounds,
        engine=engine,
        seconds=time.perf_counter() - started,
        published=folder.evaluation(),
        missing={f"baselines.{BARE}": "not made yet"} if baseline and _compares(world) else {},
    )
    report = report.model_copy(update={"made": Made.now(final.run)})
    write_report(out, report)
    folder.close()
    return _described(report, world, out, baseline, stage)


def _described(report: Report, world: World, out: Path, baseline: bool, stage: Stage) -> Report:
    """Make what a complete run lacks, and could do without: the comparison, the page. Nothing is charged for it."""
    why = report.evaluation.missing.get(f"baselines.{BARE}", "")
    is_lacking = BARE not in report.evaluation.baselines or why not in ("", DIVERGED)
    if baseline and is_lacking and _compares(world):
        optional, plan = Optional(), world.plan
        step = partial(stage, "comparison without privacy")
        work = partial(without_privacy, plan, world, out.resolve().parent / FOLDER, step)
        metrics = optional.make(BARE, plan.evaluation.metrics, work)
        report = with_baseline(report, BARE, metrics, optional.missing.get(BARE, ""))
        write_report(out, report)
        (out / PAGE).unlink(missing_ok=True)
    if not (out / PAGE).exists():
        stage("drawing the report", 0, 0)
        write_page(out, report)
    return report


def _compares(world: World) -> bool:
    """A site with a policy of its own is not trained on without privacy, not even for a comparison."""
    return world.plan.is_private and not world.rules


def _run(
    folder: RunFolder, world: World, engine: Engine, progress: Progress | None
) -> tuple[ServerState, dict[str, int]]:
    """Play what is left of the run; its last state, and for how many rounds each site was charged."""
    keep_identities(world, folder.path / _KEYS)
    folder.write_roster(world.roster)
    with ExitStack() as stack:
        parties = open_sites(world, folder.path / "journals")
        for site in parties.values():
            stack.callback(site.close)
        final = _train(folder, world, parties, engine, progress)
        return final, {name: site.journal.rounds_begun(final.run.hex()) for name, site in parties.items()}


def _read_sites(plan: Plan, sites: Path, keys: Path, warn: Callable[[Note], None]) -> World:
    found = find_sites(sites, any_format=not isinstance(plan.task, TabularTask))
    for note in (*found.notes, *mixed_hold_outs(sites, found.sites, plan.evaluation.holdout)):
        warn(note)
    world = read_world(plan, found.sites, keys)
    for note in (note for files in world.files.values() for file in files for note in file.notes):
        warn(note)
    return world


def _with_seed(plan: Plan | Path | str, seed: int | None) -> tuple[Plan, str]:
    """The plan and its TOML. A Plan is read again from its text: a copy with other values is checked, too."""
    text, path = (plan.to_toml(), None) if isinstance(plan, Plan) else (read(Path(plan)).text, Path(plan))
    if seed is not None:
        text = with_value(text, ("federation", "seed"), str(seed))
    return parse(text, path), text


def _train(
    folder: RunFolder, world: World, sites: Mapping[str, Site], engine: Engine, progress: Progress | None
) -> ServerState:
    """Play every round that is left; each is on disk before the next begins."""
    state = folder.state(initial_params(world.task.model, world.plan.federation.seed))
    with ExitStack() as stack:
        played = _play(world, state, sites, engine, stack)
        for after, receipt in played.rounds:
            state = after
            measure = partial(pooled_metrics, world, model_of(world, state.params))
            metrics = Optional().make("pooled", world.plan.evaluation.metrics, measure)
            folder.store(state, receipt, metrics)
            if progress is not None:
                progress(receipt, metrics)
        if world.plan.evaluation.epsilon is not None and folder.evaluation() is None:
            folder.store_evaluation(state, played.evaluate(state))
        folder.store_closing(state, played.close(params_digest(params_bytes(state.params))))
    return state


def _play(
    world: World, state: ServerState, sites: Mapping[str, Site], engine: Engine, stack: ExitStack
) -> _Played:
    """What is left of a run. Every site has consented when this returns."""
    plan, signed = world.plan, world.roster
    for site in sites.values():
        site.join(state.run, plan, signed)  # here and not only by message: a refusal keeps its own words
    if engine == "vectorized":
        present = tuple(site.member for site in sites.values())

        def contribute(terms: Terms, site: str, params: Tensor) -> RingVector:
            return sites[site].release(terms, params)

        return _Played(
            run_vectorized(plan, state, present, contribute, server_stream),
            lambda final: evaluate_vectorized(plan, final, present, contribute, server_stream),
            lambda digest: {name: site.finish(state.run, digest) for name, site in sites.items()},
        )
    receives = {name: site.receive for name, site in sites.items()}
    transport: Transport = InProcess(receives)
    if engine == "flower":
        from simulations.flower import flower_world

        transport = stack.enter_context(flower_world(receives))
    lines, members = open_lines(plan, state.run, transport, signed)
    roster = Roster.from_bytes(signed.roster)
    names, patience = [member.site for member in members], plan.cohort.deadline_seconds
    return _Played(
        run(plan, state, lines, members, roster, server_stream),
        lambda final: evaluate(plan, final, lines, members, roster, server_stream),
        lambda digest: lines.close(state.run, digest, names, patience),
    )
