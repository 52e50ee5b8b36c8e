"""`federation leave`: a site leaves a run on purpose."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from federation.cli.streams import print_json
from federation.errors import InputError


def leave(
    site: Annotated[Path, typer.Argument(metavar="SITE", help="site.toml; its process may be running")],
    run: Annotated[str, typer.Argument(metavar="RUN", help="its id, or the first 8 letters of it")],
    yes: Annotated[bool, typer.Option("--yes", help="do it without asking")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON on stdout")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="on an error, show the traceback")] = False,
) -> None:
    """Leave a run, at once and for good. Says what stays charged, what is given back, and what others see."""
    from clients.leaving import about
    from clients.leaving import leave as go

    found = about(site, run)
    if not as_json:
        typer.echo("\n".join(_story(found.rounds, found.begun, found.returned, found.to_json()["units"])))
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise InputError("leaving cannot be taken back", hint="give --yes to do it without being asked")
        if not typer.confirm(f"leave run {found.run}?", err=True):
            raise InputError("nothing was changed", hint="answer y to leave")
    go(site, found)
    if as_json:
        print_json({**found.to_json(), "left": True})
    else:
        typer.echo(f"{found.site} has left run {found.run}")


def _story(rounds: int, begun: int, returned: int, units: dict[str, dict[str, float | None]]) -> list[str]:
    from federation.report.numbers import spent

    rest = (
        f"the {returned} that never began are given back"
        if returned
        else "nothing is given back"
        + (": the limit admitted the plan as a whole only" if begun < rounds else "")
    )
    return [
        f"{begun} of {rounds} rounds were begun and stay charged; {rest}",
        *(
            f"epsilon charged per {unit}: {spent(told['epsilon_before'])} now, {spent(told['epsilon_after'])} after"
            for unit, told in units.items()
        ),
        "the coordinator sees that this site left, and no reason; sums that are opened keep what it gave to them",
        "a round that is under way goes on without it, and may fail if the plan allows for no dropout",
        "this site cannot join this run again; other runs of its plan it can, as often as policy.plans says",
    ]
