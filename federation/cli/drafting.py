"""`federation mock`, `federation plan new`, `federation site new`: files that people begin with."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from federation.cli.streams import print_json
from federation.errors import InputError

AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON on stdout")]
Debug = Annotated[bool, typer.Option("--debug", help="on an error, show the traceback")]


class Format(StrEnum):
    """What made-up records are written as."""

    CSV = "csv"


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
