"""A plan with folds, simulated as it would be run: every message, every charge, and noised figures alone.

    all sites -> without fold 1: training, evaluation -> ... -> without fold K -> all records: the model

Each part is a run of the protocol in a folder of its own (RUN/fold-1, ..., and RUN for the model), with receipts,
transcripts and a report. They share the journals in RUN/journals, where one reservation pays for all of them before
the first round. Killed at any point, the same command goes on: a part that is over is left alone, and a round that
a journal has released is answered from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from clients.data.folders import SiteFiles, find_sites
from clients.data.folds import without
from clients.data.load import Reading, read_file
from clients.data.notes import Note
from clients.rules.origin import Place
from federation.errors import InputError
from federation.model.params import initial_params
from federation.model.task import Dataset, Task
from federation.plan.plan import Plan
from federation.plan.tabular import TabularTask
from federation.report.files import write_page, write_report
from federation.report.folds import over
from federation.report.receipt import Receipt
from federation.report.report import Fold, FoldFigures, Folds, Made, Metrics, Published, Report
from federation.report.summary import summary_of
from federation.round.plays import MODEL, run_of
from server.run_folder import RunFolder
from simulations.accounts.run import Paid, Telling
from simulations.inputs import keep_inputs
from simulations.messages import Part, play_messages
from simulations.virtual.population import Population
from simulations.world import Parted, World, keep_identities, read_world

_ENGINE = "protocol"
Stage = Callable[[str, int, int], None]


@dataclass(frozen=True)
class _Sites:
    """The files of all sites. Each is read once, so that no fold is of other data than the one before."""

    plan: Plan
    found: Sequence[SiteFiles]
    keys: Path

    def world(self, fold: int, read: Callable[[Place, Plan, Task], Reading]) -> World:
        """What the sites bring to one part of the plan."""

        def part(_: str, data: Dataset) -> tuple[Dataset, Dataset | None]:
            return without(data, self.plan, fold)

        parted = Parted(Fold(number=fold, of=self.plan.evaluation.folds or 0), part, is_planned=True)
        return read_world(self.plan, self.found, self.keys, parted, read)


def simulate_planned(
    plan: Plan,
    text: str,
    sites: Path | str | Population,
    out: Path,
    chosen: Sequence[bool],
    progress: Callable[[Receipt, Metrics], None] | None,
    stage: Stage,
    warn: Callable[[Note], None],
    notice: Callable[[str], None],
) -> Report:
    """Play all of a plan with folds, or what is left of it; the report of its model, with the figures of all folds.

    `chosen`: whether engine and options are those that play folds. InputError if not.
    """
    if not all(chosen) or not isinstance(sites, Path | str):
        hint = "give --engine protocol, without faults; exact figures: remove the line, and --folds 5"
        raise InputError("a plan with evaluation.folds is played message by message", hint=hint)
    torch.set_num_threads(1)
    folder = RunFolder(out, plan)
    if folder.is_finished and (done := RunFolder.open(out, plan, text).finished(_ENGINE, simulated=True)):
        notice(f"nothing was run: {out} holds this run already, finished with seed {done.seed}")
        return done
    stage("reading the data", 0, 0)
    found = find_sites(Path(sites), any_format=not isinstance(plan.task, TabularTask))
    _require_plain(found.sites)
    for note in found.notes:
        warn(note)
    folder = RunFolder.open(out, plan, text)
    with folder.alone():
        given = _Sites(plan, found.sites, out / "checkpoint" / "keys")
        read = _reader()
        model = given.world(MODEL, read)
        keep_inputs(model, _ENGINE, out / "checkpoint")
        keep_identities(model, given.keys)
        base = folder.state(initial_params(model.task.model, plan.federation.seed)).run
        told = progress or (lambda _receipt, _metrics: None)
        for fold in range(1, (plan.evaluation.folds or 0) + 1):
            place = fold_folder(out, fold)
            if not RunFolder(place, plan).is_finished:
                stage(f"fold {fold}", 0, 0)
                own = RunFolder.open(place, plan, text)
                _played(own, given.world(fold, read), Part(run_of(base, fold), out / "journals"), told, fold)
        stage("the model", 0, 0)
        return _played(folder, model, Part(base, out / "journals"), told, MODEL)


def fold_folder(run: Path, fold: int) -> Path:
    """Where the part of a run without this fold is."""
    return run / f"fold-{fold}"


def _reader() -> Callable[[Place, Plan, Task], Reading]:
    known: dict[str, Reading] = {}

    def read(place: Place, plan: Plan, task: Task) -> Reading:
        if str(place) not in known:
            known[str(place)] = read_file(place, plan, task)
        return known[str(place)]

    return read


def _played(
    folder: RunFolder, world: World, part: Part, progress: Callable[[Receipt, Metrics], None], fold: int
) -> Report:
    """One part of the plan, to its end and its report."""
    started = time.perf_counter()
    if fold:
        keep_inputs(world, _ENGINE, folder.path / "checkpoint")
    telling = Telling(lambda _: {}, progress, lambda _: None)
    paid = play_messages(folder, world, _ENGINE, telling, None, part)
    folder.write_params(world.task.model(), paid.state.model)
    report = _reported(folder, world, paid, fold, time.perf_counter() - started)
    write_report(folder.path, report)
    write_page(folder.path, report)
    folder.close()
    return report


def _reported(folder: RunFolder, world: World, paid: Paid, fold: int, seconds: float) -> Report:
    plan = world.plan
    report = summary_of(
        plan,
        folder.receipts(),
        paid.rounds,
        engine=_ENGINE,
        simulated=True,
        published=folder.evaluation(),
        unlikely=folder.unlikely_evaluation(),
        seconds=seconds,
        evaluated=paid.evaluated,
    )
    sizes = {member.site: member.size for member in world.members}
    sites = (line.model_copy(update={"records": sizes[line.id]}) for line in report.sites)
    kept = folder.kept(world.roster, paid.state.params.numel())
    told: dict[str, object] = {"made": Made.now(paid.state.run), "transcripts": kept, "sites": tuple(sites)}
    if fold:
        told["fold"] = Fold(number=fold, of=plan.evaluation.folds or 0)
    else:
        told["folds"] = _figures(folder.path, plan, paid.state.run)
    return report.model_copy(update=told)


def _figures(out: Path, plan: Plan, base: bytes) -> Folds:
    """What was published of every fold."""
    folds = range(1, (plan.evaluation.folds or 0) + 1)
    published = [RunFolder(fold_folder(out, fold), plan).evaluation() or {} for fold in folds]
    means, deviations = over(published)
    lines = (
        FoldFigures(fold=fold, run=run_of(base, fold).hex(), published=Published(**each))
        for fold, each in zip(folds, published, strict=True)
    )
    return Folds(folds=tuple(lines), mean=means, deviation=deviations)


def _require_plain(found: Sequence[SiteFiles]) -> None:
    """A test file would be a part of no fold, and a ledger of the site's own is none of a simulation's."""
    for entry in found:
        if entry.site_file is not None or entry.test is not None:
            what = "a test file" if entry.test is not None else "a site.toml"
            reason = f"site {entry.name} brings {what}, and the plan has folds"
            raise InputError(reason, hint="simulate a copy of the folder without it")
