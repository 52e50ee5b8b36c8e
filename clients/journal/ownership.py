"""Ownership of a journal: only the site that began it may write, with its present key.

A journal is opened by the site, pool and key it belongs to, or not at all. A key that was replaced opens nothing
any more. To replace a lost key takes the signatures of two approvers that the first entry names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.ledger import durable
from federation.ledger.store import Store, create, explained
from privacy.canonical import JSON
from privacy.errors import LedgerCorrupt, LedgerRefusal, PolicyViolation
from privacy.ledger import chain as ledger
from privacy.ledger.approvals import Approval, is_approved
from privacy.ledger.chain import Genesis
from privacy.ledger.state import Account
from privacy.signing import public_identity


def open_store(path: Path, genesis: Genesis, key: Ed25519PrivateKey) -> Store:
    """The store of a journal that began for the site and pool of `genesis`; begun now if the file is missing."""
    with explained(path):
        if durable.needs_creation(path):
            _begin(path, genesis, key)
    store = Store.open(path)
    try:
        with store.transaction() as account:
            require_owner(account, genesis)
    except BaseException:
        store.close()
        raise
    return store


def reopen_store(
    path: Path, site: str, pool: str, key: Ed25519PrivateKey, approvals: Sequence[Approval]
) -> Store:
    """The store of a journal that lost its key, with `key` put in its place. LedgerRefusal without approvals."""
    store = Store.open(path)
    try:
        with store.transaction() as account:
            _require_pool(account, site, pool)
            tip, public = account.tip, public_identity(key)
            tip.require_new(public)
            require_approval(is_approved(tip.replacement(public), approvals, tip.genesis.approvers))
            signed: list[JSON] = [approval.to_json() for approval in approvals]
            store.append("rotate", {**ledger.rotation(tip, key), "approvals": signed}, key)
    except BaseException:
        store.close()
        raise
    return store


def require_approval(approved: bool) -> None:
    """LedgerRefusal without two approvers."""
    if not approved:
        raise LedgerRefusal(
            "this takes the signatures of two approvers that the ledger names, and no others",
            hint="federation ledger approve",
        )


def require_owner(account: Account, genesis: Genesis) -> None:
    """LedgerCorrupt or LedgerRefusal unless the account has the site, pool, key and kind of `genesis`."""
    _require_pool(account, genesis.site, genesis.pool)
    account.tip.require_key(genesis.key)
    if account.tip.genesis.simulated != genesis.simulated:
        message = "the journal of a simulation and that of a real site are never the same"
        raise LedgerCorrupt(message, "foreign", hint="use another file")


def _begin(path: Path, genesis: Genesis, key: Ed25519PrivateKey) -> None:
    first = ledger.append(None, "genesis", genesis.to_json(), key)
    try:
        ledger.follow(None, (first,))
    except LedgerCorrupt as error:
        raise PolicyViolation(
            f"no journal can begin like this: {error.message}",
            hint="approvers are public keys of different people, none of them the site's",
        ) from None
    create(path, [first])


def _require_pool(account: Account, site: str, pool: str) -> None:
    if (account.tip.genesis.site, account.tip.genesis.pool) != (site, pool):
        raise LedgerCorrupt("the journal belongs to another site or pool", "foreign", hint="check site.toml")
