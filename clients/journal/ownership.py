"""Who may write a journal: the site that began it, with the key whose turn it is.

A journal is opened by the site, pool and key it belongs to, or not at all. A key that was replaced opens nothing
any more. A lost key is replaced by another with the signatures of two approvers, whom the first entry names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.journal.store import Store
from federation.ledger import sqlite as chain
from privacy.canonical import JSON
from privacy.errors import LedgerCorrupt, LedgerRefusal, PolicyViolation
from privacy.ledger import chain as ledger
from privacy.ledger.approvals import Approval, is_approved
from privacy.ledger.chain import Genesis
from privacy.ledger.state import Account
from privacy.signing import public_identity


def open_store(path: Path, genesis: Genesis, key: Ed25519PrivateKey) -> Store:
    """The store of a journal that began for the site and pool of `genesis`; begun now if there is none."""
    with chain.explained(path):
        if chain.needs_creation(path):
            _begin(path, genesis, key)
    store = Store.open(path)
    try:
        with store.transaction() as account:
            _require_owner(account, genesis.site, genesis.pool)
            require_key(account, genesis.key)
            if account.tip.genesis.simulated != genesis.simulated:
                raise LedgerCorrupt(
                    "the journal of a simulation and that of a real site are never the same",
                    "foreign",
                    hint="use another file",
                )
    except BaseException:
        store.close()
        raise
    return store


def reopen_store(
    path: Path, site: str, pool: str, key: Ed25519PrivateKey, approvals: Sequence[Approval]
) -> Store:
    """The store of a journal whose key is lost, with `key` put in its place. LedgerRefusal without approvals."""
    store = Store.open(path)
    try:
        with store.transaction() as account:
            _require_owner(account, site, pool)
            tip, public = account.tip, public_identity(key)
            require_new(account, public)
            require_approval(is_approved(tip.replacement(public), approvals, tip.genesis.approvers))
            signed: list[JSON] = [approval.to_json() for approval in approvals]
            store.append("rotate", {**ledger.rotation(tip, key), "approvals": signed}, key)
    except BaseException:
        store.close()
        raise
    return store


def require_key(account: Account, public: bytes) -> None:
    """LedgerRefusal for a key that was replaced, LedgerCorrupt for one that never signed this ledger."""
    if public in account.tip.keys[:-1]:
        raise LedgerRefusal("this key was replaced and signs no more", hint="use the site's present key")
    if public != account.tip.key:
        raise LedgerCorrupt(
            "the journal is signed by another key than the site's",
            "foreign",
            hint="check the site's key; a lost one is replaced by two approvals",
        )


def require_new(account: Account, public: bytes) -> None:
    """LedgerRefusal for a key that cannot be the site's next one."""
    if public in (*account.tip.keys, *account.tip.genesis.approvers):
        raise LedgerRefusal("that key signed here before, or is an approver's", hint="make a new one")


def require_approval(approved: bool) -> None:
    """LedgerRefusal without two approvers."""
    if not approved:
        raise LedgerRefusal(
            "this takes the signatures of two approvers whom the ledger names, and of nobody else",
            hint="federation ledger approve",
        )


def _begin(path: Path, genesis: Genesis, key: Ed25519PrivateKey) -> None:
    first = ledger.append(None, "genesis", genesis.to_json(), key)
    try:
        ledger.verify((first,))
    except LedgerCorrupt as error:
        raise PolicyViolation(
            f"no journal can begin like this: {error.message}",
            hint="approvers are public keys of different people, none of them the site's",
        ) from None
    chain.create(path, first)


def _require_owner(account: Account, site: str, pool: str) -> None:
    if (account.tip.genesis.site, account.tip.genesis.pool) != (site, pool):
        raise LedgerCorrupt("the journal belongs to another site or pool", "foreign", hint="check site.toml")
