"""What a site has on its own machine: keys, ledger, data. Nothing is written, and nothing leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from clients.check import account_of
from clients.data.populations import check_pool
from clients.endpoint import many_authorities
from clients.join import require_usable
from clients.journal.lock import user_of
from clients.policy import SiteFile, data_files, require_complete
from clients.preflight.finding import Finding, looked, odd
from federation.errors import FederationError, SiteRunning
from federation.identity.roles import load_node
from federation.report.numbers import spent


def own_findings(
    rules: SiteFile, path: Path, *, is_node: bool = True, may_run: bool = False, reads_data: bool = True
) -> Iterator[Finding]:
    """Site file, keys, ledger and data of the site file at `path`.

    `is_node`: it needs a node's key, too. `may_run`: it is no error that the site runs at this moment.
    """
    yield looked("site file", lambda: _complete(rules, path))
    yield from authorities(rules, path)
    keys = looked("keys", lambda: _keys(rules, is_node=is_node))
    yield keys
    if keys.level != "error":  # without them nothing can be said of a ledger
        yield looked("ledger", lambda: _ledger(rules, may_run=may_run))
    if reads_data:
        yield looked("data", lambda: _data(rules, path.parent))


def authorities(rules: SiteFile, path: Path) -> Iterator[Finding]:
    """A warning of more authorities than a federation has. A file that cannot be read is told elsewhere."""
    if rules.server is None:
        return
    with suppress(FederationError):
        told = many_authorities(rules.server.certificate, path)
        if told is not None:
            hint = "ask the coordinator for the certificate of its own authority, and pin that alone"
            yield odd("certificate", told, hint)


def _complete(rules: SiteFile, path: Path) -> str:
    consortium = require_complete(rules, path)
    return f"{path}: site {rules.id}, {consortium.quorum} of {len(consortium.keys)} consortium keys must sign"


def _keys(rules: SiteFile, *, is_node: bool) -> str:
    rules.identity()
    if not is_node:
        return f"{rules.key_file}, for its owner alone"
    load_node(rules.node_file)
    return f"{rules.key_file} and {rules.node_file.name}, for their owner alone"


def _ledger(rules: SiteFile, *, may_run: bool) -> str | Finding:
    """Verified as a whole; of this site, pool and key; and nobody else's at this moment."""
    key = rules.identity()
    check_pool(rules, key)
    account = account_of(rules, key)
    process = user_of(rules.journal)
    if process is not None and may_run:
        return odd("ledger", f"{process} uses {rules.journal} now", "if it is not this site's, stop it")
    if process is not None:
        raise SiteRunning(
            f"{process} uses the journal {rules.journal.name} already",
            hint="stop it first: one journal, one site",
        )
    if not rules.journal.exists():
        return f"{rules.journal} is made when the site joins"
    charged = (
        f"epsilon {spent(account.epsilon(unit))} of {term.limit.budget.epsilon:g} charged per {unit}"
        for unit, term in account.terms.items()
    )
    return "; ".join([f"{rules.journal} verifies", *charged])


def _data(rules: SiteFile, folder: Path) -> str:
    require_usable(rules, folder)
    return f"{' and '.join(str(file) for file in data_files(rules, folder) if file is not None)} can be read"
