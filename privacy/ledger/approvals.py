"""Approvals: two people must sign for a larger budget, for a new key in place of a lost one, and for the word
that a restored ledger lacks nothing.

A proposal names what it changes and the state it changes it in: the ledger (by the hash of its genesis) and what is
in force now (by the hash of the budget's entry, or by the key). So an approval fits one ledger, once: it can be
applied neither to another ledger nor a second time. Approvers sign the canonical text with their own Ed25519 keys,
which the genesis of the ledger names for good.

The file form is JSON for people to read: the proposal, then the approvals so far.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.accounting.filters import Budget
from privacy.accounting.units import UNITS, Limit, Patient
from privacy.canonical import JSON, Fields, canonical
from privacy.errors import MalformedMessage, PrivacyError
from privacy.signing import IDENTITY_BYTES, SIGNATURE_BYTES, is_identity, is_signed, public_identity, sign

_APPROVALS = 2  # of different people
_HASH_BYTES = 32


@dataclass(frozen=True)
class Proposal:
    """Puts `limit` in place of its unit's limit in force, which the entry with hash `after` set."""

    site: str
    ledger: bytes
    limit: Limit
    reason: str
    after: bytes

    label = "privacy/ledger/raise/1"

    def to_json(self) -> dict[str, JSON]:
        """Plain data; an infinite epsilon is written as null."""
        return {
            "type": "raise",
            "site": self.site,
            "ledger": self.ledger.hex(),
            **limit_to_json(self.limit),
            "reason": self.reason,
            "after": self.after.hex(),
        }


@dataclass(frozen=True)
class Replacement:
    """The key `new` in place of `old`, which is lost: from then on entries are signed by it."""

    site: str
    ledger: bytes
    old: bytes
    new: bytes

    label = "privacy/ledger/replace/1"

    def to_json(self) -> dict[str, JSON]:
        """Plain data."""
        keys = {"old": self.old.hex(), "new": self.new.hex()}
        return {"type": "replace", "site": self.site, "ledger": self.ledger.hex(), **keys}


@dataclass(frozen=True)
class Restoration:
    """Nothing is missing after the entry with hash `after`: a restored ledger goes on there, and charges no more.

    `made` is the day of the proposal, such as "2026-03-01": so that nobody uses it again after the next loss.
    """

    site: str
    ledger: bytes
    after: bytes
    made: str

    label = "privacy/ledger/restore/1"

    def to_json(self) -> dict[str, JSON]:
        """Plain data."""
        end = {"after": self.after.hex(), "made": self.made}
        return {"type": "restore", "site": self.site, "ledger": self.ledger.hex(), **end}


_Statement: TypeAlias = Proposal | Replacement | Restoration


@dataclass(frozen=True)
class Approval:
    """One approver's signature."""

    key: bytes
    signature: bytes

    def to_json(self) -> dict[str, JSON]:
        """Plain data."""
        return {"key": self.key.hex(), "signature": self.signature.hex()}


def approve(statement: _Statement, key: Ed25519PrivateKey) -> Approval:
    """Sign a proposal."""
    text = canonical(statement.to_json()).encode()
    return Approval(public_identity(key), sign(key, statement.label, text))


def is_approved(statement: _Statement, approvals: Sequence[Approval], approvers: Collection[bytes]) -> bool:
    """Whether at least two different approvers signed, and no one but approvers did."""
    text = canonical(statement.to_json()).encode()
    keys = {approval.key for approval in approvals}
    return (
        len(keys) == len(approvals) >= _APPROVALS
        and keys <= set(approvers)
        and all(is_signed(one.key, one.signature, statement.label, text) for one in approvals)
    )


def to_text(statement: _Statement, approvals: Sequence[Approval] = ()) -> str:
    """The file that goes from one approver to the next."""
    content = {"proposal": statement.to_json(), "approvals": [one.to_json() for one in approvals]}
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def from_text(text: str) -> tuple[Proposal | Replacement | Restoration, tuple[Approval, ...]]:
    """What `to_text` wrote, signatures unchecked. MalformedMessage for anything else."""
    try:
        fields = Fields(json.loads(text))
        statement = _statement(Fields(fields.table("proposal")))
        approvals = approvals_from_json(fields.rows("approvals"))
        fields.finish()
        canonical(statement.to_json())
    except (ValueError, RecursionError, PrivacyError):
        raise MalformedMessage("this is no proposal", hint="make one: federation ledger propose") from None
    return statement, approvals


def approvals_from_json(rows: Sequence[object]) -> tuple[Approval, ...]:
    """ValueError unless these are approvals of canonical keys."""
    return tuple(_approval(Fields(row)) for row in rows)


def limit_to_json(limit: Limit) -> dict[str, JSON]:
    """The fields of a limit, among others of a budget's entry or a proposal."""
    epsilon = limit.budget.epsilon
    return {
        "unit": limit.unit,
        "epsilon": None if math.isinf(epsilon) else epsilon,
        "delta": limit.budget.delta,
        "records": limit.patient.records,
        "sites": limit.patient.sites,
    }


def limit_from_fields(fields: Fields) -> Limit:
    """The limit of a budget's entry or a proposal. ValueError, or UnsafeParameters out of range."""
    unit = fields.text("unit")
    epsilon = fields.take("epsilon")
    if unit not in UNITS or isinstance(epsilon, bool) or not isinstance(epsilon, int | float | None):
        raise ValueError("has no unit and epsilon of ours")
    budget = Budget(math.inf if epsilon is None else float(epsilon), fields.number("delta"))
    return Limit(unit, budget, Patient(fields.whole("records", 1), fields.whole("sites", 1)))


def _statement(fields: Fields) -> _Statement:
    kind, site, ledger = fields.text("type"), fields.text("site"), fields.octets("ledger", _HASH_BYTES)
    statement: _Statement
    if kind == "raise":
        limit, reason = limit_from_fields(fields), fields.text("reason")
        statement = Proposal(site, ledger, limit, reason, fields.octets("after", _HASH_BYTES))
    elif kind == "replace":
        old, new = fields.octets("old", IDENTITY_BYTES), fields.octets("new", IDENTITY_BYTES)
        statement = Replacement(site, ledger, old, new)
    elif kind == "restore":
        statement = Restoration(site, ledger, fields.octets("after", _HASH_BYTES), fields.text("made"))
    else:
        raise ValueError("is of no type of ours")
    fields.finish()
    return statement


def _approval(fields: Fields) -> Approval:
    key, signature = fields.octets("key", IDENTITY_BYTES), fields.octets("signature", SIGNATURE_BYTES)
    fields.finish()
    if not is_identity(key):
        raise ValueError("is approved with a key that is none")
    return Approval(key, signature)
