"""`federation demo` and `federation simulate`: a whole federation in one process, once or for each fold."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.options import AsJson, Debug, Mlflow, TensorBoard
from federation.cli.simulating.files import write_population
from federation.cli.simulating.folders import advise_to_resume, free_folder, named
from federation.cli.streams import print_json
from federation.cli.telling.track import print_tracked, registries_of

if TYPE_CHECKING:
    from federation.cli.progress import Shown
    from federation.plan.plan import Plan
    from federation.report.receipt import Receipt
    from federation.report.report import Metrics, Report
    from federation.tracking.track import Registries
    from simulations.folds.result import CrossValidation
    from simulations.simulate import Engine

Seed = Annotated[
    int | None, typer.Option(help="replaces federation.seed: holdout, params, cohorts; never noise")
]
Out = Annotated[
    Path | None, typer.Option(metavar="RUN", help="run folder; resumed if it holds a run already")
]


class PopulationName(StrEnum):
    """Bundled data to try things on."""

    HOSPITALS = "hospitals"
    DIGITS = "digits"
    IMAGES = "images"
    BANK = "bank"
    HEART = "heart"
    READMISSION = "readmission"
    CREDIT = "credit"
    FRAUD = "fraud"
    WARD = "ward"
    MARKET = "market"
    MODERATION = "moderation"


class EngineName(StrEnum):
    """What carries a simulation."""

    VECTORIZED = "vectorized"
    PROTOCOL = "protocol"
    FLOWER = "flower"


class DeviceName(StrEnum):
    """Where the vectorized engine trains."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


def demo(
    population: Annotated[
        PopulationName, typer.Argument(help="which bundled data")
    ] = PopulationName.HOSPITALS,
    out: Out = None,
    files: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="write the sites and their plan there, and train nothing"),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Train on bundled data, end to end: secure aggregation, differential privacy, a report.

    hospitals: 569 real biopsies in five hospitals

    digits: 1,797 real images of digits from six scanners

    images: the same digits as PNG files, each read as histograms of its gradients

    bank: a made-up credit portfolio in eight branches; a customer is protected, with all loans

    heart: made-up patients of four hospitals, of whom much was not measured

    readmission: made-up stays in five hospitals; a person is protected, with all stays

    credit: made-up credit cards of three banks; a curve for each number

    fraud: made-up payments of four issuers, one in 150 a fraud; a card is protected

    ward: made-up hours of stays in four hospitals, cut into windows; a patient is protected

    market: a made-up panel of accounts of four brokers; how much can be known is known

    moderation: made-up posts in four forums, some taken down; texts, and an author is protected
    """
    from tempfile import TemporaryDirectory

    from simulations.populations.registry import population_for

    found = population_for(population)
    if files is not None:
        write_population(found, files, out, as_json=as_json)
        return
    out = out or free_folder(f"demo-{population}")
    with TemporaryDirectory(prefix="federation-") as folder:
        sites = found.write(Path(folder), 0)
        _simulate(found.scenario, sites, out, EngineName.PROTOCOL.value, None, as_json, public=True)


def simulate(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="plan.toml, as approved by every site")],
    sites: Annotated[
        Path, typer.Option(metavar="DIR", help="NAME.csv, or NAME/train.csv [+ test.csv], per site")
    ],
    out: Out = None,
    seed: Seed = None,
    engine: Annotated[EngineName, typer.Option(help="what carries the messages")] = EngineName.VECTORIZED,
    ray: Annotated[bool, typer.Option("--ray", help="with --engine flower: on a Ray cluster")] = False,
    baseline: Annotated[
        bool, typer.Option("--baseline/--no-baseline", help="compare with the same training without privacy")
    ] = True,
    device: Annotated[DeviceName, typer.Option(help="where the vectorized engine trains")] = DeviceName.AUTO,
    all_metrics: Annotated[
        bool, typer.Option("--all-metrics", help="measure after every round, not after ever fewer")
    ] = False,
    faults: Annotated[
        str | None,
        typer.Option(metavar="FILE|SPEC", help='sites lost by a seed, such as "dropouts=0.05, seed=7"'),
    ] = None,
    folds: Annotated[
        int | None, typer.Option(metavar="K", help="cross-validation: K trainings, each tested on a K-th")
    ] = None,
    mlflow: Mlflow = None,
    tensorboard: TensorBoard = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Run the whole federation in one process, on your own files."""
    if ray and engine is not EngineName.FLOWER:
        raise typer.BadParameter("goes with --engine flower", param_hint="--ray")
    how = {"baseline": baseline, "device": device.value, "all_metrics": all_metrics, "faults": faults}
    if ray and folds is not None:
        raise typer.BadParameter("goes without --folds", param_hint="--ray")
    name: Engine = "flower-ray" if ray else engine.value
    registries = registries_of(mlflow, tensorboard)
    _simulate(plan, sites, out, name, seed, as_json, how, folds=folds, registries=registries)


def _simulate(
    path: Path,
    sites: Path,
    out: Path | None,
    engine: Engine,
    seed: int | None,
    as_json: bool,
    how: Mapping[str, Any] = MappingProxyType({}),
    *,
    folds: int | None = None,
    public: bool = False,
    registries: Registries | None = None,
) -> None:
    from federation.cli.progress import show_progress
    from federation.cli.tables import print_folds, print_report
    from federation.plan.plan import load

    with show_progress() as shown:
        shown.stage("reading the plan")
        plan, is_named = load(path), out is not None
        out = out or free_folder(named(plan.federation.name))
        advise_to_resume(out, "plan.toml", "checkpoint", is_named=is_named)
        told = {
            "stage": shown.stage,
            "warn": lambda note: typer.echo(f"warning: {note}", err=True),
            "notice": lambda line: typer.echo(line, err=True),
        }
        given = {"engine": engine, "seed": seed, **how, **told}
        places = path, sites, out
        if folds is None:
            report = _once(plan, places, shown, {**given, "public": public})
            as_tables, as_data = partial(print_report, report, out), report.to_json()
        else:
            found = _for_each_fold(plan, places, shown, {**given, "folds": folds})
            as_tables, as_data = partial(print_folds, found, out), found.to_json()
        kept = []
        if registries:
            shown.stage("writing to the registries")
            runs = [out] if folds is None else [out / line.run for line in found.folds]
            kept = [registries.track(run) for run in runs]
    if as_json:
        print_json(as_data)
    else:
        as_tables()
        for each in kept:
            print_tracked(each)


def _once(plan: Plan, places: tuple[Path, Path, Path], shown: Shown, how: Mapping[str, Any]) -> Report:
    """One simulation, of all parts of the plan if it has folds, and its audit."""
    from federation.audit.page import write_verdict
    from simulations.simulate import simulate as run_simulation

    def told(done: Receipt, seen: Metrics) -> None:
        shown.rounds(*_part(plan, done.round), plan.federation.rounds, seen)

    report = run_simulation(*places, **how, progress=told)
    shown.stage("auditing the run")
    write_verdict(places[-1], report)
    return report


def _for_each_fold(
    plan: Plan, places: tuple[Path, Path, Path], shown: Shown, how: Mapping[str, Any]
) -> CrossValidation:
    """A simulation for each fold of the records, and the audit of each."""
    from federation.audit.page import write_verdict
    from simulations.folds.crossing import cross_validate

    def told(fold: int, done: Receipt, seen: Metrics) -> None:
        title = _title(plan, fold, how["folds"])
        shown.rounds(title, done.round, plan.federation.rounds, seen)

    return cross_validate(*places, **how, progress=told, ended=write_verdict)


def _part(plan: Plan, number: int) -> tuple[str, int]:
    """What is trained in a round, and its number there: those of a plan with folds are numbered through."""
    folds, rounds = plan.evaluation.folds, plan.federation.rounds
    if folds is None:
        return plan.federation.name, number
    part, before = divmod(number - 1, rounds)
    return _title(plan, part + 1, folds), before + 1


def _title(plan: Plan, fold: int, folds: int) -> str:
    what = f"fold {fold} of {folds}" if fold <= folds else "the model"
    return f"{plan.federation.name}, {what}"
