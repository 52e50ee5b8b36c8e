"""Keys, limits and hand-made ledgers for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.accounting.events import GaussianEvent
from privacy.accounting.filters import UNSAMPLED, Budget, Filter
from privacy.accounting.units import Charge, Limit
from privacy.ledger.chain import Entry, Genesis, append
from privacy.ledger.heads import Head, head_body, pool_tag
from privacy.ledger.state import Account
from privacy.signing import public_identity

KEY, NEXT, ANNA, BERT, CARL, PEER = (
    Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(1, 7)
)
APPROVERS = tuple(public_identity(key) for key in (ANNA, BERT, CARL))
PLAN = Charge(GaussianEvent(20.0, 1.0, 100), "record", summed=False)  # epsilon 1.993 at delta 1e-5
LIMIT = Limit("record", Budget(3.0, 1e-5), foreseen=UNSAMPLED)
FILTER = Filter.frozen(LIMIT.budget, PLAN.event, UNSAMPLED)
GENESIS = Genesis("north", "cardiology", pool_tag(KEY, "cardiology"), public_identity(KEY), APPROVERS, False)


def genesis(signer: Ed25519PrivateKey = KEY, **changes: Any) -> Entry:
    """The first entry of a ledger."""
    return append(None, "genesis", {**GENESIS.to_json(), **changes}, signer)


class Book:
    """A ledger in memory, written entry by entry; what does not fit is refused."""

    def __init__(self, first: Entry | None = None) -> None:
        self.entries = [genesis() if first is None else first]
        self.account = Account(self.entries[0])

    def add(self, kind: str, signer: Ed25519PrivateKey = KEY, **body: Any) -> Entry:
        """Append, without asking anyone but the fold."""
        entry = append(self.entries[-1], kind, body, signer)
        self.account.extend((entry,))
        self.entries.append(entry)
        return entry

    def budget(self, limit: Limit = LIMIT, filter_: Filter = FILTER, **changes: Any) -> Entry:
        """A unit's first limit."""
        return self.add("budget", **{**budget_body(limit, filter_), **changes})

    def reserve(self, run: str = "run", by: Mapping[str, str] | None = None, **changes: Any) -> Entry:
        """A reservation of `PLAN` at 100 rounds."""
        how = {"record": "filter"} if by is None else by
        body = {"run": run, "plan": "plan", "charge": PLAN.to_json(), "rounds": 100, "by": how}
        return self.add("reserve", **{**body, **changes})

    def begin(self, number: int, run: str = "run") -> Entry:
        """A round begins."""
        return self.add("begin", run=run, round=number, question="q")

    def release(self, number: int, run: str = "run", commitment: str = "ab" * 32) -> Entry:
        """A round's bytes are fixed."""
        return self.add("release", run=run, round=number, commitment=commitment)


def reserved(run: str = "run") -> Book:
    """A ledger with one limit and one reservation."""
    book = Book()
    book.budget()
    book.reserve(run)
    return book


def budget_body(limit: Limit, filter_: Filter = FILTER) -> dict[str, Any]:
    """The body of a unit's first budget entry, as a literal reading of the format."""
    epsilon = limit.budget.epsilon
    return {
        "unit": limit.unit,
        "epsilon": None if epsilon == float("inf") else epsilon,
        "delta": limit.budget.delta,
        "filter": filter_.to_json(),
        "records": limit.patient.records,
        "sites": limit.patient.sites,
        "reason": "",
        "approvals": [],
    }


def head(seq: int, site: str = "south", hash_: bytes = bytes(32), key: Ed25519PrivateKey = PEER) -> Head:
    """A head that a peer shows."""
    entry = Entry(seq, "begin", {}, bytes(32), hash_, bytes(64))
    return Head.signed(site, pool_tag(key, "pool"), entry, key)


def heads_body(*heads: Head) -> dict[str, Any]:
    """The body of a witness entry."""
    return {"heads": {head.site: head_body(head) for head in heads}}
