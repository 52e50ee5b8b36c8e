"""One simulation, from a plan and a folder of sites to a run folder with a report."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from clients.data.folders import SiteFiles, find_sites, mixed_hold_outs
from clients.data.load import read_file
from clients.data.notes import Note
from federation.config.toml import read, with_value
from federation.errors import InputError, OtherRun
from federation.metering import Meter
from federation.plan.plan import Plan, parse
from federation.plan.tabular import TabularTask
from federation.report.files import PAGE, REPORT, write_page, write_report
from federation.report.receipt import Receipt
from federation.report.report import Made, Metrics, Report, Tried
from federation.report.tabled import with_tables
from federation.sums.engines import ADDS_UP
from federation.sums.state import ServerState
from federation.sums.transcript.sizes import UNMASKED
from server.run_folder import RunFolder
from simulations.accounts.run import Paid, Telling, play_accounted
from simulations.baseline import FOLDER, without_privacy
from simulations.comparing.alone import MOST_SITES, kept_local_only
from simulations.comparing.personal import require_one_process, with_personal
from simulations.fairness.energy import with_energy
from simulations.fairness.paired import beside_alone, said_at_sites
from simulations.faults.kept import keep_faults, require_same, suffered
from simulations.faults.rules import Faults, load_faults
from simulations.inputs import keep_ended, keep_inputs, said_of_ended
from simulations.messages import play_messages
from simulations.optional import DIVERGED, Optional
from simulations.summary import model_of, pooled_metrics, summarize, with_baseline
from simulations.sums.adding import Adds, here
from simulations.tried import Uses, count_run
from simulations.virtual.population import Population, world_of
from simulations.world import (
    Parted,
    Reader,
    World,
    read_world,
    seed_in,
)

Engine = Literal["vectorized", "protocol", "flower", "flower-ray"]
ENGINES: tuple[str, ...] = get_args(Engine)
Progress = Callable[[Receipt, Metrics], None]
# What begins or goes on, how much of it is done, of how much (0: unknown).
Stage = Callable[[str, int, int], None]
Count = Callable[[str], Tried | None]  # run id -> how often the same data were tried
_KEYS = Path("checkpoint", "keys")
BARE = "without_privacy"
LOCAL = "local_only"
_ALL = 20  # rounds from the first on that are all measured

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Study:
    """What a run is a part of: so many runs, whose data are read once. Nobody looks at pages and rounds of each."""

    runs: int
    read: Reader
    uses: Uses


def simulate(
    plan: Plan | Path | str,
    sites: Path | str | Population,
    out: Path | str,
    *,
    engine: Engine = "vectorized",
    device: str = "auto",
    seed: int | None = None,
    baseline: bool = True,
    all_metrics: bool = False,
    progress: Progress | None = None,
    stage: Stage = lambda _what, _done, _all: None,
    warn: Callable[[Note], None] = lambda _: None,
    notice: Callable[[str], None] = _log.warning,
    public: bool = False,
    faults: Faults | str | None = None,
    parted: Parted | None = None,
    study: Study | None = None,
) -> Report:
    """Run a plan, or the plan in a file, over the sites in a folder (NAME.csv each); return the report.

    `sites` may also be a `Population` of virtual sites, for the vectorized engine: their data are made when a round
    needs them, and the report tells how many there are, and nothing of each.

    Resumes the run in `out`, on the same data only; if it is complete on them, says so and returns its report.
    `device` is where the vectorized engine trains: "cpu", "cuda", or "auto" for a CUDA device if there is one.
    The other engines train on processors, and refuse "cuda".
    `all_metrics`: figures after every round; by default after the first twenty, then ever fewer, and the last.
    `seed` replaces `federation.seed`. `baseline`: train once more without privacy, to compare. `progress` is
    called after every round, `stage` when something else begins that may take long, `warn` with what looks odd in
    the files, `notice` with a line about this run. Unless the data are `public`, the run is counted among those
    on the same data. `faults`: how sites are lost on the way, by a seed; also a file, or "dropouts=0.05, seed=7".
    `parted`: as one fold of a cross-validation. A run of a `study` is marked as that. Torch is set to one thread.
    A plan with folds is played by the engine protocol, and its rounds are numbered through all folds.

    Raises a FederationError or PrivacyError: PlanError for the plan, DataError for a site's file, CheckpointError
    for a folder that holds something else, TooFewSurvivors for a round that lost too many sites.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}")
    if device == "cuda" and engine != "vectorized":
        hint = "leave out the device, or choose the engine vectorized"
        raise InputError("sites train on a CUDA device with the engine vectorized only", hint=hint)
    faults = load_faults(faults) if isinstance(faults, str) else faults
    if faults is not None and engine == "flower":
        hint = "choose the engine vectorized, or protocol"
        raise InputError("faults are not played over Flower, which has a clock of its own", hint=hint)
    started, meter = time.perf_counter(), Meter.begin()
    stage("working out the noise", 0, 0)
    plan, text = with_seed(plan, seed)
    require_one_process(plan, sites, engine)
    if plan.evaluation.folds is not None:
        from simulations.planned.playing import simulate_planned

        chosen = (engine == "protocol", study is None, parted is None, faults is None)
        return simulate_planned(plan, text, sites, Path(out), chosen, progress, stage, warn, notice)
    out = Path(out)
    torch.set_num_threads(1)  # a site's batches are too small for a second thread to pay
    draw = partial(_drawn, out=out, stage=stage) if study is None else _as_it_is
    over = partial(_finished, out, plan, text, engine, faults, parted)
    if (done := over()) is not None and study is not None:  # whoever studies these data has compared them
        return done
    if parted is not None and plan.task_is_tally:
        raise InputError("nothing is trained by this plan, so there are no folds", hint="simulate it once")
    stage("reading the data", 0, 0)
    world, files = _world(plan, sites, out / _KEYS, engine, warn, parted, study, faults)
    folder = RunFolder.open(out, plan, text)
    with folder.alone(), ExitStack() as stack:
        if (done := over()) is not None:  # also by another process meanwhile
            notice(said_of_ended(world, done, out))
            return draw(done)
        keep_inputs(world, engine, out / "checkpoint")
        keep_faults(faults, out / "checkpoint")
        count = partial(_count, plan, [] if public else files, notice, study)
        adds = stack.enter_context(_adds(world, sites, engine, stage))
        telling = _telling(world, progress, count, all_metrics, study)
        paid = _run(folder, world, engine, telling, device, adds, faults)
        folder.write_params(world.task.model(), paid.state.model)
        # The run is paid for, and params and report are what for. They are on disk before anything else is tried.
        stage("counting what was spent", 0, 0)
        compares = baseline and _compares(world)
        report = _reported(folder, world, paid, engine, started, compares, faults, parted, meter)
        if compares:
            report = _compared(report, world, out, stage, adds, paid.state.model)
        if report.evaluation.why(f"baselines.{BARE}") in ("", DIVERGED):
            keep_ended(out / "checkpoint", out / REPORT)
            folder.close()  # else the same command makes the comparison, of the same data
        return draw(report)


def _reported(
    folder: RunFolder,
    world: World,
    paid: Paid,
    engine: Engine,
    started: float,
    compares: bool,
    faults: Faults | None,
    parted: Parted | None,
    meter: Meter,
) -> Report:
    """The report of what was paid for, on disk."""
    report = summarize(
        world,
        model_of(world, paid.state.model),
        folder.receipts(),
        paid.rounds,
        engine=engine,
        seconds=time.perf_counter() - started,
        published=folder.evaluation(),
        unlikely=folder.unlikely_evaluation(),
        evaluated=paid.evaluated,
        charged=paid.charged,
        tried=paid.tried,
        population=None if world.listed else world.size,
        missing={f"baselines.{BARE}": "not made yet"} if compares else {},
    )
    report = with_tables(report, world.plan, paid.state.model, folder.receipts())
    report = with_personal(report, world, paid.state.model, paid.layers)
    unmasked = UNMASKED if engine in ADDS_UP else ""
    kept = folder.kept(world.roster, paid.state.params.numel(), unmasked)
    told = {"made": Made.now(paid.state.run), "transcripts": kept}
    told |= {} if parted is None else {"fold": parted.fold}
    report = report.model_copy(update=told | suffered(faults, folder.receipts()))
    report = with_energy(report, meter.taken())
    write_report(folder.path, report)
    return report


def _compared(report: Report, world: World, out: Path, stage: Stage, adds: Adds, params: Tensor) -> Report:
    """The report with the comparison without privacy, or with why there is none. Nothing is charged for it."""
    optional, plan, kept = Optional(), world.plan, out.resolve().parent / FOLDER
    step = partial(stage, "comparison without privacy")
    work = partial(without_privacy, plan, world, kept if world.listed else None, step, adds)
    metrics = optional.make(BARE, plan.evaluation.metrics, work)
    report = with_baseline(report, BARE, metrics, optional.missing.get(BARE, ""))
    if report.evaluation.why(f"baselines.{BARE}") in ("", DIVERGED) and 0 < len(world.listed) <= MOST_SITES:
        report = _with_local_only(report, world, kept, stage, params)
    write_report(out, report)
    (out / PAGE).unlink(missing_ok=True)
    return report


def _as_it_is(report: Report) -> Report:
    return report


def _with_local_only(report: Report, world: World, kept: Path, stage: Stage, params: Tensor) -> Report:
    """The report with what each site has by itself and what it gains, or with why that is not known."""
    optional, told = Optional(), dict[str, Any]()

    def work() -> Metrics:
        found = kept_local_only(world, kept, partial(stage, "each site by itself"))
        told["local_only"] = found.own
        with suppress(Exception):  # a comparison is one more figure that a run can do without
            told["beside_alone"] = beside_alone(
                world, said_at_sites(world, model_of(world, params)), found.said
            )
        return found.pooled

    metrics = optional.make(LOCAL, world.plan.evaluation.metrics, work)
    report = with_baseline(report, LOCAL, metrics, optional.missing.get(LOCAL, ""))
    return report.model_copy(update={"evaluation": report.evaluation.model_copy(update=told)})


def _drawn(report: Report, out: Path, stage: Stage) -> Report:
    """The report, and its page if that is not there yet."""
    if not (out / PAGE).exists():
        stage("drawing the report", 0, 0)
        write_page(out, report)
    return report


def _compares(world: World) -> bool:
    """A site with a policy of its own is not trained on without privacy, not even for a comparison."""
    of_one_model = not (world.plan.task_is_tally or world.plan.kept)
    return world.plan.is_private and not world.rules and of_one_model


def is_measured(number: int, rounds: int) -> bool:
    """Whether the pooled metrics after a round are computed: of the first 20, then of ever fewer, and of the last.

    Of those between 20 times 2^k and twice that, every 2^(k+1)th: about ten each time that their number doubles.
    """
    step = 1 if number <= _ALL else 2 ** (1 + int(math.log2(number / _ALL)))
    return number % step == 0 or number == rounds


def _telling(
    world: World, progress: Progress | None, count: Count, all_metrics: bool, study: Study | None
) -> Telling:
    """What a run says: figures of those rounds that are measured, and every round when it is done.

    Of a run of a study nobody looks at the rounds on the way.
    """
    plan, rounds = world.plan, world.plan.federation.rounds

    def measure(state: ServerState) -> Metrics:
        looked_at = is_measured(state.round, rounds) if study is None else state.round == rounds
        if not (all_metrics or looked_at) or plan.task_is_tally:
            return {}
        work = partial(pooled_metrics, world, model_of(world, state.model))
        return Optional().make("pooled", plan.evaluation.metrics, work)

    return Telling(measure, progress or (lambda _receipt, _metrics: None), count)


def _adds(
    world: World, sites: Path | str | Population, engine: Engine, stage: Stage
) -> AbstractContextManager[Adds]:
    """Within the context: where simulated sites are trained and added up."""
    if engine != "flower-ray" or not isinstance(sites, Path | str):
        return nullcontext(here)
    stage("starting the cluster", 0, 0)
    from simulations.ray.cluster import spread

    return spread(world, Path(sites))


def _run(
    folder: RunFolder,
    world: World,
    engine: Engine,
    telling: Telling,
    device: str,
    adds: Adds,
    faults: Faults | None,
) -> Paid:
    """Play what is left of the run."""
    if engine in ADDS_UP:
        return play_accounted(folder, world, telling, device, adds, faults)
    return play_messages(folder, world, engine, telling, faults)


def _finished(
    out: Path, plan: Plan, text: str, engine: Engine, faults: Faults | None, parted: Parted | None
) -> Report | None:
    """The report that `out` already holds; None if anything is left to do. Makes no folder.

    OtherRun if the plan, or how it is played, is another; nobody has read data yet.
    """
    if not RunFolder(out, plan).is_finished:
        return None
    done = RunFolder.open(out, plan, text).finished(engine, simulated=True)
    if done is not None:
        require_same(out, faults, None if done.faults is None else done.faults.rules)
        if done.fold != (None if parted is None else parted.fold):
            raise OtherRun(f"{out} holds a fold of a cross-validation", hint="name another folder")
    return done


def _world(
    plan: Plan,
    sites: Path | str | Population,
    keys: Path,
    engine: Engine,
    warn: Callable[[Note], None],
    parted: Parted | None,
    study: Study | None,
    faults: Faults | None,
) -> tuple[World, Sequence[SiteFiles]]:
    """The world of a folder of sites, with its files, or of a population."""
    if isinstance(sites, Path | str):
        return _read_sites(plan, Path(sites), keys, warn, parted, study)
    if faults is not None:
        hint = "simulate a folder of sites, which are known one by one"
        raise InputError("faults are not played over a population", hint=hint)
    if engine != "vectorized":
        raise InputError("a population is simulated by the engine vectorized", hint="leave out the engine")
    return world_of(plan, sites, seed_in(keys)), ()


def _read_sites(
    plan: Plan,
    sites: Path,
    keys: Path,
    warn: Callable[[Note], None],
    parted: Parted | None,
    study: Study | None,
) -> tuple[World, Sequence[SiteFiles]]:
    found = find_sites(sites, any_format=not isinstance(plan.task, TabularTask))
    mixed = () if parted else mixed_hold_outs(sites, found.sites, plan.evaluation.holdout)
    for note in (*found.notes, *mixed):
        warn(note)
    world = read_world(plan, found.sites, keys, parted, study.read if study else read_file)
    for note in (note for files in world.files.values() for file in files for note in file.notes):
        warn(note)
    return world, found.sites


def with_seed(plan: Plan | Path | str, seed: int | None) -> tuple[Plan, str]:
    """The plan and its TOML. A Plan is read again from its text: a copy with other values is checked, too."""
    text, path = (plan.to_toml(), None) if isinstance(plan, Plan) else (read(Path(plan)).text, Path(plan))
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
