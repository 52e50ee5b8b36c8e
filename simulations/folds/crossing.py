"""Cross-validation in a simulation: for each fold one whole simulation, in a run folder of its own.

    every site's records -> folds -> for each: train on the others, test on it -> mean and deviation

Every fold is a try: it shows exact figures, is counted among the runs on the same data, and no epsilon covers what
is chosen by them. What as many trainings would cost as a real run stands beside the figures.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch

from clients.data.folders import SiteFiles, find_sites
from clients.data.load import read_data
from clients.data.notes import Note
from federation.errors import DataError, InputError
from federation.files import alone_in, kept
from federation.model.task import Dataset, build_task
from federation.plan.plan import Plan
from federation.plan.tabular import TabularTask
from federation.report.receipt import Receipt
from federation.report.report import Fold, Metrics, Report
from server.run_folder import RunFolder
from simulations.comparing.personal import require_whole
from simulations.faults.rules import Faults, load_faults
from simulations.folds.dealing import Numbers, deal, require_folds
from simulations.folds.keeping import FoldsFolder
from simulations.folds.result import CrossValidation, cross_validated
from simulations.simulate import Engine, Stage, simulate, with_seed
from simulations.world import Parted

FoldProgress = Callable[[int, Receipt, Metrics], None]  # fold, receipt, pooled metrics

_log = logging.getLogger(__name__)


def cross_validate(
    plan: Plan | Path | str,
    sites: Path | str,
    out: Path | str,
    *,
    folds: int = 5,
    engine: Engine = "vectorized",
    seed: int | None = None,
    baseline: bool = True,
    device: str = "auto",
    all_metrics: bool = False,
    faults: Faults | str | None = None,
    progress: FoldProgress | None = None,
    stage: Stage = lambda _what, _done, _all: None,
    warn: Callable[[Note], None] = lambda _: None,
    notice: Callable[[str], None] = _log.warning,
    ended: Callable[[Path, Report], None] = lambda _folder, _report: None,
) -> CrossValidation:
    """Simulate a plan once for each fold of the records in a folder of sites; return the figures over all folds.

    Resumes what is in `out`, on the same data only; if it is complete on them, says so and returns it. Test files
    of sites are left alone. `progress` is called after every round of a fold, `ended` with the folder and report of
    each fold that this call finished; the rest is as for `simulate`.

    Raises as `simulate` does; InputError for a number of folds that makes none, and for a site that has a ledger of
    its own, which would be charged for every fold.
    """
    require_folds(folds)
    plan, text = with_seed(plan, seed)
    require_whole(plan)
    out = Path(out)
    faults = load_faults(faults) if isinstance(faults, str) else faults
    folder = FoldsFolder(out, plan, engine, folds, faults)
    done = folder.finished()  # refuses another plan before anybody reads data
    stage("reading the data", 0, 0)
    data = _read(plan, Path(sites), notice)
    if done is not None:
        notice(_said(out, folder.require_ended(data)))
        return done
    dealt = deal(data, folds, plan.federation.seed, build_task(plan).outcome)
    with kept(out):
        out.mkdir(parents=True, exist_ok=True)
    with alone_in(out):
        folder.begin(data)
        reports = []
        for number in range(1, folds + 1):
            run, part = folder.run(number), _parting(dealt, number - 1)
            if (report := _finished(run, plan, text, engine)) is None:
                told = partial(progress, number) if progress is not None else None
                report = simulate(
                    plan,
                    sites,
                    run,
                    engine=engine,
                    baseline=baseline,
                    device=device,
                    all_metrics=all_metrics,
                    faults=faults,
                    progress=told,
                    stage=_within(stage, number, folds),
                    warn=warn if number == 1 else lambda _: None,
                    notice=notice,
                    parted=Parted(Fold(number=number, of=folds), part),
                )
                ended(run, report)
            reports.append(report)
        runs = [folder.run(number).name for number in range(1, folds + 1)]
        result = cross_validated(plan, engine, reports, runs)
        folder.end(result)
    return result


def _said(out: Path, is_compared: bool) -> str:
    said = f"nothing was run: {out} holds these folds already"
    if is_compared:
        return f"{said}, of these records"
    return f"{said}; this machine knows no fingerprints of their records, so these were not compared"


def _within(stage: Stage, fold: int, folds: int) -> Stage:
    """Says of what goes on in which fold."""

    def told(what: str, done: int, total: int) -> None:
        stage(f"fold {fold} of {folds}: {what}", done, total)

    return told


def _read(plan: Plan, sites: Path, notice: Callable[[str], None]) -> dict[str, Dataset]:
    """The records of every site that folds are made of."""
    torch.set_num_threads(1)
    found = find_sites(sites, any_format=not isinstance(plan.task, TabularTask)).sites
    _require_no_ledgers(found)
    if tested := [entry.name for entry in found if entry.test is not None]:
        notice(f"the test files of {len(tested)} sites are left alone: folds are of the records to train on")
    task = build_task(plan)
    return {entry.name: read_data(entry.places()[0], plan, task) for entry in found}


def _require_no_ledgers(found: tuple[SiteFiles, ...]) -> None:
    for entry in found:
        if entry.site_file is not None:
            reason = f"site {entry.name} has a ledger of its own, which would be charged for every fold"
            raise InputError(reason, hint="cross-validate on a copy of the folder without site.toml")


def _parting(
    dealt: Mapping[str, Numbers], number: int
) -> Callable[[str, Dataset], tuple[Dataset, Dataset | None]]:
    """What parts the records of a site into those of the other folds and those of this one."""

    def part(name: str, data: Dataset) -> tuple[Dataset, Dataset | None]:
        if name not in dealt or len(dealt[name]) != len(data):
            raise DataError(f"the records of {name} changed while they were read", hint="start again")
        held = torch.from_numpy(dealt[name] == number)
        tested = data.at(held).renumbered() if bool(held.any()) else None
        return data.at(~held).renumbered(), tested

    return part


def _finished(run: Path, plan: Plan, text: str, engine: str) -> Report | None:
    """The report of a fold that an earlier process finished."""
    if not RunFolder(run, plan).is_finished:
        return None
    return RunFolder.open(run, plan, text).finished(engine, simulated=True)
