"""Ledgers that were cut, restored, swapped or written anew are found by what others hold of them."""

from __future__ import annotations

from pathlib import Path
from shutil import copyfile

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.audit.examine import audit
from federation.ledger.export import export_lines, load_entries
from tests.federation.audit.audited import (
    changed,
    ids,
    ids_at,
    journal,
    meddled,
    receipts,
    rewritten,
    steps_of,
    stored,
)
from tests.privacy.ledger.ledgers import reserved


def test_every_byte_of_an_entry_is_covered(run: Path) -> None:
    """DP-32: content, place, hash and signature, each flipped."""
    good = journal(run, "ash").read_bytes()
    flips = {
        "body": "UPDATE entries SET body = replace(body, '\"round\":2', '\"round\":3') WHERE kind = 'begin'",
        "kind": "UPDATE entries SET kind = 'mask' WHERE seq = 4",
        "hash": "UPDATE entries SET hash = zeroblob(32) WHERE seq = 5",
        "previous": "UPDATE entries SET previous = zeroblob(32) WHERE seq = 5",
        "signature": "UPDATE entries SET signature = zeroblob(64) WHERE seq = 5",
        "middle": "DELETE FROM entries WHERE seq = 6",
        "genesis": "DELETE FROM entries WHERE seq = 0",
    }
    for statement in flips.values():
        journal(run, "ash").write_bytes(good)
        meddled(journal(run, "ash"), statement)
        assert "ledger-broken" in ids_at(audit(run), "ash"), statement


def test_reordered_entries_break_the_chain(run: Path) -> None:
    """DP-32."""
    entries = list(load_entries(journal(run, "ash")))
    entries[4], entries[5] = entries[5], entries[4]
    (run / "ash.jsonl").write_text(export_lines(entries), "utf-8")
    journal(run, "ash").unlink()
    assert "ledger-broken" in ids_at(audit(run, [run / "ash.jsonl"]), "ash")


def test_a_damaged_journal_is_a_finding(run: Path) -> None:
    content = bytearray(journal(run, "ash").read_bytes())
    content[20:4000] = bytes(3980)
    journal(run, "ash").write_bytes(content)
    assert "ledger-unreadable" in ids_at(audit(run), "ash")


@pytest.mark.parametrize("left", [1, 5, -1])
def test_a_ledger_whose_end_was_cut_off_is_found(run: Path, left: int) -> None:
    """DP-33: the chain is whole, but its head was signed and shown before."""
    stored(journal(run, "ash"), load_entries(journal(run, "ash"))[:left])
    assert "ledger-truncated" in ids_at(audit(run), "ash")


def test_a_peer_tells_of_a_cut_end_where_the_receipts_do_not(run: Path) -> None:
    """DP-33: the server that would hide it is not the only one who was shown the head."""
    with receipts(run) as lines:
        for line in lines:
            line["heads"].pop("ash", None)
    stored(journal(run, "ash"), load_entries(journal(run, "ash"))[:4])
    found = audit(run)
    assert {"ledger-truncated", "ledger-unwitnessed"} <= ids_at(found, "ash")
    assert any("the ledger of" in finding.detail for finding in found.findings)


def test_a_restored_snapshot_that_went_on_is_found(run: Path) -> None:
    """DP-34: an older copy was put back, and another history written on it."""
    steps = steps_of(run, "ash")
    at = next(index for index, (kind, body) in enumerate(steps) if kind == "begin" and body["round"] == 2)
    rewritten(run, "ash", [*steps[:at], *changed(steps[at:], "release", lambda _: {"commitment": "00" * 32})])
    assert "ledger-rewritten" in ids_at(audit(run), "ash")


def test_a_ledger_made_anew_is_found(run: Path) -> None:
    """DP-34."""
    rewritten(run, "ash", steps_of(run, "ash")[:1])
    assert {"ledger-truncated", "run-unreserved"} <= ids_at(audit(run), "ash")


def test_swapped_ledgers_are_found(run: Path) -> None:
    """DP-32: each is whole, and not that of the site whose name it has."""
    ash, birch = load_entries(journal(run, "ash")), load_entries(journal(run, "birch"))
    stored(journal(run, "ash"), birch)
    stored(journal(run, "birch"), ash)
    found = audit(run)
    for site in ("ash", "birch"):
        assert {"ledger-swapped", "ledger-key"} <= ids_at(found, site)


def test_another_key_is_not_the_sites(run: Path) -> None:
    """DP-32: a whole ledger, signed by a key that is not on the roster."""
    stranger = Ed25519PrivateKey.generate()
    public = stranger.public_key().public_bytes_raw().hex()
    rewritten(run, "ash", changed(steps_of(run, "ash"), "genesis", lambda _: {"key": public}), stranger)
    assert {"ledger-key", "ledger-rewritten"} <= ids_at(audit(run), "ash")


def test_entries_signed_by_a_key_that_is_not_the_ledgers_break_it(run: Path) -> None:
    """DP-32."""
    rewritten(run, "ash", steps_of(run, "ash"), Ed25519PrivateKey.generate())
    assert "ledger-broken" in ids_at(audit(run), "ash")


def test_a_missing_ledger_fails_a_simulation(run: Path) -> None:
    journal(run, "ash").unlink()
    found = audit(run)
    assert "ledger-missing-in-simulation" in ids_at(found, "ash")
    assert any("ash" in line for line in found.not_checked)


def test_a_ledger_that_is_handed_in_takes_the_place_of_one_that_is_missing(run: Path) -> None:
    exported = run.parent / "from-ash.jsonl"
    exported.write_text(export_lines(load_entries(journal(run, "ash"))), "utf-8")
    copyfile(journal(run, "birch"), run.parent / "copy.sqlite")
    journal(run, "ash").unlink()
    found = audit(run, [exported, run.parent / "copy.sqlite"])
    assert found.findings == ()
    assert {site.id: site.ledger for site in found.sites}["ash"] == "from-ash.jsonl"


def test_two_histories_of_one_site_are_found(run: Path) -> None:
    original = load_entries(journal(run, "ash"))
    (run.parent / "ash.jsonl").write_text(export_lines(original), "utf-8")
    rewritten(run, "ash", changed(steps_of(run, "ash"), "release", lambda _: {"commitment": "00" * 32}))
    assert "ledger-forked" in ids_at(audit(run, [run.parent / "ash.jsonl"]), "ash")


def test_a_head_that_nobody_signed_is_found(run: Path) -> None:
    with receipts(run) as lines:
        lines[1]["heads"]["ash"]["seq"] += 1
    assert "head-forged" in ids_at(audit(run), "ash")


def test_a_head_of_a_stranger_is_for_a_person_to_look_at(run: Path) -> None:
    with receipts(run) as lines:
        lines[1]["heads"]["zoe"] = {**lines[1]["heads"]["ash"], "site": "zoe"}
    assert ("zoe", "warning") in {(f.site, f.severity) for f in audit(run).findings}
    assert "head-of-no-participant" in ids_at(audit(run), "zoe")


def test_the_ledger_of_another_pool_does_not_stand_in_for_the_one_that_was_shown(run: Path) -> None:
    rewritten(run, "ash", changed(steps_of(run, "ash"), "genesis", lambda _: {"ledger": "00" * 32}))
    assert "ledger-of-another-pool" in ids_at(audit(run), "ash")


def test_a_ledger_of_somebody_else_is_noted(run: Path) -> None:
    stored(journal(run, "north"), reserved().entries)
    found = audit(run)
    assert (found.verdict, ids(found)) == ("pass", {"ledger-of-no-participant"})
