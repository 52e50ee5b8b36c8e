"""No entry can be changed, removed, added or moved without the chain showing it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import LedgerCorrupt, UnsupportedEvent
from privacy.events import GaussianEvent, NonPrivateEvent
from privacy.ledger import Entry, append, begun_rounds, events, verify

BODIES = st.dictionaries(
    st.text(max_size=5),
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=5),
    max_size=3,
)


def chain(bodies: list[dict[str, Any]]) -> list[Entry]:
    entries = [append(None, "genesis", {"site": "a", "pool": "p"})]
    for body in bodies:
        entries.append(append(entries[-1], "begin", body))
    return entries


@given(st.lists(BODIES, max_size=6))
def test_what_was_appended_verifies(bodies: list[dict[str, Any]]) -> None:
    verify(chain(bodies))


@given(st.lists(BODIES, min_size=2, max_size=6), st.data())
def test_one_change_anywhere_is_seen(bodies: list[dict[str, Any]], data: st.DataObject) -> None:
    entries = chain(bodies)
    index = data.draw(st.integers(0, len(entries) - 1))
    entry = entries[index]
    change: dict[str, Any] = data.draw(
        st.sampled_from(
            [
                {"seq": entry.seq + 1},
                {"kind": "release"},
                {"kind": "other"},
                {"body": {**entry.body, "more": 1}},
                {"previous": bytes([entry.previous[0] ^ 1]) + entry.previous[1:]},
                {"hash": entry.hash[:-1] + bytes([entry.hash[-1] ^ 1])},
            ]
        )
    )
    entries[index] = dataclasses.replace(entry, **change)
    with pytest.raises(LedgerCorrupt, match="release nothing"):
        verify(entries)


@given(st.lists(BODIES, min_size=2, max_size=6), st.data())
def test_a_removed_moved_or_repeated_entry_is_seen(bodies: list[dict[str, Any]], data: st.DataObject) -> None:
    entries = chain(bodies)
    index = data.draw(st.integers(0, len(entries) - 2))
    removed = entries[:index] + entries[index + 1 :]
    swapped = [*entries[:index], entries[index + 1], entries[index], *entries[index + 2 :]]
    repeated = entries[: index + 1] + entries[index:]
    for wrong in (removed, swapped, repeated):
        with pytest.raises(LedgerCorrupt):
            verify(wrong)


def test_a_change_whose_hash_was_made_anew_is_seen_at_the_next_entry() -> None:
    entries = chain([{"round": 1}, {"round": 2}])
    entries[1] = append(entries[0], "begin", {"round": 9})
    with pytest.raises(LedgerCorrupt, match="entry 2"):
        verify(entries)


def test_a_ledger_without_a_genesis_is_none() -> None:
    with pytest.raises(LedgerCorrupt):
        verify([])
    with pytest.raises(ValueError, match="genesis"):
        append(chain([])[0], "genesis", {})
    with pytest.raises(ValueError, match="begin"):
        append(None, "begin", {})
    with pytest.raises(ValueError, match="refund"):
        append(chain([])[0], "refund", {})


def test_a_body_without_canonical_form_cannot_be_appended_and_does_not_verify() -> None:
    with pytest.raises(ValueError, match=r"NaN|nan"):
        append(chain([])[0], "begin", {"x": float("nan")})
    good = append(chain([])[0], "begin", {"x": 1})
    with pytest.raises(LedgerCorrupt):
        verify([chain([])[0], dataclasses.replace(good, body={"x": float("inf")})])


def test_the_hash_is_what_the_protocol_says() -> None:
    # An independent reading: length-prefixed label and canonical JSON, hashed.
    entry = append(None, "genesis", {"site": "a", "pool": "p"})
    content = {"body": {"pool": "p", "site": "a"}, "kind": "genesis", "previous": "00" * 32, "seq": 0}
    parts = [b"privacy/ledger/1", json.dumps(content, separators=(",", ":")).encode()]
    expected = hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts))
    assert entry.hash == expected.digest()


def test_a_reservation_is_charged_in_full_whether_it_was_used_or_not() -> None:
    first, second = GaussianEvent(2.0, 0.1, 200), NonPrivateEvent()
    entries = chain([])
    for event in (first, second):
        entries.append(append(entries[-1], "reserve", {"run": "r", "event": event.to_json(), "rounds": 200}))
    assert events(entries) == (first, second)
    # As read back from disk, where 2.0 is written 2.
    stored = [dataclasses.replace(entry, body=json.loads(json.dumps(entry.body))) for entry in entries]
    assert events(stored) == (first, second)


@pytest.mark.parametrize(
    "event", [None, 3, {"type": "gaussian", "noise_multiplier": 0, "sample_rate": 1, "count": 1}]
)
def test_a_reservation_of_nothing_is_corrupt(event: Any) -> None:
    with pytest.raises(LedgerCorrupt):
        events([append(chain([])[0], "reserve", {"event": event})])


def test_a_reservation_of_something_unknown_is_refused() -> None:
    with pytest.raises(UnsupportedEvent):
        events([append(chain([])[0], "reserve", {"event": {"type": "laplace"}})])


def test_begun_rounds_are_counted_once_per_run() -> None:
    bodies: list[dict[str, Any]] = [
        {"run": run, "round": number} for run, number in (("r", 1), ("r", 2), ("s", 1), ("r", 2))
    ]
    assert begun_rounds(chain(bodies), "r") == 2
    assert begun_rounds(chain(bodies), "t") == 0
