"""receipts.jsonl, as an audit reads it: what the server wrote of each round, of the evaluation and of the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from federation.audit.findings import Findings
from federation.audit.untrusted import Torn, json_of, text_of
from federation.plan.plan import Plan
from privacy.canonical import Fields
from privacy.errors import MalformedMessage
from privacy.ledger.heads import Head, head_from_json
from privacy.suite import BROKEN

_LONGEST_NAME = 255


@dataclass(frozen=True)
class Receipt:
    """One finished round, in the server's words."""

    round: int
    cohort: tuple[str, ...]
    survivors: tuple[str, ...]
    params_before: str
    params_after: str
    seconds: float
    bytes_up: Mapping[str, Any]
    bytes_down: Mapping[str, Any]
    metrics: Mapping[str, Any]
    shown: frozenset[str]  # sites of whose ledgers it holds a head


@dataclass(frozen=True)
class Evaluation:
    """The round after the last: noised figures about held-out records."""

    cohort: tuple[str, ...]
    survivors: tuple[str, ...]
    figures: Mapping[str, Any]
    shown: frozenset[str]


@dataclass(frozen=True)
class Receipts:
    """All lines in order; `closing` is the digest of the params that the run ended with."""

    run: str = ""
    lines: tuple[Receipt, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    closing: str | None = None
    heads: tuple[Head, ...] = ()
    suites: frozenset[int] = frozenset()  # of the secure aggregation

    @property
    def rounds(self) -> dict[int, Receipt]:
        """By number; of a round the last line counts."""
        return {line.round: line for line in sorted(self.lines, key=lambda line: line.round)}

    @property
    def evaluation(self) -> Evaluation | None:
        """The line of the evaluation: it is drawn once, so the first one counts."""
        return self.evaluations[0] if self.evaluations else None

    @property
    def ended(self) -> str | None:
        """The digest of the params after the last round that has a receipt."""
        lines = list(self.rounds.values())
        return lines[-1].params_after if lines else None

    @property
    def sites(self) -> tuple[str, ...]:
        """All that were ever invited."""
        cohorts = [*(line.cohort for line in self.lines), *(line.cohort for line in self.evaluations)]
        return tuple(sorted({site for cohort in cohorts for site in cohort}))


@dataclass
class _Reading:
    """What was read so far."""

    run: str = ""
    lines: list[Receipt] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    closing: str | None = None
    heads: list[Head] = field(default_factory=list)
    suites: set[int] = field(default_factory=set)


def read_receipts(run: Path, plan: Plan | None, found: Findings) -> Receipts:
    """receipts.jsonl. A killed process leaves half a line, so one like that is told and passed over."""
    try:
        text = text_of(run / "receipts.jsonl")
    except (OSError, ValueError):
        found.add(
            "receipts-unreadable", "receipts.jsonl is missing or no text: nothing tells what the run did"
        )
        return Receipts()
    read = _Reading()
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        where = f"line {number} of receipts.jsonl"
        try:
            _line(json_of(line), where, read, plan, found)
        except Torn:
            found.add("receipt-damaged", f"{where} is no whole line, as a killed server leaves one")
        except (ValueError, MalformedMessage):
            found.add("receipt-invalid", f"{where} is no receipt")
    return Receipts(
        read.run,
        tuple(read.lines),
        tuple(read.evaluations),
        read.closing,
        tuple(read.heads),
        frozenset(read.suites),
    )


def _line(content: Any, where: str, read: _Reading, plan: Plan | None, found: Findings) -> None:
    """Add one line. ValueError or MalformedMessage if it is none."""
    fields = Fields(content)
    of, digest = fields.text("run"), fields.text("plan")
    suite = fields.whole("suite") if "suite" in content else BROKEN  # which did not say so
    shown = [_shown(site, head) for site, head in fields.table("heads").items()]
    sites = frozenset(head.site for head in shown)
    ended, receipt, evaluation = None, None, None
    if "closed" in content:
        if not fields.flag("closed"):
            raise ValueError("ends a run that goes on")
        ended = fields.octets("params", 32).hex()
    elif "evaluation" in content:
        evaluation = _evaluation(fields, sites)
    else:
        receipt = _receipt(fields, sites)
    fields.finish()
    read.run = read.run or of
    if of != read.run or (plan is not None and digest != plan.digest):
        found.add("receipt-of-another-run", f"{where} is of another run or plan")
        return
    if read.closing is not None and ended != read.closing:
        found.add("receipt-order", f"{where} comes after the end of the run")
    if receipt is not None and read.evaluations:
        found.add("receipt-order", f"{where} is a round after the evaluation, which is of the last params")
    read.heads += shown
    read.suites.add(suite)
    read.closing = ended if ended is not None else read.closing
    read.lines += [] if receipt is None else [receipt]
    read.evaluations += [] if evaluation is None else [evaluation]


def _shown(site: str, content: object) -> Head:
    head = head_from_json(content)
    if head.site != site:
        raise ValueError("has a head under the name of another site")
    return head


def _receipt(fields: Fields, shown: frozenset[str]) -> Receipt:
    fields.whole("attempts", 1)
    return Receipt(
        round=fields.whole("round", 1),
        cohort=_names(fields.rows("cohort")),
        survivors=_names(fields.rows("survivors")),
        params_before=fields.octets("params_before", 32).hex(),
        params_after=fields.octets("params_after", 32).hex(),
        seconds=_seconds(fields),
        bytes_up=fields.table("bytes_up"),
        bytes_down=fields.table("bytes_down"),
        metrics=fields.table("metrics"),
        shown=shown,
    )


def _evaluation(fields: Fields, shown: frozenset[str]) -> Evaluation:
    cohort, survivors = _names(fields.rows("cohort")), _names(fields.rows("survivors"))
    return Evaluation(cohort, survivors, fields.table("evaluation"), shown)


def _seconds(fields: Fields) -> float:
    seconds = fields.number("seconds")
    if not 0 <= seconds < 1e12:
        raise ValueError("took no such time")
    return seconds


def _names(rows: Sequence[object]) -> tuple[str, ...]:
    names = [row for row in rows if isinstance(row, str) and 0 < len(row) <= _LONGEST_NAME]
    if names != sorted(set(names)) or len(names) != len(rows):
        raise ValueError("has sites out of order or twice")
    return tuple(names)
