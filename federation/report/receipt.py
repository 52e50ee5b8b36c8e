"""`Receipt`: a finished round as the server writes it to receipts.jsonl. An audit has a reader of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from federation.report.report import AnyList, Metrics, Part

Names = Annotated[tuple[str, ...], AnyList]


class Receipt(Part):
    """One round that is done. `seconds` is wall-clock time; bytes are those of the round, by site id.

    `heads`: what the sites of the cohort showed of their ledgers, where a message carried it, as `Head.to_json`
    writes it. `metrics`: of the pooled held-out records, in a simulation.
    """

    round: int
    attempts: int
    cohort: Names
    survivors: Names
    seconds: float
    bytes_up: Mapping[str, int]
    bytes_down: Mapping[str, int]
    params_before: str
    params_after: str
    heads: Mapping[str, Mapping[str, Any]] = {}
    metrics: Metrics = {}  # noqa: RUF012  pydantic copies a default
