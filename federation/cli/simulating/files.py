"""`federation mock`, `split` and `demo --files`: files for simulations, made up or dealt."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from federation.cli.options import AsJson, Columns, Debug, Decimal, Encoding, Query, Separator, Sheet
from federation.cli.process import command_line
from federation.cli.streams import print_json
from federation.errors import InputError
from federation.words import many

if TYPE_CHECKING:
    from simulations.populations.registry import Population


class Format(StrEnum):
    """What made-up records are written as."""

    CSV = "csv"
    PARQUET = "parquet"

    @property
    def suffix(self) -> Literal[".csv", ".parquet"]:
        """Of the files' names."""
        return ".csv" if self is Format.CSV else ".parquet"


def mock(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="plan.toml: its columns, ranges and values")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="folder for the files; none is replaced")],
    rows: Annotated[int, typer.Option(min=1, max=10_000_000, help="records of each site")] = 500,
    sites: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="how many sites; as many as a round needs")
    ] = None,
    site: Annotated[str | None, typer.Option(metavar="ID", help="one site of this name instead")] = None,
    seed: Annotated[int, typer.Option(min=0, help="another seed, other records")] = 0,
    written: Annotated[
        Format, typer.Option("--format", help="Parquet needs the extra of tables")
    ] = Format.CSV,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make up records of a plan's columns, to try a plan and a pipeline with: they hold nothing of anybody."""
    from federation.plan.plan import load
    from simulations.mocked import mock_names, sites_for, write_mock_sites

    if site is not None and sites is not None:
        raise InputError("--site and --sites contradict each other", hint="name one site, or say how many")
    agreed = load(plan)
    names = (site,) if site is not None else mock_names(sites or sites_for(agreed))
    paths = write_mock_sites(agreed, out, names, rows, seed, written.suffix)
    if as_json:
        print_json({"made_up": True, "sites": list(names), "files": list(map(str, paths)), "rows": rows})
        return
    size = f"{many(len(names), 'site')}, {many(rows, 'record')} each"
    typer.echo(f"{out}: {size}, MADE UP: nothing in them is of anybody")
    if site is None:
        words = ["federation", "simulate", str(plan), "--sites", str(out)]
        typer.echo(f"try them: {command_line(words)}")


def split(
    data: Annotated[str, typer.Argument(metavar="DATA", help="a table: CSV, Parquet, a database, ...")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="folder for the sites; nothing is replaced")],
    by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="each value of this column is a site")
    ] = None,
    dirichlet: Annotated[
        float | None, typer.Option(metavar="A", help="label skew: shares of each class, Dirichlet(A)")
    ] = None,
    quantity: Annotated[
        float | None, typer.Option(metavar="A", help="sizes that differ: shares of all rows, Dirichlet(A)")
    ] = None,
    shift: Annotated[
        float | None, typer.Option(metavar="S", help="ranges of --feature: apart at 1, alike at 0")
    ] = None,
    iid: Annotated[bool, typer.Option("--iid", help="by chance, in equal parts")] = False,
    sites: Annotated[int | None, typer.Option(metavar="N", help="how many sites; not with --by")] = None,
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="the classes; the last column, if it has few values")
    ] = None,
    feature: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="of --shift: a column of numbers")
    ] = None,
    patient: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="whose a row is: a person's rows stay together")
    ] = None,
    across: Annotated[
        float, typer.Option(metavar="SHARE", help="of the people, who have rows at two sites")
    ] = 0.0,
    test: Annotated[
        float, typer.Option(metavar="SHARE", help="of each site, for NAME/test.csv beside train.csv")
    ] = 0.0,
    minimum: Annotated[int, typer.Option(metavar="ROWS", help="fewer at a site are refused")] = 2,
    seed: Annotated[int, typer.Option(help="another seed, other sites")] = 0,
    query: Query = None,
    sheet: Sheet = None,
    separator: Separator = None,
    decimal: Decimal = None,
    encoding: Encoding = None,
    columns: Columns = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Deal the rows of a table to sites, for `federation simulate --sites`: by a column, or with a skew.

    Each row goes to one site, with its cells as they are. Text may be larger than the memory. What is printed holds
    figures of your rows.
    """
    from clients.drafting.sources import Reading, by_options
    from federation.cli.progress import working
    from federation.cli.tables import print_split
    from simulations.populations.rules import Rule, rule_of
    from simulations.populations.split import split_table

    skew, strength = rule_of(by, dirichlet, quantity, shift, iid)
    rule = Rule(skew, strength, sites, by, feature, label, patient, across, test, minimum, seed)
    reading = Reading(data, query, sheet, None, separator, decimal, encoding, columns)
    with by_options("DATA"), working("dealing"):
        found = split_table(reading.origin(), out, rule)
    if as_json:
        print_json(found.to_json())
    else:
        print_split(found, is_said=label is not None)


def write_population(population: Population, files: Path, out: Path | None, *, as_json: bool) -> None:
    """Write the files of a population, for `demo --files`: to look at, or to run in another way."""
    from simulations.populations.parts import new_folder

    if out is not None:
        raise InputError("--out and --files contradict each other", hint="--files trains nothing")
    with new_folder(files) as folder:
        population.write(folder / "sites", 0)
        (folder / "plan.toml").write_bytes(population.scenario.read_bytes())
    plan, sites = str(files / "plan.toml"), str(files / "sites")
    if as_json:
        print_json({"population": population.name, "plan": plan, "sites": sites})
        return
    typer.echo(f"{files}: {population.about}")
    typer.echo("next: " + command_line(["federation", "simulate", plan, "--sites", sites]))
