"""The Flower ServerApp: decides nothing.

`flwr run . --run-config 'plan="/path/plan.toml" roster="/path/roster.toml" state="/path/run" sites=3'` starts it
beside the SuperLink. It waits until enough sites are connected and hands the wire to the coordinator
(`server.serve`), which knows no Flower.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Final

from flwr.app import Context, UserConfig
from flwr.serverapp import Grid, ServerApp

from federation.errors import InputError, RosterError
from federation.origins import check_origins
from federation.round.flower import GridTransport
from federation.round.transport import Transport

PATIENCE: Final = 300.0
"""Seconds for all sites to connect."""
_PAUSE: Final = 0.5

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Wait for the sites, then run the plan with them."""
    check_origins()
    plan, roster, state, sites = _arguments(context.run_config)
    from server.serve import serve  # takes seconds (torch): a mistake in the call is reported before

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    transport = GridTransport(grid)
    await_sites(transport, sites, PATIENCE)
    serve(plan, roster, state, transport)


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
