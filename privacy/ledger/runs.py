"""Runs of a ledger: what a plan reserved, which of its rounds took place, and what of it is charged now.

What is charged. A reservation charges its whole plan before its first round. When the run is closed, the rounds it
never began are returned: nothing of them was ever computed. Rounds begun stay charged, whether anything left or
not. Nothing is returned where a limit admitted the plan as a whole only ("plan"): that admission counts on the
plan being all there is, and choosing after the fact to have stopped early would be a choice made on the results.
Nor is anything returned of a run that a restore ended: rounds may have begun of which the entries are lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from privacy.accounting.events import GaussianEvent
from privacy.accounting.units import Charge, Unit
from privacy.ledger.limits import By


@dataclass
class Run:
    """What the ledger says of one run. Values are digests, by round; of `masked`, the highest attempt.

    `unblinded` are the rounds with a hash of the payload alone, as an earlier version wrote it: a reader can try
    payloads on it. `suites` are the suites of secure aggregation that this site masked for. `over`: rounds
    that were begun before the ledger was restored; nothing more takes place in them. `is_whole`: the restore ended
    the run, and all of it stays charged.
    """

    plan: str
    charge: Charge
    rounds: int
    by: Mapping[Unit, By]
    begun: dict[int, str] = field(default_factory=dict)
    released: dict[int, str] = field(default_factory=dict)
    unblinded: set[int] = field(default_factory=set)
    masked: dict[int, int] = field(default_factory=dict)
    over: set[int] = field(default_factory=set)
    suites: set[int] = field(default_factory=set)
    revealed: dict[int, str] = field(default_factory=dict)
    closed: str | None = None
    is_whole: bool = False

    @property
    def charged(self) -> Charge | None:
        """What is charged now; None if nothing of a closed run was ever begun."""
        if self.closed is None or self.is_whole or "plan" in self.by.values():
            return self.charge
        if not self.begun:
            return None
        event = self.charge.event
        if not isinstance(event, GaussianEvent):
            return self.charge
        return self.charge.with_count(event.count // self.rounds * len(self.begun))


def is_even(charge: Charge, rounds: int) -> bool:
    """Whether every round is charged the same, and something: so that those never begun can be returned."""
    count = charge.event.count if isinstance(charge.event, GaussianEvent) else rounds
    return 1 <= rounds <= count and count % rounds == 0
