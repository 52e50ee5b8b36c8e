"""Limits of a ledger in force: which plan each admits, on top of all that is charged and all that may be missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from privacy.accounting.events import Event
from privacy.accounting.filters import Filter, admit
from privacy.accounting.pld import epsilon
from privacy.accounting.units import Charge, Limit, Patient, Unit
from privacy.canonical import JSON
from privacy.errors import BudgetExceeded
from privacy.ledger.approvals import Approval, limit_to_json

By = Literal["filter", "plan"]


class LimitExceeded(BudgetExceeded):
    """The limit of this unit does not hold what was asked."""

    def __init__(self, unit: Unit, message: str, *, hint: str = "") -> None:
        super().__init__(f"per {unit}: {message}", hint=hint)
        self.unit = unit


@dataclass(frozen=True)
class Lost:
    """What entries that a restore could not bring back may have been charged, at most: all that was left.

    `weight`: by the unit's filter, with one person counted as `patient`; infinite if nothing bounds it.
    """

    weight: float
    patient: Patient


@dataclass(frozen=True)
class Term:
    """A limit in force, the filter frozen for it, and the hash of the entry that set it (b"" if none did yet)."""

    limit: Limit
    filter: Filter
    entry: bytes

    def to_json(self) -> dict[str, JSON]:
        """The body of the entry that sets the first limit of a unit."""
        return self.replaced_by(self.limit, "", ())

    def admits(self, spent: Sequence[Event], charge: Charge) -> By:
        """How this limit admits a plan on top of `spent`. LimitExceeded if it does not."""
        limit = self.limit
        try:
            return admit(spent, charge.to(limit.unit, limit.patient), limit.budget, self.filter).by
        except BudgetExceeded as error:
            raise LimitExceeded(limit.unit, error.message, hint=error.hint) from None

    def replaced_by(self, limit: Limit, reason: str, approvals: Sequence[Approval]) -> dict[str, JSON]:
        """The body of an entry that puts `limit` in the place of this one. The filter stays."""
        return {
            **limit_to_json(limit),
            "filter": self.filter.to_json(),
            "reason": reason,
            "approvals": [approval.to_json() for approval in approvals],
        }


