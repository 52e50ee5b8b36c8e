"""Several parties lie together, consistently: what is left to contradict them still does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.audit.examine import audit
from federation.identity.roster_file import load_roster, write_roster
from federation.ledger.export import load_entries
from privacy.ledger.heads import Head
from privacy.ledger.state import fold
from privacy.roster import Entry, Roster, SignedRoster
from privacy.signing import public_identity
from tests.federation.audit.audited import (
    ROUNDS,
    SITES,
    Steps,
    changed,
    edited_report,
    ids,
    ids_at,
    journal,
    key_of,
    receipts,
    rewritten,
    steps_of,
    stored,
)


def resigned(run: Path, edit: Callable[[Roster], Iterable[Entry]], serial: int = 0) -> None:
    """The roster of a run replaced by one that somebody else signs, correctly."""
    roster = Roster.from_bytes(load_roster(run / "roster.toml").roster)
    other = Roster(serial or roster.serial, tuple(edit(roster)))
    write_roster(run / "roster.toml", SignedRoster.by(other, [Ed25519PrivateKey.generate()]))


def without_heads(run: Path, *sites: str) -> None:
    with receipts(run) as lines:
        for line in lines:
            for site in sites:
                line["heads"].pop(site, None)


def fresh_heads(run: Path, site: str) -> None:
    """The server puts in heads that the site has signed anew, for the history as it is now."""
    entries = load_entries(journal(run, site))
    account = fold(entries)
    with receipts(run) as lines:
        for line in lines:
            last = entries[min(line["heads"][site]["seq"], len(entries) - 1)]
            head = Head.signed(site, account.tip.genesis.ledger, last, key_of(run, site))
            line["heads"][site] = head.to_json()


def half(body: dict[str, Any]) -> dict[str, Any]:
    event = {**body["charge"]["event"]}
    event["noise_multiplier"] /= 2
    return {"charge": {**body["charge"], "event": event}}


def test_a_server_and_a_site_cannot_rewrite_what_a_peer_has_witnessed(run: Path) -> None:
    """They have both their keys and every receipt; the ledgers of the others hold the heads of before."""
    rewritten(run, "ash", changed(steps_of(run, "ash"), "release", lambda _: {"commitment": "00" * 32}))
    fresh_heads(run, "ash")
    found = audit(run)
    assert "ledger-rewritten" in ids_at(found, "ash") | ids_at(found, "birch")
    assert any("the ledger of" in finding.detail for finding in found.findings)


def test_of_a_ledger_that_is_not_handed_in_two_heads_still_tell_two_histories(run: Path) -> None:
    """The site keeps its ledger to itself; the server shows new heads of it, the peers have the old ones."""
    rewritten(run, "ash", changed(steps_of(run, "ash"), "release", lambda _: {"commitment": "00" * 32}))
    fresh_heads(run, "ash")
    journal(run, "ash").unlink()
    assert "ledger-forked" in ids_at(audit(run), "ash")


def test_half_the_noise_with_fresh_heads_is_still_not_the_plan(run: Path) -> None:
    rewritten(run, "ash", changed(steps_of(run, "ash"), "reserve", half))
    fresh_heads(run, "ash")
    assert {"charge-mismatch"} <= ids_at(audit(run), "ash")


def test_half_the_noise_at_every_site_is_not_the_plan_either(run: Path) -> None:
    for site in SITES:
        rewritten(run, site, changed(steps_of(run, site), "reserve", half))
        fresh_heads(run, site)
    found = audit(run)
    assert all("charge-mismatch" in ids_at(found, site) for site in SITES)
    assert {"noise-too-small", "epsilon-understated"} <= ids(found, "critical")


def unwitnessing(steps: Steps) -> Steps:
    return [step for step in steps if step[0] != "witness"]


def test_removed_witness_entries_shift_what_was_shown(run: Path) -> None:
    """A site that helps a peer to cut its ledger forgets what it has seen; its own heads remember."""
    rewritten(run, "ash", unwitnessing(steps_of(run, "ash")))
    assert ids_at(audit(run), "ash") & {"ledger-rewritten", "ledger-truncated"}


def test_removed_witness_entries_without_any_receipt_of_them_are_known_to_peers(run: Path) -> None:
    rewritten(run, "ash", unwitnessing(steps_of(run, "ash")))
    fresh_heads(run, "ash")
    assert ids_at(audit(run), "ash") & {"ledger-rewritten", "ledger-truncated"}


def test_removed_witness_entries_are_found_without_peers_by_the_heads_that_receipts_lack(run: Path) -> None:
    """Nobody is left who saw them; but a receipt of a round without a head is no receipt of ours."""
    rewritten(run, "ash", unwitnessing(steps_of(run, "ash")))
    without_heads(run, "ash")
    for site in ("birch", "cedar"):
        journal(run, site).unlink()
    assert {"head-missing", "ledger-unwitnessed"} <= ids_at(audit(run), "ash")


def test_a_head_that_is_missing_from_one_receipt_is_found(run: Path) -> None:
    with receipts(run) as lines:
        del lines[1]["heads"]["ash"]
    found = audit(run)
    assert (found.verdict, ids_at(found, "ash")) == ("fail", {"head-missing"})


def test_two_sites_that_swap_ledgers_and_names_are_found(run: Path) -> None:
    one, other = journal(run, "ash"), journal(run, "birch")
    copyfile(one, run / "kept")
    copyfile(other, one)
    copyfile(run / "kept", other)
    assert all("ledger-swapped" in ids_at(audit(run), site) for site in ("ash", "birch"))


def test_the_ledger_of_another_run_does_not_pass(run: Path, evaluated: Path) -> None:
    copyfile(journal(evaluated, "ash"), journal(run, "ash"))
    assert {"ledger-key", "run-unreserved"} <= ids_at(audit(run), "ash") | {"run-unreserved"}
    found = audit(run)
    assert found.verdict == "fail"
    assert "ledger-key" in ids_at(found, "ash")


def test_the_receipts_of_another_plan_do_not_pass(run: Path, evaluated: Path) -> None:
    copyfile(evaluated / "receipts.jsonl", run / "receipts.jsonl")
    assert "receipt-of-another-run" in ids(audit(run), "critical")


def test_a_whole_other_run_under_this_plan_does_not_pass(run: Path, evaluated: Path) -> None:
    for name in ("receipts.jsonl", "report.json", "params.safetensors", "roster.toml"):
        copyfile(evaluated / name, run / name)
    assert {"receipt-of-another-run", "ledger-key"} <= ids(audit(run), "critical")


def test_the_name_of_the_run_cannot_be_changed_everywhere_at_the_servers(run: Path) -> None:
    with receipts(run) as lines:
        for line in lines:
            line["run"] = "ab" * 16
    assert all("run-unreserved" in ids_at(audit(run), site) for site in SITES)


@pytest.mark.parametrize("serial", [0, 1])
def test_a_roster_with_an_extra_site_was_accepted_by_nobody(run: Path, serial: int) -> None:
    """With the serial of the true one, or passed off as an older one that came before."""
    key = public_identity(Ed25519PrivateKey.generate())
    resigned(run, lambda roster: [*roster.entries, Entry("zoe", "zoe", key, 30)], serial)
    assert all("ledger-roster" in ids_at(audit(run), site) for site in SITES)


def test_a_roster_with_a_key_replaced_is_not_the_one_the_ledgers_know(run: Path) -> None:
    key = public_identity(Ed25519PrivateKey.generate())
    resigned(
        run,
        lambda roster: [
            Entry(e.site, e.organization, key if e.site == "ash" else e.key, e.size) for e in roster.entries
        ],
    )
    found = audit(run)
    assert {"ledger-key", "ledger-roster"} <= ids_at(found, "ash")
    assert "ledger-roster" in ids_at(found, "birch")


def test_a_round_that_server_and_report_leave_out_together_is_found(run: Path) -> None:
    """Receipts and report agree; the plan and the ledgers do not."""
    with receipts(run) as lines:
        del lines[ROUNDS - 1]
        lines[-1]["params"] = lines[-2]["params_after"]

    def shorter(report: dict[str, Any]) -> None:
        del report["rounds"][-1], report["history"][-1]

    found = edited_report(run, shorter)
    assert {"receipt-missing", "closing-mismatch", "params-mismatch"} <= ids(found, "critical")


def test_a_survivor_that_server_and_report_leave_out_together_is_found(run: Path) -> None:
    with receipts(run) as lines:
        lines[1]["survivors"] = ["ash", "birch"]
    found = edited_report(run, lambda report: report["rounds"][1].update(survivors=2))
    assert "round-survivors" in ids(found, "critical")


def test_other_params_in_all_files_of_the_server_are_not_what_the_ledgers_closed_with(run: Path) -> None:
    with receipts(run) as lines:
        lines[-1]["params"] = lines[-2]["params_after"] = "11" * 32
    assert {"closing-mismatch", "params-mismatch"} <= ids(audit(run), "critical")


def test_a_finished_run_cannot_pass_for_one_that_has_not_ended(run: Path) -> None:
    """Then nobody would miss its last round, or what was published of it."""
    with receipts(run) as lines:
        del lines[ROUNDS - 1 :]
    assert {"closing-missing", "params-mismatch"} <= ids(audit(run), "critical")
    (run / "params.safetensors").unlink()
    assert "params-unreadable" in ids(audit(run), "critical")


def test_a_reservation_that_claims_to_be_somebody_elses_run_is_found(run: Path) -> None:
    """All its entries are of another run: for this one it charged nothing."""
    steps = [
        (kind, {**body, "run": "cd" * 16} if "run" in body else body) for kind, body in steps_of(run, "ash")
    ]
    rewritten(run, "ash", steps)
    assert {"run-unreserved"} <= ids_at(audit(run), "ash")


def test_a_second_ledger_of_the_site_that_is_handed_in_cannot_hide_the_first(run: Path) -> None:
    copyfile(journal(run, "ash"), run.parent / "copy.sqlite")
    longer = [*steps_of(run, "ash"), ("roster", {"serial": 2**53 - 1, "root": "00" * 32})]
    rewritten(run, "ash", changed(longer, "release", lambda _: {"commitment": "00" * 32}))
    assert "ledger-forked" in ids_at(audit(run, [run.parent / "copy.sqlite"]), "ash")


def test_the_same_ledger_twice_is_one(run: Path) -> None:
    copyfile(journal(run, "ash"), run.parent / "copy.sqlite")
    assert audit(run, [run.parent / "copy.sqlite", run.parent / "copy.sqlite"]).findings == ()


def test_a_ledger_that_ends_earlier_than_a_receipt_is_short_though_its_server_agrees(run: Path) -> None:
    stored(journal(run, "ash"), load_entries(journal(run, "ash"))[:-1])
    with receipts(run) as lines:
        lines[-1]["heads"].pop("ash")
    found = audit(run)
    assert "run-open" in ids_at(found, "ash")
    assert json.loads(json.dumps(found.to_json()))["findings"]
