"""What may be wrong with an installation, and with a site: each thing in one line, with its cure."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import clients
from clients.node.proxy import proxies_set, proxy_for
from clients.policy import load_site
from clients.preflight.finding import Finding, fine, looked, odd, wrong
from clients.preflight.modes import modes
from clients.preflight.program import installation
from federation.errors import FederationError, InputError
from privacy.errors import PrivacyError

_LEAST, _LITTLE = 50 * 10**6, 10**9  # bytes of a disk
_ELSEWHERE: Final = "fed.example.org:8443"  # an address for which a proxy is looked up where there is no site


def examine(site: Path | None) -> Iterator[Finding]:
    """Everything that can be looked at here. With a site file, also what belongs to it and the way it names."""
    yield from installation()
    folder = Path.cwd() if site is None else site.absolute().parent
    yield disk(folder)
    yield clock()
    if site is None:
        yield proxies()
        return
    try:
        rules = load_site(site)
    except (FederationError, PrivacyError) as error:
        yield wrong("site file", error)
        return
    # of a site, which reads data and speaks to a coordinator: what that takes is not loaded to look at a machine
    from clients.preflight.network import network
    from clients.preflight.own import own_findings

    is_node = rules.server is not None and rules.server.flower_user is None
    yield from own_findings(rules, site, is_node=is_node, may_run=True)
    yield from modes(rules, site)
    if rules.server is None:
        yield odd(
            "server",
            f"{site} names none",
            "give join a --socket, or add [server] with address and certificate",
        )
    else:
        yield from network(rules, site)


def disk(folder: Path) -> Finding:
    """Room for ledgers and runs, where they are written."""
    if not os.access(folder, os.W_OK):
        return wrong(
            "disk", InputError(f"{folder} cannot be written", hint="use a folder of this user's own")
        )
    free = shutil.disk_usage(folder).free
    told = f"{free / 1e9:.1f} GB are free in {folder}"
    if free < _LEAST:
        return wrong("disk", InputError(told, hint="make room: a ledger that cannot grow ends every round"))
    return odd("disk", told, "make room before a long run") if free < _LITTLE else fine("disk", told)


def clock(now: float | None = None) -> Finding:
    """Whether it can be right at all: the coordinator's is a better measure, where there is a site to ask for."""
    now = time.time() if now is None else now
    said = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M} UTC"
    if now < Path(clients.__file__).stat().st_mtime:
        error = InputError(f"it says {said}, which is before this was installed", hint="set it by NTP")
        return wrong("clock", error)
    return fine("clock", f"it says {said}")


def proxies() -> Finding:
    """The proxy that a connection would take, by the environment."""

    def look() -> str:
        proxy = proxy_for(_ELSEWHERE)
        return "none is named by HTTPS_PROXY" if proxy is None else f"{proxy.url}, by {proxies_set()}"

    return looked("proxy", look)
