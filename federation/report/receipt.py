"""`Receipt`: a finished round as the server writes it to receipts.jsonl. An audit has a reader of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from federation.report.report import AnyList, Metrics, Part, UnlikelySum

_Names = Annotated[tuple[str, ...], AnyList]


class Receipt(Part):
    """One round that is done. `seconds` is wall-clock time; bytes are the round's, by site id.

    `heads`: the heads that the cohort's messages showed of their ledgers, by site, as `Head.to_json` writes them.
    `transcript`: the digest of the file that shows the round's sum, in hex; None where none is kept.
    `metrics`: of the pooled held-out records, in a simulation. `unlikely`: how the sum is one that honest sites do
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
    heads: Mapping[str, Mapping[str, Any]] = {}
    excess_left: _Names = ()
    transcript: str | None = None
    metrics: Metrics = {}  # noqa: RUF012  pydantic copies a default
    unlikely: UnlikelySum | None = None
