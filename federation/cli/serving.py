"""`federation serve`: be the coordinator."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from federation.cli.process import advise, command_line


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
    json_log: Annotated[bool, typer.Option("--json-log", help="one JSON object per line")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="on an error, show the traceback")] = False,
) -> None:
    """Be the coordinator: let the sites of the roster connect, run each plan with them, write its run folder."""
    from federation.log import to_stderr
    from server.link.deploy import Call, deploy

    advise(lambda: "resume with: " + command_line(["federation", *sys.argv[1:]]))
    to_stderr(as_json=json_log, debug=debug)
    deploy(
        Call(
            plans=tuple(plan),
            roster=roster,
            state=state,
            address=address,
            identity=identity,
            certificate=tls_certificate,
            key=tls_key,
            sites=sites,
            patience=patience,
        )
    )
