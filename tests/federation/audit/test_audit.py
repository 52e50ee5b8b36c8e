"""An audit passes an honest run of any kind, and says what it did not look at."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import patch

import pytest

from federation.audit.examine import audit
from federation.errors import UnusableFile
from federation.ledger.export import load_entries
from tests.federation.audit.audited import (
    ROUNDS,
    SITES,
    TEXT,
    finished,
    ids,
    ids_at,
    journal,
    lossy,
    receipts,
)


def test_an_honest_run_passes_with_nothing_found(protocol: Path) -> None:
    found = audit(protocol)
    assert found.verdict == "pass"
    assert found.findings == ()
    assert found.entries_verified == sum(len(load_entries(journal(protocol, site))) for site in SITES)
    claimed, recomputed = found.training.claimed, found.training.recomputed
    assert claimed is not None and recomputed is not None
    assert recomputed.lower <= claimed <= recomputed.upper + 1e-3


def test_a_run_without_masks_passes_too_as_long_as_its_end_holds_the_heads(tmp_path: Path) -> None:
    run = finished(tmp_path, "vectorized")
    assert audit(run).findings == ()
    with receipts(run) as lines:
        del lines[-1]["heads"]["ash"]
    assert ids_at(audit(run), "ash") == {"head-missing", "ledger-unwitnessed"}


def test_a_run_from_before_the_default_of_tau_changed_is_verified_as_what_it_was(tmp_path: Path) -> None:
    run = finished(tmp_path, "vectorized", TEXT.replace("[server]", "[server]\ntau = 0.001"))
    plan = run / "plan.toml"
    plan.write_text(plan.read_text().replace("tau = 0.001\n", ""))
    found = audit(run)
    assert (found.verdict, ids(found)) == ("pass", {"plan-older"})


def test_the_answer_is_what_the_interface_promises(protocol: Path) -> None:
    answer = json.loads(json.dumps(audit(protocol).to_json(), allow_nan=False))
    assert answer["verdict"] == "pass"
    assert answer["findings"] == []
    assert answer["epsilon"]["claimed"] == pytest.approx(answer["epsilon"]["recomputed"], abs=2e-3)
    assert isinstance(answer["entries_verified"], int)
    assert [site["id"] for site in answer["sites"]] == list(SITES)
    steps = {"planned": ROUNDS, "charged": ROUNDS, "executed": ROUNDS}
    assert all(site["steps"] == steps for site in answer["sites"])
    assert answer["units"]["client"] == {"training": None, "evaluation": None, "total": None}
    assert answer["units"]["patient"]["total"] > answer["units"]["record"]["total"]
    assert answer["evaluation"] is None


def test_a_finding_has_the_four_fields_of_the_interface(run: Path) -> None:
    journal(run, "ash").unlink()
    finding = audit(run).to_json()["findings"][0]
    assert finding.keys() == {"id", "severity", "site", "detail"}


def test_it_says_what_it_did_not_check(protocol: Path) -> None:
    told = " ".join(audit(protocol).not_checked)
    assert "drew noise" in told and "keys that signed the roster" in told


def test_a_folder_without_plan_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match="no run folder"):
        audit(tmp_path)


def test_a_ledger_that_does_not_exist_is_a_mistake_of_the_call(run: Path) -> None:
    with pytest.raises(UnusableFile, match="no such ledger"):
        audit(run, [run / "nowhere.jsonl"])


def test_a_site_that_was_lost_in_a_round_is_no_contradiction(tmp_path: Path) -> None:
    """It released, and its update is in no sum: the charge stays."""
    with patch("simulations.world.InProcess.send", lossy()):
        run = finished(tmp_path, "protocol", sites=4)
    found = audit(run)
    assert found.verdict == "pass"
    assert "release-not-summed" in ids(found)


def test_a_run_without_privacy_claims_nothing_and_says_so(tmp_path: Path) -> None:
    text = TEXT.replace(
        'noise = "distributed"\nepsilon = 3.0\ndelta = 1e-5\nclipping_norm = 1.0', 'noise = "none"'
    )
    found = audit(finished(tmp_path, "vectorized", text))
    assert (found.verdict, ids(found)) == ("pass", {"not-private"})
    assert found.to_json()["epsilon"] == {
        "claimed": None,
        "recomputed": None,
        "at_least": None,
        "delta": None,
    }
