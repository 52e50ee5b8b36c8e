"""`federation mock`, `federation plan new`, `federation site new`: files that people begin with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clients.data.notes import printable, some
from federation.cli.screen import show
from federation.cli.streams import print_json
from federation.errors import InputError

if TYPE_CHECKING:
    from clients.data.csv_table import CsvTable
    from clients.drafting.plans import Proposal

AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON on stdout")]
Debug = Annotated[bool, typer.Option("--debug", help="on an error, show the traceback")]


plan_commands = typer.Typer(help="Plans.", no_args_is_help=True)


def mock(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="plan.toml: its columns, ranges and values")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="folder for the files; none is replaced")],
    rows: Annotated[int, typer.Option(min=1, max=10_000_000, help="records of each site")] = 500,
    sites: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="how many sites; as many as a round needs")
    ] = None,
    site: Annotated[str | None, typer.Option(metavar="ID", help="one site of this name instead")] = None,
    seed: Annotated[int, typer.Option(min=0, help="another seed, other records")] = 0,
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
    paths = write_mock_sites(agreed, out, names, rows, seed)
    if as_json:
        print_json({"made_up": True, "sites": list(names), "files": list(map(str, paths)), "rows": rows})
        return
    typer.echo(f"{out}: {len(names)} sites, {rows} records each, MADE UP: nothing in them is of anybody")
    if site is None:
        typer.echo(f"try them: federation simulate {plan} --sites {out}")


@plan_commands.command(
    "new", epilog="Example: [bold]federation plan new public.csv --target num --public[/bold]"
)
def new_plan(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="a table that is public or made up")],
    target: Annotated[str | None, typer.Option(metavar="COLUMN", help="the column to predict")] = None,
    out: Annotated[
        Path, typer.Option(metavar="PLAN", help="where the plan goes; it is never replaced")
    ] = Path("plan.toml"),
    feature: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="learn from these alone; may be repeated")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="the name of the federation; the file's, if left out")
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="the table holds nobody's private records")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Propose a plan from a public or made-up table, and say what was guessed and what people have to decide."""
    from clients.data.csv_table import CsvTable
    from clients.drafting.plans import propose
    from federation.files import refuse_existing, write_new

    refuse_existing(out)
    _confirm_public(data, public)
    table = CsvTable.read(data)
    found = propose(table, target or _asked_target(table), name or data.stem, feature or ())
    write_new(out, found.text)
    if as_json:
        named = {column.name: column.why for column in found.left_out}
        features = [column.name for column in found.used]
        print_json(
            {"plan": str(out), "plan_digest": found.plan.digest, "features": features, "left_out": named}
        )
        return
    _tell_proposal(found, out)


def _confirm_public(data: Path, public: bool) -> None:
    """Ranges and values that are read from private records would be published by the plan, outside any budget."""
    typer.echo(
        f"WARNING: ranges, values and classes are read from the rows of {printable(str(data))} and will stand in "
        "the plan, which every party sees. From private records, that would publish the least and the greatest "
        "of people, and no budget would count it. Use a public or made-up table only.",
        err=True,
    )
    if public:
        return
    if not sys.stdin.isatty():
        raise InputError(
            f"{data}: nobody has said that it is public", hint="give --public, if it is public or made up"
        )
    if not typer.confirm("is this table public or made up?", err=True):
        raise InputError("nothing was read", hint="write the ranges by hand, from what is possible")


def _asked_target(table: CsvTable) -> str:
    """The column to predict, which nobody guesses."""
    from clients.drafting.plans import targets_of

    few = targets_of(table)
    if not sys.stdin.isatty():
        said = f"of few values: {some(few)}" if few else "no column has few values"
        raise InputError("--target is missing: which column is to be predicted?", hint=said)
    chosen: str = typer.prompt(f"which column is to be predicted? ({some(few)})", err=True)
    return chosen


def _tell_proposal(found: Proposal, out: Path) -> None:
    from clients.drafting.plans import DECISIONS, line_of

    show(f"{found.target}: predicted, {len(found.classes)} classes")
    show(*(f"{line_of(c.feature)}  {c.why}" for c in found.used if c.feature is not None))
    show(*(f"left out: {column.name}: {column.why}" for column in found.left_out))
    for column in found.columns:
        if column.names_people:
            show(
                f'is "{column.name}" whose a row is? then set task.patient to it, and privacy.unit to "patient"'
            )
    show("", "People decide, and all of it is a guess so far:", *(f"  {line}" for line in DECISIONS))
    show("", f"{out}: {len(found.used)} features, {found.plan.digest}")
    show(f"next: read it; federation check {out}; federation mock {out} --out mock/")
