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
from pathlib import Path

import torch

from clients.data.folders import SiteFiles, find_sites
from clients.data.notes import Note
from federation.errors import InputError
from federation.model.params import initial_params
from federation.plan.plan import Plan
from federation.plan.tabular import TabularTask
from federation.report.files import REPORT, write_page, write_report
from federation.report.receipt import Receipt
from federation.report.report import Made, Metrics, Report
from federation.report.summary import summary_of
from federation.round.plays import MODEL, fold_of, rounds_before
from server.folds.parts import left_of, with_folds
from server.run_folder import RunFolder
from simulations.accounts.run import Paid, Telling
from simulations.inputs import keep_ended, keep_inputs, said_of_ended
from simulations.messages import Part, play_messages
from simulations.virtual.population import Population
from simulations.world import World, keep_identities, read_world

_ENGINE = "protocol"
Stage = Callable[[str, int, int], None]
Progress = Callable[[Receipt, Metrics], None]


def simulate_planned(
    plan: Plan,
    text: str,
    sites: Path | str | Population,
    out: Path,
    chosen: Sequence[bool],
    progress: Progress | None,
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
    _finished(out, plan, text)  # refuses another plan before anybody reads data
    stage("reading the data", 0, 0)
    found = find_sites(Path(sites), any_format=not isinstance(plan.task, TabularTask))
    _require_plain(found.sites)
    for note in found.notes:
        warn(note)
    folder, journals = RunFolder.open(out, plan, text), out / "journals"
    with folder.alone():
        world = read_world(plan, found.sites, out / "checkpoint" / "keys")
        if (done := _finished(out, plan, text)) is not None:
            notice(said_of_ended(world, done, out))
            return done
        keep_inputs(world, _ENGINE, out / "checkpoint")
        keep_identities(world, out / "checkpoint" / "keys")
        for own, run in left_of(folder, text, initial_params(world.task.model, plan.federation.seed)):
            fold = fold_of(plan, run)
            stage(f"fold {fold} of {plan.evaluation.folds}" if fold else "the model", 0, 0)
            report = _played(own, world, Part(run, journals), _through(plan, run, progress))
    return report


def _finished(out: Path, plan: Plan, text: str) -> Report | None:
    """The report that `out` already holds; None if anything is left to do. Makes no folder."""
    if not RunFolder(out, plan).is_finished:
        return None
    return RunFolder.open(out, plan, text).finished(_ENGINE, simulated=True)


def _through(plan: Plan, run: bytes, progress: Progress | None) -> Progress:
    """Tells of rounds by the numbers that ledgers have: through all folds."""

    def told(receipt: Receipt, metrics: Metrics) -> None:
        if progress is not None:
            number = rounds_before(plan, run) + receipt.round
            progress(receipt.model_copy(update={"round": number}), metrics)

    return told


def _played(folder: RunFolder, world: World, part: Part, progress: Progress) -> Report:
    """One part of the plan, to its end and its report."""
    started = time.perf_counter()
    if fold_of(world.plan, part.run) != MODEL:
        keep_inputs(world, _ENGINE, folder.path / "checkpoint")
    telling = Telling(lambda _: {}, progress, lambda _: None)
    paid = play_messages(folder, world, _ENGINE, telling, None, part)
    folder.write_params(world.task.model(), paid.state.model)
    report = _reported(folder, world, paid, time.perf_counter() - started)
    write_report(folder.path, report)
    write_page(folder.path, report)
    if fold_of(world.plan, part.run) == MODEL:
        keep_ended(folder.path / "checkpoint", folder.path / REPORT)
    folder.close()
    return report


def _reported(folder: RunFolder, world: World, paid: Paid, seconds: float) -> Report:
    report = summary_of(
        world.plan,
        folder.receipts(),
        paid.rounds,
        engine=_ENGINE,
        simulated=True,
        published=folder.evaluation(),
        unlikely=folder.unlikely_evaluation(),
        seconds=seconds,
        evaluated=paid.evaluated,
    )
    sites = (line.model_copy(update={"records": len(world.training[line.id])}) for line in report.sites)
    kept = folder.kept(world.roster, paid.state.params.numel())
    told = {"made": Made.now(paid.state.run), "transcripts": kept, "sites": tuple(sites)}
    return with_folds(report.model_copy(update=told), folder, paid.state.run)


def _require_plain(found: Sequence[SiteFiles]) -> None:
    """A test file would be a part of no fold, and a ledger of the site's own is none of a simulation's."""
    for entry in found:
        if entry.site_file is not None or entry.test is not None:
            what = "a test file" if entry.test is not None else "a site.toml"
            reason = f"site {entry.name} brings {what}, and the plan has folds"
            raise InputError(reason, hint="simulate a copy of the folder without it")
