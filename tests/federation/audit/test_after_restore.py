"""A ledger that goes on from a backup: told, not condemned, unless what it says is untrue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from federation.audit.examine import audit
from federation.ledger.export import load_entries
from privacy.ledger import chain
from privacy.ledger.approvals import approve
from privacy.ledger.state import fold
from privacy.signing import public_identity
from tests.federation.audit.audited import ids, ids_at, journal, key_of, stored
from tests.privacy.ledger.ledgers import ANNA, BERT

RESTORE: dict[str, Any] = {"salt": "00" * 32, "made": "", "approvals": []}


def put_back(run: Path, kind: str, number: int, body: dict[str, Any] = RESTORE) -> None:
    """The ledger of ash, restored from a backup that ends before an entry."""
    entries = load_entries(journal(run, "ash"))
    at = next(
        place
        for place, entry in enumerate(entries)
        if entry.kind == kind and entry.body.get("round", number) == number
    )
    kept = entries[:at]
    stored(journal(run, "ash"), [*kept, chain.append(kept[-1], "restore", body, key_of(run, "ash"))])


def test_a_restore_that_charges_in_full_is_a_warning_and_no_contradiction(run: Path) -> None:
    put_back(run, "begin", 2)
    found = audit(run)
    assert ids(found, "critical") <= {"report-mismatch"}, (
        "its rounds are counted in the report, no more in the ledger"
    )
    assert {"ledger-restored", "round-lost"} <= ids_at(found, "ash")


def test_what_is_left_is_still_held_against_heads_and_receipts(run: Path) -> None:
    entries = load_entries(journal(run, "ash"))
    other = [*entries[:1], chain.append(entries[0], "roster", {"serial": 1, "root": "x"}, key_of(run, "ash"))]
    other.append(chain.append(other[-1], "restore", RESTORE, key_of(run, "ash")))
    stored(journal(run, "ash"), other)
    assert {"run-unreserved"} <= ids_at(audit(run), "ash")


def test_a_word_that_nothing_is_missing_is_proven_wrong_by_a_head(run: Path) -> None:
    """With approvers from the beginning, and everything signed anew: the receipts know later entries."""
    key, entries = key_of(run, "ash"), load_entries(journal(run, "ash"))
    people = [public_identity(person).hex() for person in (ANNA, BERT)]
    first = chain.append(None, "genesis", {**entries[0].body, "approvers": people}, key)
    kept = [first]
    for entry in entries[1:8]:
        kept.append(chain.append(kept[-1], entry.kind, entry.body, key))
    word = fold(kept).restoration("2026-03-01")
    approvals = [approve(word, person).to_json() for person in (ANNA, BERT)]
    body = {**RESTORE, "made": "2026-03-01", "approvals": approvals}
    stored(journal(run, "ash"), [*kept, chain.append(kept[-1], "restore", body, key)])
    found = audit(run)
    assert {"ledger-restored", "ledger-truncated"} <= ids_at(found, "ash")
    assert found.verdict == "fail"
