"""The Flower ServerApp: decides nothing.

`flwr run . --run-config 'plan="/path/plan.toml" roster="/path/roster.toml" state="/path/run" sites=3'` starts it
beside the SuperLink. The key that it signs with is `coordinator.key` beside the roster, or `identity="/path"`. It
waits until enough sites are connected and hands the wire to the coordinator (`server.serve`), which knows no
Flower. Its log is one line per event (`federation.log`), which Flower shows with `flwr run --stream` and `flwr
log`: as JSON with `json_log=true` in the run config, and with other libraries' lines and Flower's tracebacks with
`debug=true`. Otherwise a failure is one line.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from flwr.app import Context, UserConfig
from flwr.serverapp import Grid, ServerApp

from federation.errors import FederationError, InputError, RosterError
from federation.log import note, said, to_stderr, warn
from federation.origins import check_origins
from federation.round.flower import GridTransport
from federation.round.transport import Transport
from privacy.errors import Hinted

PATIENCE: Final = 300.0
"""Seconds for all sites to connect."""
_PAUSE: Final = 0.5

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Wait for the sites, then run the plan with them."""
    as_json, debug = (bool(context.run_config.get(name)) for name in ("json_log", "debug"))
    to_stderr(as_json=as_json, debug=debug)
    with _told_once(debug):
        check_origins()
        plan, roster, state, sites = _arguments(context.run_config)
        identity = Path(str(context.run_config.get("identity", "")))
        from server.serve import serve  # takes seconds (torch): a mistake in the call is reported before

        transport = GridTransport(grid)
        note("waiting", needed=sites)
        await_sites(transport, sites, PATIENCE)
        serve(plan, roster, state, transport, identity)


@contextmanager
def _told_once(debug: bool) -> Iterator[None]:
    """Tell a failure in one line: Flower would print a traceback, and send the text of any exception on.

    Of an error that is not ours only the kind is passed on.
    """
    try:
        yield
    except Exception as error:
        told, ours = said(error), isinstance(error, Hinted)
        warn("failed", detail=told)
        if debug:
            raise
        logging.getLogger("flwr").setLevel(logging.CRITICAL)
        if ours:
            raise
    else:
        return
    raise FederationError(told, hint="run again with debug=true in --run-config and report it")


def await_sites(transport: Transport, sites: int, patience: float) -> None:
    """Return when `sites` addresses can be reached; `RosterError` after `patience` seconds."""
    deadline = time.monotonic() + patience
    while (connected := len(transport.addresses())) < sites:
        if time.monotonic() >= deadline:
            message = f"{connected} of {sites} sites are connected"
            raise RosterError(message, hint="start flower-supernode at the others")
        time.sleep(_PAUSE)


def _arguments(config: UserConfig) -> tuple[Path, Path, Path, int]:
    """Plan, roster, state folder and number of sites. InputError if one is missing."""
    sites = config.get("sites")
    paths = [config.get(name) for name in ("plan", "roster", "state")]
    plan, roster, state = (Path(path) if isinstance(path, str) and path else None for path in paths)
    if plan is None or roster is None or state is None:
        raise InputError("plan, roster or state folder is missing", hint="name all three in --run-config")
    if not isinstance(sites, int) or isinstance(sites, bool) or sites < 1:
        raise InputError("how many sites to wait for is missing", hint="write sites=3 in --run-config")
    return plan, roster, state, sites
