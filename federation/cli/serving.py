"""`federation serve`: be the coordinator. `status`: what its runs came to. `forget`: what they kept is deleted."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.options import AsJson, Debug, Mlflow, TensorBoard
from federation.cli.process import advise, command_line, end_by
from federation.cli.progress import Shown, show_progress
from federation.cli.screen import show
from federation.cli.streams import print_json
from federation.cli.telling.track import print_tracked, registries_of
from federation.errors import InputError
from federation.log import LOGGER, Line, heard_by, printable
from federation.words import many

if TYPE_CHECKING:
    from federation.report.deleting import Found, Part
    from server.rehearsal import Rehearsal


def serve(
    plan: Annotated[
        list[Path], typer.Argument(metavar="PLAN ...", help="plan.toml; several run in this order")
    ],
    roster: Annotated[Path, typer.Option(help="the signed roster: who may connect, and take part")],
    state: Annotated[
        Path, typer.Option(metavar="DIR", help="the run folder; of several plans, the folder of theirs")
    ],
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="what sites dial; the host is in the certificate")
    ] = "localhost:8443",
    identity: Annotated[
        Path,
        typer.Option(metavar="DIR", help="the coordinator's key; else coordinator.key beside the roster"),
    ] = Path(),
    tls_certificate: Annotated[
        Path | None, typer.Option(metavar="CRT", help="a certificate for HOST; else one is made")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="KEY", help="the key of that certificate")] = None,
    sites: Annotated[
        int | None, typer.Option(metavar="N", help="begin when so many are connected; all of them by default")
    ] = None,
    patience: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.0, help="then begin with fewer, if the plan allows it")
    ] = 300.0,
    rehearse: Annotated[
        bool,
        typer.Option("--rehearse", help="no run: two rounds on made-up records, which cost no budget"),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="with --rehearse: print what came of it")] = False,
    status_page: Annotated[
        str | None,
        typer.Option("--status", metavar="HOST:PORT", help="show a live page at this address of the machine"),
    ] = None,
    mlflow: Mlflow = None,
    tensorboard: TensorBoard = None,
    json_log: Annotated[bool, typer.Option("--json-log", help="one JSON object per line")] = False,
    debug: Debug = False,
) -> None:
    """Be the coordinator: let the sites of the roster connect, run each plan with them, write its run folder.

    With --rehearse each plan is tried with the same sites, keys and network on made-up records: nothing is charged
    and no params are written. Exit code 4 unless every site of the roster took part.
    """
    from federation.log import tell_end, to_stderr
    from server.link.deploy import Call, deploy, parts_of

    registries = registries_of(mlflow, tensorboard)
    if registries and rehearse:
        raise InputError("a rehearsal leaves no run to track", hint="leave --mlflow and --tensorboard out")
    if as_json and not rehearse:
        raise InputError("--json prints what came of a rehearsal", hint="add --rehearse, or leave it out")
    advise(lambda: "resume with: " + command_line(["federation", *sys.argv[1:]]))
    to_stderr(as_json=json_log, debug=debug)
    end_by(tell_end)
    call = Call(
        plans=tuple(plan),
        roster=roster,
        state=state,
        address=address,
        identity=identity,
        certificate=tls_certificate,
        key=tls_key,
        sites=sites,
        patience=patience,
        status=status_page,
        rehearse=rehearse,
    )
    rehearsed: list[Rehearsal] = []
    if sys.stderr.isatty() and not json_log:
        with show_progress() as shown, _bars(shown):
            deploy(call, rehearsed.append)
    else:
        deploy(call, rehearsed.append)
    _tell(rehearsed, as_json=as_json)
    if registries:
        for part in parts_of(call):
            print_tracked(registries.track(part.folder))


def _tell(rehearsed: list[Rehearsal], *, as_json: bool) -> None:
    """What came of rehearsals. RosterError unless all sites took part in each."""
    from federation.cli.tables import print_rehearsal

    if as_json:
        print_json({"rehearsals": [found.to_json() for found in rehearsed]})
    for found in rehearsed:
        if not as_json:
            print_rehearsal(found.to_json())
    for found in rehearsed:
        found.require_complete()


def status(
    state: Annotated[
        Path, typer.Argument(metavar="DIR", help="the state folder of federation serve; or a run folder")
    ],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """What runs have come to, from their files: rounds, who answered, who is missing. Also while they go on."""
    from server.showing.snapshot import Glance

    now = Glance(state)()
    if as_json:
        print_json(now)
    else:
        show(*_lines(now))


def _lines(now: Mapping[str, Any]) -> Iterator[str]:
    """A snapshot, for people."""
    at = f" at {now['address']}" if now["running"] and now["address"] else ""
    if now["phase"] != "none":
        yield f"coordinator  {now['phase']}{at}" + (f" ({now['error']})" if now["error"] else "")
    for run in now["runs"]:
        done = _state(run) + (f" ({run['phase']})" if _is_news(now, run) else "")
        yield f"run          {run['name']}: {run['rounds_done']} of {run['rounds']} rounds, {done}; {run['folder']}"
        if run["history"]:
            last = run["history"][-1]
            missing = ", ".join(f"{site} ({why})" for site, why in last["missing"].items())
            told = f"round {last['round']}: {len(last['answered'])} answered in {last['seconds']:.1f} s"
            yield f"             {told}" + (f", missing {missing}" if missing else "")
        yield from (f"             {fault}" for fault in run["faults"])
    for site in now["sites"]:
        here = {True: "connected", False: "away", None: ""}[site["connected"]]
        why = f", {site['reason']}" if site["reason"] else ""
        yield f"site         {site['id']}  in {site['answered']} of {site['asked']} sums  {here}{why}".rstrip()
    if now["updated"]:
        yield f"last event   {now['updated']}"


def _state(run: Mapping[str, Any]) -> str:
    if run["finished"] or run["refused"]:
        return "finished" if run["finished"] else "a sum was refused"
    return "not finished" if run["begun"] else "never begun"


def _is_news(now: Mapping[str, Any], run: Mapping[str, Any]) -> bool:
    """Whether a run has a coordinator of its own, of which nothing else is told."""
    return now["phase"] == "none" and bool(run["phase"]) and not run["finished"]


def forget(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder, of a real run or a simulation")],
    model: Annotated[
        bool, typer.Option("--model", help="also the params, the report, and the figures of a simulation")
    ] = False,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="also where the run is not over; it ends for good")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do it without asking")] = False,
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
                typer.echo("\n".join(_parts_of(found)))
            if not yes:
                _ask(f"delete {many(len(found.files), 'file')} for good?", as_json)
            go(found)
    if as_json:
        print_json({"run": str(run), "deleted": _named(found), "left": list(found.strange)})
    else:
        typer.echo(f"{run}: {many(len(found.files), 'file')} deleted")


def _ask(question: str, as_json: bool) -> None:
    """InputError unless a person says yes."""
    if as_json or not sys.stdin.isatty():
        raise InputError("deleting cannot be taken back", hint="give --yes to do it without being asked")
    if not typer.confirm(question, err=True):
        raise InputError("nothing was changed", hint="answer y to go on")


_ELSEWHERE = (
    "copies elsewhere stay, and nobody noted where they are: what federation track, --mlflow and --tensorboard "
    "wrote, exported models, bundles, run folders that were handed on"
)
_SAYS: dict[Part, str] = {
    "proofs": "transcripts, checkpoint, what the SuperLink said",
    "model": "params and report",
    "figures": "receipts and journals of a simulation, whose figures are exact",
}


def _parts_of(found: Found) -> list[str]:
    return [
        *(
            f"deletes  {many(len(files), 'file')}, {found.bytes_of(part):,} bytes: {_SAYS[part]}"
            for part, files in found.parts.items()
        ),
        f"keeps    {', '.join(found.stays)}",
        *(f"leaves   {printable(name)}: none of this program's" for name in found.strange),
        "no audit can prove the sums of this run after that",
        *([_ELSEWHERE] if "model" in found.parts else []),
    ]


def _named(found: Found) -> list[str]:
    return [path.relative_to(found.folder).as_posix() for path in found.files]


@contextmanager
def _bars(shown: Shown) -> Iterator[None]:
    """Show rounds as a bar in place of two lines each; all else is still told, above it."""
    listeners = list(LOGGER.handlers)
    for listener in listeners:
        listener.addFilter(_no_rounds)
    try:
        with heard_by(_Bars(shown).hear):
            yield
    finally:
        for listener in listeners:
            listener.removeFilter(_no_rounds)


def _no_rounds(record: logging.LogRecord) -> bool:
    return getattr(record, "event", "") not in ("round_begins", "round_ends")


class _Bars:
    """Shows how far a run is, by what the log tells."""

    def __init__(self, shown: Shown) -> None:
        self._shown, self._name = shown, "rounds"

    def hear(self, line: Line) -> None:
        facts: Mapping[str, Any] = line.facts
        if line.event == "waiting":
            self._name = str(facts.get("name", self._name))
            self._shown.stage("waiting for sites")
        elif line.event in ("run_begins", "run_resumed"):
            self._shown.rounds(self._name, facts["rounds_done"], facts["rounds"], {})
        elif line.event == "round_ends":
            self._shown.rounds(self._name, facts["round"], facts["rounds"], {"epsilon": facts.get("epsilon")})
