"""A ledger as log records: each entry once, by names that a collector knows, and nothing to guess at."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from federation.ledger.export import load_entries
from federation.papers import siem
from federation.plan.plan import parse
from privacy.ledger import chain
from tests.federation.audit.audited import TEXT, finished

MODEL = {
    "Timestamp", "ObservedTimestamp", "TraceId", "SpanId", "TraceFlags", "SeverityText", "SeverityNumber", "Body",
    "Resource", "InstrumentationScope", "Attributes", "EventName",
}  # fmt: skip
"""The fields of OpenTelemetry's log data model."""


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("siem"), "vectorized", TEXT) / "journals" / "ash.sqlite"


def test_each_entry_is_one_record_of_the_log_data_model(ledger: Path) -> None:
    entries = load_entries(ledger)
    records = [json.loads(line) for line in siem.log_lines(entries)]
    assert [record["Attributes"]["federation.ledger.seq"] for record in records] == [e.seq for e in entries]
    for record, entry in zip(records, entries, strict=True):
        assert set(record) <= MODEL
        assert record["EventName"] == f"federation.ledger.{entry.kind}"
        assert (record["SeverityText"], record["SeverityNumber"]) in (("INFO", 9), ("WARN", 13))
        assert record["Resource"]["federation.site"] == "ash"
    assert {"federation.ledger.reserve", "federation.ledger.release"} <= {one["EventName"] for one in records}


@pytest.mark.parametrize(
    ("at", "told"),
    [
        pytest.param("2026-11-29T12:03Z", "1795953780000000000", id="minute"),
        pytest.param("noon", None, id="no time"),
        pytest.param("1969-12-31T23:59Z", None, id="before the epoch"),
        pytest.param(12, None, id="number"),
    ],
)
def test_a_round_s_minute_is_its_time_and_nothing_else_is(
    ledger: Path, at: str | int, told: str | None
) -> None:
    first, *_ = (entry for entry in load_entries(ledger) if entry.kind == "begin")
    dated = replace(first, body={**first.body, "at": at})
    plain, record = (json.loads(line) for line in siem.log_lines([replace(first, body={"run": "r"}), dated]))
    assert "Timestamp" not in plain
    assert record.get("Timestamp") == told


def test_what_a_plan_costs_stands_where_it_is_charged(ledger: Path) -> None:
    """As the plan of this run says it, to the budget's last thousandth of noise."""
    records = [json.loads(line)["Attributes"] for line in siem.log_lines(load_entries(ledger))]
    (charged,) = (one for one in records if "federation.rounds" in one)
    claimed = parse(TEXT).privacy
    assert claimed.epsilon is not None and charged["federation.delta"] == claimed.delta
    assert 0.98 * claimed.epsilon <= charged["federation.epsilon"] <= claimed.epsilon
    assert charged["federation.unit"] == claimed.unit


def test_every_kind_of_entry_has_words() -> None:
    assert set(siem._WORDS) == set(chain.KINDS)


def test_salts_commitments_and_charges_stay_in_the_ledger(ledger: Path) -> None:
    entries = load_entries(ledger)
    text = "\n".join(siem.log_lines(entries))
    hidden = [entry.body[name] for entry in entries for name in ("salt", "commitment") if name in entry.body]
    assert hidden
    assert not any(str(value) in text for value in hidden)
