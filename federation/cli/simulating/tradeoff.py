"""`federation tradeoff`: what a plan is worth at each epsilon."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.options import AsJson, Debug
from federation.cli.screen import show, styled, titled
from federation.cli.simulating.folders import advise_to_resume, free_folder, named
from federation.cli.streams import print_json
from federation.report.numbers import figure, plain, spread

if TYPE_CHECKING:
    from rich.table import Table

_BASELINES = {
    "without_privacy": "all sites, without privacy",
    "pooled": "all data in one place, without privacy",
    "local_only": "each site alone, without privacy",
    "majority": "always the majority class",
}


def tradeoff(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="plan.toml, with any epsilon")],
    sites: Annotated[
        Path, typer.Option(metavar="DIR", help="NAME.csv, or NAME/train.csv [+ test.csv], per site")
    ],
    epsilon: Annotated[
        str, typer.Option(metavar="LIST", help="numbers with commas between them")
    ] = "0.5,1,2,4,8",
    noise: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="of distributed, site, central; the plan's own by default"),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=100, help="runs of each point: the plan's seed, and those that follow")
    ] = 3,
    contributions: Annotated[
        bool | None,
        typer.Option(
            "--contributions/--no-contributions",
            help="leave each site out in turn, to tell what it gives; by default up to 10 sites",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="a new folder, or one in which the same command goes on"),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Simulate a plan at several epsilons: what each is worth, at what risk, and for whom.

    Writes a page for people, and a plan file for each point. Use public or mock data: every run shows exact
    figures, and a choice made by these is covered by no epsilon.
    """
    from federation.cli.progress import show_progress
    from federation.plan.plan import load
    from simulations.tradeoff.points import epsilons_of, noises_of

    epsilons = epsilons_of(epsilon)
    with show_progress() as shown:
        shown.stage("reading the plan")
        planned = load(plan)
        noises = noises_of(noise, planned)
        folder = out or free_folder(f"{named(planned.federation.name)}-tradeoff")
        advise_to_resume(folder, "begun.json", is_named=out is not None)
        from simulations.tradeoff.frontier import tradeoff as run

        found = run(
            plan,
            sites,
            folder,
            epsilons=epsilons,
            noises=noises,
            seeds=seeds,
            contributions=contributions,
            progress=lambda done, whole, words: shown.trials("trade-off", done, whole, words),
            stage=shown.stage,
            warn=lambda note: typer.echo(f"warning: {note}", err=True),
            notice=lambda line: typer.echo(line, err=True),
        )
    if as_json:
        print_json(found)
    else:
        _print(found, folder)


def _print(found: Mapping[str, Any], folder: Path) -> None:
    """Print a frontier: what it tells and does not, each point, what stands beside, the files."""
    show(styled((found["caution"], "bold")))
    show(_points(found), _beside(found))
    for point in found["points"]:
        if point["refused"]:
            show(f"refused  epsilon {point['epsilon']:g}, {point['noise']}: {point['refused']}")
    from simulations.tradeoff.page import main_metric
    from simulations.tradeoff.wording import worse

    if said := worse(found, main_metric(found["metrics"])):
        show(said)
    runs, tried = found["tried"]["runs"], found["tried"]["on_these_data"]
    if tried is not None and tried["runs"] is not None:
        show(f"{runs} runs to choose by; on this machine these data were used in {tried['runs']} simulations")
    show(f"page     {folder / 'tradeoff.html'}", f"plans    {folder / 'plans'}")


def _points(found: Mapping[str, Any]) -> Table:
    metrics = found["metrics"][:3]
    several = f"Mean of {len(found['seeds'])} seeds, 95 % t interval"
    title = several if len(found["seeds"]) > 1 else "One seed: how far another would be off is not known"
    table = titled(title, "epsilon", "noise", *map(plain, metrics))
    table.add_column("at most, whoever guesses who was in the data")
    for point in found["points"]:
        if not point["refused"]:
            values = (_band(point["metrics"][name]) for name in metrics)
            table.add_row(f"{point['epsilon']:g}", point["noise"], *values, point["risk"]["short"])
    return table


def _beside(found: Mapping[str, Any]) -> Table:
    metrics = found["metrics"][:3]
    table = titled("To compare with", "", *map(plain, metrics))
    for name, words in _BASELINES.items():
        if name in found["baselines"]:
            table.add_row(words, *(_band(found["baselines"][name][metric]) for metric in metrics))
    return table


def _band(of: Mapping[str, Any]) -> str:
    """A mean, and half the width of its band.

    >>> _band({"mean": 0.5, "low": 0.4, "high": 0.6}), _band({"mean": 0.5, "low": None, "high": None})
    ('0.500 ± 0.100', '0.500')
    """
    return f"{figure(of['mean'])}{spread(None if of['low'] is None else of['high'] - of['mean'])}"
