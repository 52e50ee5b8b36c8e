"""What cannot be taken back: `federation leave`, a site leaves a run; `federation forget`, what a run kept goes."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.cli.streams import print_json
from federation.errors import InputError
from federation.log import printable

if TYPE_CHECKING:
    from federation.report.deleting import Found, Part

Yes = Annotated[bool, typer.Option("--yes", help="do it without asking")]
AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON on stdout")]
Debug = Annotated[bool, typer.Option("--debug", help="on an error, show the traceback")]


def leave(
    site: Annotated[Path, typer.Argument(metavar="SITE", help="site.toml; its process may be running")],
    run: Annotated[str, typer.Argument(metavar="RUN", help="its id, or the first 8 letters of it")],
    yes: Yes = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Leave a run, at once and for good. Says what stays charged, what is given back, and what others see."""
    from clients.leaving import about
    from clients.leaving import leave as go

    found = about(site, run)
    if not as_json:
        typer.echo("\n".join(_story(found.rounds, found.begun, found.returned, found.to_json()["units"])))
    if not yes:
        _ask("leaving", f"leave run {found.run}?", as_json)
    go(site, found)
    if as_json:
        print_json({**found.to_json(), "left": True})
    else:
        typer.echo(f"{found.site} has left run {found.run}")


def forget(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder, of a real run or a simulation")],
    model: Annotated[
        bool, typer.Option("--model", help="also the params, the report, and the figures of a simulation")
    ] = False,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="also where the run is not over; it ends for good")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Delete what a run kept of data: its transcripts and all that it would be resumed from. It is put on record.

    Nothing proves the sums of the run any more: `federation audit` it before. Ledgers of real sites stay.
    """
    from federation.files import alone_in
    from federation.report.deleting import LINK, examine
    from federation.report.deleting import forget as go

    examine(run, with_model=model)  # before its folder is locked: it may be none
    link = run / LINK
    with alone_in(run), alone_in(link) if link.is_dir() else nullcontext():
        found = examine(run, with_model=model)
        if not (found.is_over or unfinished):
            raise InputError(
                "the run is not over, and would be for good",
                hint="let it end, or give --unfinished; its sites then give: federation ledger close SITE RUN",
                path=run,
            )
        if found.files:
            if not as_json:
                typer.echo("\n".join(_lines(found)))
            if not yes:
                _ask("deleting", f"delete {_counted(len(found.files))} for good?", as_json)
            go(found)
    if as_json:
        print_json({"run": str(run), "deleted": _named(found), "left": list(found.strange)})
    else:
        typer.echo(f"{run}: {_counted(len(found.files))} deleted")


def _ask(what: str, question: str, as_json: bool) -> None:
    """InputError unless a person says yes."""
    if as_json or not sys.stdin.isatty():
        raise InputError(f"{what} cannot be taken back", hint="give --yes to do it without being asked")
    if not typer.confirm(question, err=True):
        raise InputError("nothing was changed", hint="answer y to go on")


_SAYS: dict[Part, str] = {
    "proofs": "transcripts, checkpoint, messages under way",
    "model": "params and report",
    "figures": "receipts and journals of a simulation, whose figures are exact",
}


def _lines(found: Found) -> list[str]:
    return [
        *(
            f"deletes  {_counted(len(files))}, {found.bytes_of(part):,} bytes: {_SAYS[part]}"
            for part, files in found.parts.items()
        ),
        f"keeps    {', '.join(found.stays)}",
        *(f"leaves   {printable(name)}: none of this program's" for name in found.strange),
        "no audit can prove the sums of this run after that",
    ]


def _counted(files: int) -> str:
    return "1 file" if files == 1 else f"{files} files"


def _named(found: Found) -> list[str]:
    return [path.relative_to(found.folder).as_posix() for path in found.files]


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
