"""Reads receipts.jsonl for an audit: what the server wrote of each round, of the evaluation and of the end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from federation.audit.findings import Findings
from federation.audit.untrusted import Torn, is_regular, json_of, text_of
from federation.plan.plan import Plan
from privacy.canonical import Fields
from privacy.errors import MalformedMessage
from privacy.ledger.heads import Head, head_from_json
from privacy.suite import BROKEN

_LONGEST_NAME = 255
_RUN = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True)
class Void:
    """An attempt that had no sum: whom it was with, who may have charged it, and why it failed, by site."""

    cohort: tuple[str, ...]
    charged: tuple[str, ...]
    reasons: Mapping[str, Any]


@dataclass(frozen=True)
class Receipt:
    """One round that is over, in the server's words. Without survivors it is lost: it has no sum."""

    round: int
    cohort: tuple[str, ...]
    survivors: tuple[str, ...]
    params_before: str
    params_after: str
    seconds: float
    bytes_up: Mapping[str, Any]
    bytes_down: Mapping[str, Any]
    metrics: Mapping[str, Any]
    shown: frozenset[str]  # sites with a head of their ledger in it
    transcript: str | None = None  # the digest of the file that shows its sum
    simulated_seconds: float | None = None  # of a simulation with faults
    excess_left: tuple[str, ...] | None = None  # sites whose excess noise stayed in
    unlikely: Mapping[str, Any] | None = None
    voids: tuple[Void, ...] = ()
    accused: tuple[tuple[str, str], ...] = ()
    average: str | None = None  # the digest of the model, where the plan averages the params
    clipping_norm: float | None = None  # where the plan has it move
    model: str | None = None  # the digest of the params without the norm behind them, where it moves

    @property
    def made(self) -> str:
        """The digest of the params that the round ended with."""
        return self.model or self.params_after

    @property
    def is_lost(self) -> bool:
        """Whether the server says that the round had no sum."""
        return not self.survivors

    @property
    def cohorts(self) -> tuple[tuple[str, ...], ...]:
        """Whom its attempts were with; the last one is that of the receipt."""
        return (*(void.cohort for void in self.voids), self.cohort)

    @property
    def charged(self) -> frozenset[str]:
        """The sites that may have charged it, as the server knows them."""
        asked = frozenset(site for void in self.voids for site in void.charged)
        return asked if self.is_lost else asked.union(self.cohort)


@dataclass(frozen=True)
class Evaluation:
    """The round after the last: noised figures about held-out records."""

    cohort: tuple[str, ...]
    survivors: tuple[str, ...]
    figures: Mapping[str, Any]
    shown: frozenset[str]
    transcript: str | None = None
    excess_left: tuple[str, ...] | None = None
    unlikely: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Refused:
    """A round whose sum was refused: it was opened, and nothing was made of it."""

    round: int
    unlikely: Mapping[str, Any]
    transcript: str | None = None


@dataclass
class Receipts:
    """All lines in order; `closing` is the digest of the params that the run ended with.

    `averages`: the plan has it end with an average of the params, and not with the last ones.
    """

    run: str = ""
    lines: list[Receipt] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    closing: str | None = None
    heads: list[Head] = field(default_factory=list)
    suites: set[int] = field(default_factory=set)  # of the secure aggregation
    averages: bool = False

    @property
    def rounds(self) -> dict[int, Receipt]:
        """By number, in order; if a round has two lines, the last one counts."""
        return {line.round: line for line in sorted(self.lines, key=lambda line: line.round)}

    @property
    def evaluation(self) -> Evaluation | None:
        """The line of the evaluation: it is drawn once, so the first one counts."""
        return self.evaluations[0] if self.evaluations else None

    @property
    def ended(self) -> str | None:
        """The digest of the model after the last round that has a receipt; None where that tells none."""
        return None if (last := self._last) is None else last.average if self.averages else last.made

    @property
    def trained(self) -> str | None:
        """The digest of the params that a further training round begins with, None before the first receipt."""
        return None if (last := self._last) is None else last.params_after

    @property
    def _last(self) -> Receipt | None:
        return next(reversed(self.rounds.values()), None)

    @property
    def sites(self) -> tuple[str, ...]:
        """All sites that were ever invited, sorted."""
        cohorts = [cohort for line in self.lines for cohort in line.cohorts]
        cohorts += [line.cohort for line in self.evaluations]
        return tuple(sorted({site for cohort in cohorts for site in cohort}))


def read_receipts(run: Path, plan: Plan | None, found: Findings) -> Receipts:
    """The receipts in the run folder `run`; a line that cannot be parsed becomes a finding and is skipped.

    Half a line is only "receipt-damaged", since a killed server leaves one.
    """
    read = Receipts(averages=plan is not None and plan.server.iterate_average is not None)
    if not (run / "receipts.jsonl").exists() and (begun := _begun(run, plan)):
        read.run = begun
        return read
    try:
        text = text_of(run / "receipts.jsonl")
    except (OSError, ValueError):
        detail = "receipts.jsonl is missing or no text: nothing tells what the run did"
        found.add("receipts-unreadable", detail)
        return read
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        where = f"line {number} of receipts.jsonl"
        try:
            _line(json_of(line), where, read, plan, found)
        except Torn:
            found.add("receipt-damaged", f"{where} is no whole line, as a killed server leaves one")
        except (ValueError, MalformedMessage):
            found.add("receipt-invalid", f"{where} is no receipt")
    return read


def _begun(run: Path, plan: Plan | None) -> str:
    """The id of a run of which no round has ended, as its checkpoint has it; "" for any other."""
    state = run / "checkpoint" / "state.safetensors"
    if any((run / name).exists() for name in ("report.json", "params.safetensors")) or not is_regular(state):
        return ""
    try:
        with safe_open(state, framework="pt") as file:
            told: Mapping[str, str] = file.metadata() or {}
    except (OSError, ValueError, SafetensorError):
        return ""
    is_first = told.get("round") == "0" and plan is not None and told.get("plan") == plan.digest
    return found if is_first and _RUN.fullmatch(found := told.get("run", "")) else ""


def _line(content: Any, where: str, read: Receipts, plan: Plan | None, found: Findings) -> None:
    """Add one line. ValueError or MalformedMessage if it cannot be parsed."""
    fields = Fields(content)
    of, digest = fields.text("run"), fields.text("plan")
    suite = fields.whole("suite") if "suite" in content else BROKEN  # which named no suite
    heads = {} if "refused" in content else fields.table("heads")
    shown = [_shown(site, head) for site, head in heads.items()]
    sites = frozenset(head.site for head in shown)
    ended = None
    rounds: list[Receipt] = []
    evaluations: list[Evaluation] = []
    refused: list[Refused] = []
    if "closed" in content:
        if not fields.flag("closed"):
            raise ValueError("ends a run that goes on")
        ended = fields.octets("params", 32).hex()
    elif "refused" in content:
        refused = [Refused(fields.whole("refused", 1), _unlikely(fields), _transcript(fields))]
    elif "evaluation" in content:
        evaluations = [_evaluation(fields, sites)]
    else:
        rounds = [_receipt(fields, sites)]
    fields.finish()
    read.run = read.run or of
    if of != read.run or (plan is not None and digest != plan.digest):
        found.add("receipt-of-another-run", f"{where} is of another run or plan")
        return
    if read.closing is not None and ended != read.closing:
        found.add("receipt-order", f"{where} comes after the end of the run")
    if rounds and read.evaluations:
        found.add("receipt-order", f"{where} is a round after the evaluation, which is of the model")
    read.heads += shown
    read.suites.add(suite)
    read.closing = ended or read.closing
    read.lines += rounds
    read.evaluations += evaluations
    read.refused += refused


def _shown(site: str, content: object) -> Head:
    head = head_from_json(content)
    if head.site != site:
        raise ValueError("has a head under the name of another site")
    return head


def _receipt(fields: Fields, shown: frozenset[str]) -> Receipt:
    fields.whole("attempts", 1)
    seconds = fields.number("seconds")
    _names(_rows(fields, "proven"))
    if not 0 <= seconds < 1e12:
        raise ValueError("took no such time")
    return Receipt(
        round=fields.whole("round", 1),
        cohort=_names(fields.rows("cohort")),
        survivors=_names(fields.rows("survivors")),
        params_before=fields.octets("params_before", 32).hex(),
        params_after=fields.octets("params_after", 32).hex(),
        seconds=seconds,
        simulated_seconds=fields.number("simulated_seconds") if fields.has("simulated_seconds") else None,
        bytes_up=fields.table("bytes_up"),
        bytes_down=fields.table("bytes_down"),
        metrics=fields.table("metrics"),
        shown=shown,
        transcript=_transcript(fields),
        excess_left=_excess_left(fields),
        voids=tuple(_void(row) for row in _rows(fields, "void")),
        accused=tuple(_pair(row) for row in _rows(fields, "accused")),
        unlikely=_odd(fields),
        average=fields.octets("average", 32).hex() if fields.has("average") else None,
        clipping_norm=fields.number("clipping_norm") if fields.has("clipping_norm") else None,
        model=fields.octets("model", 32).hex() if fields.has("model") else None,
    )


def _transcript(fields: Fields) -> str | None:
    """The digest of the round's transcript, in hex; None where it has none."""
    return fields.octets("transcript", 32).hex() if fields.has("transcript") else None


def _rows(fields: Fields, name: str) -> Sequence[object]:
    """A list that receipts of earlier versions lack."""
    return fields.rows(name) if fields.has(name) else []


def _void(row: object) -> Void:
    fields = Fields(row)
    fields.whole("attempt", 1)
    cohort, charged = _names(fields.rows("cohort")), _names(fields.rows("charged"))
    reasons = fields.table("reasons")
    fields.finish()
    if not set(charged) | reasons.keys() <= set(cohort):
        raise ValueError("tells of sites that were not asked")
    return Void(cohort, charged, reasons)


def _pair(row: object) -> tuple[str, str]:
    if not isinstance(row, list) or len(row) != 2 or row[0] == row[1]:
        raise ValueError("accuses nobody")
    accuser, accused = (_names([name])[0] for name in row)
    return accuser, accused


def _evaluation(fields: Fields, shown: frozenset[str]) -> Evaluation:
    cohort, survivors = _names(fields.rows("cohort")), _names(fields.rows("survivors"))
    figures, transcript, odd = fields.table("evaluation"), _transcript(fields), _odd(fields)
    return Evaluation(cohort, survivors, figures, shown, transcript, _excess_left(fields), odd)


def _excess_left(fields: Fields) -> tuple[str, ...] | None:
    """The sites whose excess noise stayed in; None in a receipt of an earlier version, which took none out."""
    return _names(fields.rows("excess_left")) if fields.has("excess_left") else None


def _odd(fields: Fields) -> Mapping[str, Any] | None:
    """What the server says is odd about a sum that it used."""
    if not fields.has("unlikely"):
        return None
    inside = Fields(fields.take("unlikely"))
    found = _unlikely(inside)
    inside.finish()
    return found


def _unlikely(fields: Fields) -> Mapping[str, Any]:
    check, ratio = fields.text("check"), fields.number("ratio")
    if check not in ("coordinate", "norm") or not ratio > 1:
        raise ValueError("refuses or reports a sum that is as it should be")
    return {"check": check, "ratio": ratio}


def _names(rows: Sequence[object]) -> tuple[str, ...]:
    names = [row for row in rows if isinstance(row, str) and 0 < len(row) <= _LONGEST_NAME]
    if names != sorted(set(names)) or len(names) != len(rows):
        raise ValueError("has sites out of order or twice")
    return tuple(names)
