"""One simulation, from a plan and a folder of sites to a run folder with a report."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from clients.data.folders import SiteFiles, find_sites, mixed_hold_outs
from clients.data.load import read_file
from clients.data.notes import Note
from clients.journal.lock import alone
from clients.release import excess_of
from clients.site import Site
from federation.config.toml import read as read_toml
from federation.config.toml import with_value
from federation.model.params import initial_params, params_bytes, params_digest
from federation.plan.plan import Plan, parse
from federation.plan.tabular import TabularTask
from federation.report.files import PAGE, write_page, write_report
from federation.report.receipt import Receipt
from federation.report.report import Made, Metrics, Report, Tried
from federation.round.terms import Terms, evaluation_run
from federation.round.transport import Transport
from federation.sums.sizes import UNMASKED
from federation.sums.state import ServerState
from privacy.accounting.units import Charge
from privacy.ledger.heads import Head
from server.attendance.faults import Faults
from server.evaluation import Evaluated
from server.playing import Setting
from server.run import evaluate, run, server_stream
from server.run_folder import RunFolder
from server.sessions import open_lines
from server.transcripts import Transcripts
from server.voice import Voice
from simulations.baseline import FOLDER, without_privacy
from simulations.comparing.alone import MOST_SITES, kept_local_only
from simulations.inputs import keep_inputs
from simulations.optional import DIVERGED, Optional
from simulations.summary import model_of, pooled_metrics, summarize, with_baseline
from simulations.tried import Uses, count_run
from simulations.vectorized import Contributed, evaluate_vectorized, run_vectorized
from simulations.world import (
    InProcess,
    Reader,
    World,
    journal_of,
    keep_identities,
    open_sites,
    read_world,
)

Engine = Literal["vectorized", "protocol", "flower"]
ENGINES: tuple[str, ...] = get_args(Engine)
Progress = Callable[[Receipt, Metrics], None]
# What begins or goes on, how much of it is done, of how much (0: unknown).
Stage = Callable[[str, int, int], None]
Count = Callable[[str], Tried | None]  # run id -> how often the same data were tried
_KEYS = Path("checkpoint", "keys")
BARE = "without_privacy"
LOCAL = "local_only"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Study:
    """What a run is a part of: so many runs, whose data are read once. Nobody looks at the pages of each."""

    runs: int
    read: Reader
    uses: Uses


@dataclass(frozen=True)
class _Played:
    """A run by one of the engines: its rounds, one by one, then its evaluation, then its end."""

    rounds: Iterator[tuple[ServerState, Receipt]]
    evaluate: Callable[[ServerState], Evaluated]
    close: Callable[[bytes], Mapping[str, Head]]  # digest of the last params -> the last head of each ledger


@dataclass(frozen=True)
class _Paid:
    """A run that is over: its state, the rounds each site began, who was evaluated, what is charged, the tries."""

    state: ServerState
    rounds: Mapping[str, int]
    evaluated: frozenset[str]
    charged: Mapping[str, Sequence[Charge]]
    tried: Tried | None


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
    notice: Callable[[str], None] = _log.warning,
    public: bool = False,
    study: Study | None = None,
) -> Report:
    """Run a plan, or the plan in a file, over the sites in a folder (NAME.csv each); return the report.

    Resumes the run in `out`, on the same data only; if it is already complete, says so and returns its report.
    `seed` replaces `federation.seed`. `baseline`: train once more without privacy, to compare. `progress` is called
    after every round, `stage` when something else begins that may take long, `warn` with what looks odd in the
    files, `notice` with a line about this run. Unless the data are `public`, the run is counted among those on the
    same data. A run of a `study` is marked as that. Torch is set to one thread.

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
    draw = partial(_drawn, out=out, stage=stage) if study is None else _as_it_is
    if (done := _finished(out, plan, text, engine, notice)) is not None:
        return draw(done)
    stage("reading the data", 0, 0)
    world, files = _read_sites(plan, sites, out / _KEYS, warn, study.read if study else read_file)
    folder = RunFolder.open(out, plan, text)
    with folder.alone():
        if (done := _finished(out, plan, text, engine, notice)) is not None:  # by another process meanwhile
            return draw(done)
        keep_inputs(world, engine, out / "checkpoint")
        count = partial(_count, plan, [] if public else files, notice, study)
        paid = _run(folder, world, engine, progress, count)
        folder.write_params(world.task.model(), paid.state.params)
        # The run is paid for, and params and report are what for. They are on disk before anything else is tried.
        stage("counting what was spent", 0, 0)
        compares = baseline and _compares(world)
        report = _reported(folder, world, paid, engine, started, compares)
        if compares:
            report = _compared(report, world, out, stage)
        if report.evaluation.why(f"baselines.{BARE}") in ("", DIVERGED):
            folder.close()  # else the same command makes the comparison, of the same data
        return draw(report)


def _reported(
    folder: RunFolder, world: World, paid: _Paid, engine: Engine, started: float, compares: bool
) -> Report:
    """The report of what was paid for, on disk."""
    report = summarize(
        world,
        model_of(world, paid.state.params),
        folder.receipts(),
        paid.rounds,
        engine=engine,
        seconds=time.perf_counter() - started,
        published=folder.evaluation(),
        unlikely=folder.unlikely_evaluation(),
        evaluated=paid.evaluated,
        charged=paid.charged,
        tried=paid.tried,
        missing={f"baselines.{BARE}": "not made yet"} if compares else {},
    )
    unmasked = UNMASKED if engine == "vectorized" else ""
    kept = folder.kept(world.roster, paid.state.params.numel(), unmasked)
    report = report.model_copy(update={"made": Made.now(paid.state.run), "transcripts": kept})
    write_report(folder.path, report)
    return report


def _compared(report: Report, world: World, out: Path, stage: Stage) -> Report:
    """The report with the comparison without privacy, or with why there is none. Nothing is charged for it."""
    optional, plan, kept = Optional(), world.plan, out.resolve().parent / FOLDER
    step = partial(stage, "comparison without privacy")
    metrics = optional.make(BARE, plan.evaluation.metrics, partial(without_privacy, plan, world, kept, step))
    report = with_baseline(report, BARE, metrics, optional.missing.get(BARE, ""))
    if report.evaluation.why(f"baselines.{BARE}") in ("", DIVERGED) and len(world.members) <= MOST_SITES:
        report = _with_local_only(report, world, kept, stage)
    write_report(out, report)
    (out / PAGE).unlink(missing_ok=True)
    return report


def _as_it_is(report: Report) -> Report:
    return report


def _with_local_only(report: Report, world: World, kept: Path, stage: Stage) -> Report:
    """The report with what each site has by itself, or with why that is not known."""
    optional, sites = Optional(), dict[str, Metrics]()

    def work() -> Metrics:
        found = kept_local_only(world, kept, partial(stage, "each site by itself"))
        sites.update(found.own)
        return found.pooled

    metrics = optional.make(LOCAL, world.plan.evaluation.metrics, work)
    report = with_baseline(report, LOCAL, metrics, optional.missing.get(LOCAL, ""))
    told = report.evaluation.model_copy(update={"local_only": sites} if sites else {})
    return report.model_copy(update={"evaluation": told})


def _drawn(report: Report, out: Path, stage: Stage) -> Report:
    """The report, and its page if that is not there yet."""
    if not (out / PAGE).exists():
        stage("drawing the report", 0, 0)
        write_page(out, report)
    return report


def _compares(world: World) -> bool:
    """A site with a policy of its own is not trained on without privacy, not even for a comparison."""
    return world.plan.is_private and not world.rules


def _run(folder: RunFolder, world: World, engine: Engine, progress: Progress | None, count: Count) -> _Paid:
    """Play what is left of the run."""
    journals = folder.path / "journals"
    folder.require_whole({name: journal_of(world, name, journals) for name in world.training})
    folder.require_accepted()
    keep_identities(world, folder.path / _KEYS)
    folder.write_roster(world.roster)
    with ExitStack() as stack:
        for rules in world.rules.values():
            stack.enter_context(alone(rules.journal))
        parties = open_sites(world, journals)
        for site in parties.values():
            stack.callback(site.close)
        final, tried = _train(folder, world, parties, engine, progress, count)
        run = final.run.hex()
        rounds = {name: site.journal.rounds_begun(run) for name, site in parties.items()}
        evaluated = [
            name for name, site in parties.items() if site.journal.rounds_begun(evaluation_run(run)) > 0
        ]
        charged = {name: site.journal.charged(run, evaluation_run(run)) for name, site in parties.items()}
    return _Paid(final, rounds, frozenset(evaluated), charged, tried)


def _finished(
    out: Path, plan: Plan, text: str, engine: Engine, notice: Callable[[str], None]
) -> Report | None:
    """The report that `out` already holds, which is said; None if anything is left to do. Makes no folder."""
    if not RunFolder(out, plan).is_finished:
        return None
    done = RunFolder.open(out, plan, text).finished(engine, simulated=True)
    if done is not None:
        notice(
            f"nothing was run: {out} holds this run already, finished by engine {done.engine} with seed "
            f"{done.seed}; its fingerprints of the data are deleted, so the data were not compared"
        )
    return done


def _read_sites(
    plan: Plan, sites: Path, keys: Path, warn: Callable[[Note], None], read: Reader
) -> tuple[World, Sequence[SiteFiles]]:
    found = find_sites(sites, any_format=not isinstance(plan.task, TabularTask))
    for note in (*found.notes, *mixed_hold_outs(sites, found.sites, plan.evaluation.holdout)):
        warn(note)
    world = read_world(plan, found.sites, keys, read)
    for note in (note for files in world.files.values() for file in files for note in file.notes):
        warn(note)
    return world, found.sites


def _with_seed(plan: Plan | Path | str, seed: int | None) -> tuple[Plan, str]:
    """The plan and its TOML. A Plan is read again from its text: a copy with other values is checked, too."""
    text, path = (
        (plan.to_toml(), None) if isinstance(plan, Plan) else (read_toml(Path(plan)).text, Path(plan))
    )
    if seed is not None:
        text = with_value(text, ("federation", "seed"), str(seed))
    return parse(text, path), text


def _count(
    plan: Plan, files: Sequence[SiteFiles], notice: Callable[[str], None], study: Study | None, run: str
) -> Tried | None:
    """How often the data in these files were tried, with this run; None without files."""
    if not files:
        return None
    tried = count_run(run, plan, files, study.uses if study else None)
    if study is not None:
        tried = tried.model_copy(update={"study": study.runs})
    if tried.reason:
        notice(f"this run is not counted among those on the same data: {tried.reason}")
    return tried


def _train(
    folder: RunFolder,
    world: World,
    sites: Mapping[str, Site],
    engine: Engine,
    progress: Progress | None,
    count: Count,
) -> tuple[ServerState, Tried | None]:
    """Play every round that is left; each is on disk before the next begins. The run is counted before the first.

    A run that a site refuses has tried nothing, and is not counted.
    """
    state = folder.state(initial_params(world.task.model, world.plan.federation.seed))
    with folder.keeping_refusal(state), ExitStack() as stack:
        kept = folder.transcripts(world.roster, state.params.numel())
        stated = partial(folder.store_consents, state.run)
        played = _play(world, state, sites, engine, stack, stated, folder.faults(), kept)
        tried = count(state.run.hex())
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
    return state, tried


def _play(
    world: World,
    state: ServerState,
    sites: Mapping[str, Site],
    engine: Engine,
    stack: ExitStack,
    stated: Callable[[Mapping[str, bytes]], None],
    faults: Faults,
    kept: Transcripts | None,
) -> _Played:
    """What is left of a run, whose `faults` are known. Every site has consented when this returns; `stated` gets
    what they signed.
    """
    plan, signed = world.plan, world.roster
    for site in sites.values():
        site.join(state.run, plan, signed)  # here and not only by message: a refusal keeps its own words
    if engine == "vectorized":
        present = tuple(site.member for site in sites.values())

        def contribute(terms: Terms, site: str, params: Tensor) -> Contributed:
            excess = excess_of(terms, sites[site].journal)
            return Contributed(sites[site].release(terms, params, excess=excess), excess)

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
    voice = Voice(plan, state.run, signed, world.coordinator)
    lines, members = open_lines(
        voice, transport, at=(state.round, state.attempt), dimension=state.params.numel()
    )
    lines.attendance.faults = faults
    stated(lines.consents)
    setting = Setting(state, members, lines, kept)
    names, patience = [member.site for member in members], plan.cohort.deadline_seconds
    return _Played(
        run(setting, server_stream),
        lambda final: evaluate(replace(setting, state=final), server_stream),
        lambda digest: lines.close(state.run, digest, names, patience),
    )
