"""`Receipt`: a finished round as the server writes it to receipts.jsonl. An audit has a reader of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

from federation.report.report import AnyList, Metrics, Part
from privacy.errors import MalformedMessage
from privacy.ledger.heads import Head, head_from_json

Names = Annotated[tuple[str, ...], AnyList]


def _head(shown: object) -> Head:
    try:
        return shown if isinstance(shown, Head) else head_from_json(shown)
    except MalformedMessage as error:
        raise ValueError(error.message) from None


Shown = Annotated[Head, BeforeValidator(_head), PlainSerializer(Head.to_json, return_type=dict)]


class Receipt(Part):
    """One round that is done. `seconds` is wall-clock time; bytes are those of the round, by site id.

    `heads`: what the sites of the cohort showed of their ledgers, where a message carried it. `metrics`: of the
    pooled held-out records, in a simulation.
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
    heads: Mapping[str, Shown] = {}
    metrics: Metrics = {}  # noqa: RUF012  pydantic copies a default
