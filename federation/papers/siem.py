"""A ledger as log records for a SIEM: JSON lines with the names of OpenTelemetry's log data model (stable, v1).

Ledgers hold no secret. Only the `begin` of a real round says when it was, to the minute of the site's clock: it has
a `Timestamp`, in nanoseconds. For other lines a collector sets the time at which it saw them. What proves a ledger
is `federation ledger verify`; these lines are for watching one.
"""

from __future__ import annotations

import calendar
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any

from federation.words import printable
from privacy.accounting.costs import cost
from privacy.accounting.units import Patient, charge_from_json
from privacy.errors import PrivacyError
from privacy.ledger.chain import Entry

_INFO, _WARN = ("INFO", 9), ("WARN", 13)
_WORDS = {
    "genesis": "a ledger begins",
    "roster": "a roster was accepted",
    "budget": "a limit is in force",
    "reserve": "a whole plan was charged",
    "begin": "a round may read data",
    "release": "a vector may leave",
    "mask": "masked bytes may leave",
    "reveal": "a sum may be opened",
    "witness": "heads of peers were put on record",
    "close": "a run is over",
    "refuse": "a plan asked for more than is left",
    "rotate": "another key signs",
    "restore": "the ledger goes on from a backup",
}
_LOUD = ("refuse", "rotate", "restore")
_PLAIN = ("run", "plan", "round", "attempt", "unit", "epsilon", "delta", "serial", "rounds", "bytes")


def log_lines(entries: Sequence[Entry]) -> Iterator[str]:
    """One line per entry, in order. A plan that was charged, or refused, says what it costs one of its units."""
    first = entries[0].body if entries else {}
    resource = {
        "service.name": "federation",
        "service.version": version("private-federation"),
        "federation.site": printable(str(first.get("site"))),
        "federation.pool": printable(str(first.get("pool"))),
        "federation.simulated": first.get("simulated") is True,
    }
    deltas: dict[str, float] = {}
    for entry in entries:
        if entry.kind == "budget" and isinstance(delta := entry.body.get("delta"), float):
            deltas[str(entry.body.get("unit"))] = delta
        yield json.dumps(_record(entry, resource, _cost(entry, deltas)), ensure_ascii=True)


def _cost(entry: Entry, deltas: Mapping[str, float]) -> dict[str, float | str]:
    """The epsilon of a charge at the delta of this ledger's limit; none without a bound, or of no charge."""
    asked = entry.body.get("charge")
    if not isinstance(asked, Mapping) or not deltas:
        return {}
    try:
        charge = charge_from_json(asked)
        delta = deltas.get(charge.protects, next(iter(deltas.values())))
        epsilon = cost([charge], charge.protects, Patient(), delta).together
    except (PrivacyError, ValueError):  # a ledger that others wrote may say anything
        return {}
    return {"epsilon": epsilon, "delta": delta, "unit": charge.protects} if math.isfinite(epsilon) else {}


def _timestamp(entry: Entry) -> dict[str, str]:
    """The minute that an entry says, as OpenTelemetry's JSON has a time; none where it says none."""
    at = entry.body.get("at")
    if not isinstance(at, str):
        return {}
    try:
        seconds = calendar.timegm(datetime.strptime(at, "%Y-%m-%dT%H:%MZ").timetuple())
    except ValueError:  # a ledger that others wrote may say anything
        return {}
    return {"Timestamp": str(seconds * 10**9)} if seconds >= 0 else {}


def _record(entry: Entry, resource: Mapping[str, Any], spent: Mapping[str, float | str]) -> dict[str, Any]:
    text, number = _WARN if entry.kind in _LOUD else _INFO
    plain = {name: entry.body[name] for name in _PLAIN if isinstance(entry.body.get(name), str | int | float)}
    told = {**spent, **plain}
    return {
        **_timestamp(entry),
        "SeverityText": text,
        "SeverityNumber": number,
        "EventName": f"federation.ledger.{entry.kind}",
        "Body": _WORDS.get(entry.kind, "an entry of a kind that this version does not know"),
        "Attributes": {
            "federation.ledger.seq": entry.seq,
            "federation.ledger.hash": entry.hash.hex(),
            **{f"federation.{name}": value for name, value in told.items()},
        },
        "Resource": resource,
        "InstrumentationScope": {"Name": "federation.ledger"},
    }
