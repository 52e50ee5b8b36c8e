"""`Receipt`: a finished round as the server writes it to receipts.jsonl. An audit has a reader of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from federation.report.parts import AnyList, Part
from federation.report.report import Metrics, UnlikelySum

_Names = Annotated[tuple[str, ...], AnyList]


class Void(Part):
    """An attempt at a round that had no sum. `reasons`: why, by site, from the fixed list.

    `charged`: those that may have charged the round, since they were sent its params.
    """

    attempt: int
    cohort: _Names
    reasons: Mapping[str, str]
    charged: _Names


class Receipt(Part):
    """One round that is over. `seconds` is wall-clock time; bytes are the round's, by site id.

    Without survivors the round is lost: its number is used up, and params are as they were before. `void`: the
    attempts that had no sum. `accused`: pairs of sites of which the first says that its share from the second does
    not open. `proven`: sites whose own signatures show that they are at fault.

    `heads`: the heads that the cohort's messages showed of their ledgers, by site, as `Head.to_json` writes them.
    `params_before` and `params_after` are digests of what the sites train on, `average` that of the model where the
    plan averages: what the run ends with, should this be its last round. Where the clipping norm moves, sites are
    sent it behind the params: `clipping_norm` is that of the round, and `model` the digest of the params alone.
    `transcript`: the digest of the file that shows the round's sum, in hex; None where none is kept.
    `simulated_seconds`: what it would have taken, in a simulation with faults. `metrics`: of the pooled held-out
    records, in a simulation. `unlikely`: how the sum is one that honest sites do
    not make; there only where it is, and where the plan has it reported.
    """

    round: int
    attempts: int
    cohort: _Names
    survivors: _Names
    seconds: float
    bytes_up: Mapping[str, int]
    bytes_down: Mapping[str, int]
    params_before: str
    params_after: str
    average: str | None = None
    clipping_norm: float | None = None
    model: str | None = None
    heads: Mapping[str, Mapping[str, Any]] = {}
    excess_left: _Names = ()
    transcript: str | None = None
    simulated_seconds: float | None = None
    metrics: Metrics = {}  # noqa: RUF012  pydantic copies a default
    unlikely: UnlikelySum | None = None
    void: Annotated[tuple[Void, ...], AnyList] = ()
    accused: Annotated[tuple[Annotated[tuple[str, str], AnyList], ...], AnyList] = ()
    proven: _Names = ()

    @property
    def is_lost(self) -> bool:
        """Whether the round has no sum, and never will."""
        return not self.survivors

    @property
    def lost(self) -> Mapping[str, str] | None:
        """Why a lost round has no sum, by site: what the last attempt at it tells; None if it has one."""
        return self.void[-1].reasons if self.is_lost and self.void else None

    @property
    def invited(self) -> frozenset[str]:
        """The sites of all attempts."""
        return frozenset(self.cohort).union(*(void.cohort for void in self.void))

    @property
    def charged(self) -> frozenset[str]:
        """The sites that may have charged the round: of one with a sum its cohort, and whoever was asked before."""
        asked = frozenset(site for void in self.void for site in void.charged)
        return asked if self.is_lost else asked.union(self.cohort)
