"""`federation serve`: be the coordinator. `federation status`: what its runs have come to."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from federation.cli.process import advise, command_line
from federation.cli.progress import Shown, show_progress
from federation.cli.screen import show
from federation.cli.streams import print_json
from federation.log import LOGGER


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
    status_page: Annotated[
        str | None,
        typer.Option("--status", metavar="HOST:PORT", help="show a live page at this address of the machine"),
    ] = None,
    json_log: Annotated[bool, typer.Option("--json-log", help="one JSON object per line")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="on an error, show the traceback")] = False,
) -> None:
    """Be the coordinator: let the sites of the roster connect, run each plan with them, write its run folder."""
    from federation.log import to_stderr
    from server.link.deploy import Call, deploy

    advise(lambda: "resume with: " + command_line(["federation", *sys.argv[1:]]))
    to_stderr(as_json=json_log, debug=debug)
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
    )
    if sys.stderr.isatty() and not json_log:
        with show_progress() as shown, _bars(shown):
            deploy(call)
    else:
        deploy(call)


def status(
    state: Annotated[
        Path, typer.Argument(metavar="DIR", help="the state folder of federation serve; or a run folder")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON on stdout")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="on an error, show the traceback")] = False,
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
    yield f"coordinator  {now['phase']}{at}" + (f" ({now['error']})" if now["error"] else "")
    for run in now["runs"]:
        done = "finished" if run["finished"] else "a sum was refused" if run["refused"] else "not finished"
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


@contextmanager
def _bars(shown: Shown) -> Iterator[None]:
    """Show rounds as a bar in place of two lines each; all else is still told, above it."""
    bars = _Bars(shown)
    listeners = list(LOGGER.handlers)
    for listener in listeners:
        listener.addFilter(_no_rounds)
    LOGGER.addHandler(bars)
    try:
        yield
    finally:
        LOGGER.removeHandler(bars)
        for listener in listeners:
            listener.removeFilter(_no_rounds)


def _no_rounds(record: logging.LogRecord) -> bool:
    return getattr(record, "event", "") not in ("round_begins", "round_ends")


class _Bars(logging.Handler):
    """Listens to the log, and shows how far a run is."""

    def __init__(self, shown: Shown) -> None:
        super().__init__(logging.INFO)
        self._shown, self._name = shown, "rounds"

    def emit(self, record: logging.LogRecord) -> None:
        event, facts = getattr(record, "event", ""), getattr(record, "facts", {})
        if event == "waiting":
            self._name = str(facts.get("plan", self._name))
            self._shown.stage("waiting for sites")
        elif event in ("run_begins", "run_resumed"):
            self._shown.rounds(self._name, facts["rounds_done"], facts["rounds"], {})
        elif event == "round_ends":
            self._shown.rounds(self._name, facts["round"], facts["rounds"], {"epsilon": facts.get("epsilon")})
