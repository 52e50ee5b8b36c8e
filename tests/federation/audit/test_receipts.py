"""The receipts of a run and its params: no line, field or bit can be changed unnoticed."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from federation.audit.examine import audit
from federation.ledger.export import load_entries
from federation.plan.plan import parse
from server.run_folder import RunFolder
from simulations.simulate import simulate
from tests.federation.audit.audited import (
    ROUNDS,
    SITES,
    TEXT,
    ids,
    journal,
    receipts,
    steps_of,
    stored,
)
from tests.worlds import write_sites


def test_a_run_without_receipts_proves_nothing(run: Path) -> None:
    (run / "receipts.jsonl").unlink()
    assert "receipts-unreadable" in ids(audit(run), "critical")


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A run that was killed when its first round had ended, and nothing of that was on disk yet."""
    with patch.object(RunFolder, "store", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        simulate(parse(TEXT), write_sites(tmp_path / "sites", 3), tmp_path / "run", engine="protocol")
    return tmp_path / "run"


def test_a_run_that_was_stopped_in_its_first_round_is_called_that(stopped: Path) -> None:
    found = audit(stopped)
    assert (found.verdict, ids(found, "critical")) == ("pass", set())
    assert ids(found, "warning") == {"run-unfinished", "round-without-receipt", "transcript-unnamed"}
    (told,) = [each.detail for each in found.findings if each.id == "run-unfinished"]
    assert told == f"0 of {ROUNDS} rounds have a receipt: it was stopped before its first round ended"
    assert [(site.id, site.training.executed) for site in found.sites] == [(site, 1) for site in SITES]


@pytest.mark.parametrize("name", ["params.safetensors", "report.json", "state"])
def test_receipts_that_must_have_been_there_are_missed(stopped: Path, name: str) -> None:
    """A run of which anything says that it came further has lost its receipts, and is no run that has none yet."""
    if name == "state":
        (stopped / "checkpoint" / "state.safetensors").unlink()
    else:
        (stopped / name).write_text("{}")
    assert "receipts-unreadable" in ids(audit(stopped), "critical")


def test_a_removed_receipt_is_found(run: Path) -> None:
    with receipts(run) as lines:
        del lines[1]
    assert {"receipt-missing", "report-mismatch"} <= ids(audit(run), "critical")


def test_a_receipt_without_its_last_rounds_is_not_a_finished_run(run: Path) -> None:
    with receipts(run) as lines:
        del lines[ROUNDS - 1]
    assert {"receipt-missing", "closing-mismatch"} <= ids(audit(run), "critical")


def test_reordered_receipts_are_found(run: Path) -> None:
    with receipts(run) as lines:
        lines[1], lines[2] = lines[2], lines[1]
    assert "receipt-order" in ids(audit(run), "critical")


def test_a_second_story_of_a_round_is_found(run: Path) -> None:
    with receipts(run) as lines:
        lines.insert(2, {**lines[1], "params_before": "00" * 32})
    assert "receipt-contradiction" in ids(audit(run), "critical")


def test_a_receipt_written_twice_after_a_crash_is_no_contradiction(run: Path) -> None:
    with receipts(run) as lines:
        lines.insert(2, lines[1])
    found = audit(run)
    assert (found.verdict, ids(found)) == ("pass", {"receipt-replayed"})


def test_half_a_line_of_a_killed_process_is_no_contradiction(run: Path) -> None:
    path = run / "receipts.jsonl"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join([lines[0], lines[1][:90] + "\n", *lines[1:]]), "utf-8")
    found = audit(run)
    assert (found.verdict, ids(found)) == ("pass", {"receipt-damaged"})


def test_a_round_beyond_the_plan_is_found(run: Path) -> None:
    with receipts(run) as lines:
        last = lines[ROUNDS - 1]
        extra = {**last, "round": ROUNDS + 1, "params_before": last["params_after"]}
        lines.insert(ROUNDS, extra)
    assert {"receipt-beyond-plan", "round-uncharged"} <= ids(audit(run), "critical")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("run", "ff" * 16, "receipt-of-another-run"),
        ("plan", "sha256:" + "00" * 32, "receipt-of-another-run"),
        ("params_after", "00" * 32, "params-chain"),
        ("params_before", "00" * 32, "round-question"),
        ("cohort", ["ash", "birch", "cedar", "nobody"], "receipt-cohort"),
        ("cohort", ["ash", "birch"], "receipt-cohort"),
        ("survivors", ["ash"], "receipt-cohort"),
        ("survivors", ["ash", "birch"], "round-survivors"),
        ("seconds", 5.0, "report-mismatch"),
        ("bytes_up", {}, "report-mismatch"),
        ("bytes_down", {"ash": "none"}, "report-mismatch"),
        ("metrics", {"accuracy": 1.0}, "report-mismatch"),
    ],
)
def test_no_field_of_a_receipt_can_be_changed_unnoticed(
    run: Path, field: str, value: object, expected: str
) -> None:
    """DP-60."""
    with receipts(run) as lines:
        lines[1][field] = value
    found = audit(run)
    assert expected in ids(found, "critical")
    assert found.verdict == "fail"


def test_an_update_that_no_ledger_knows_is_in_no_sum(run: Path) -> None:
    with receipts(run) as lines:
        for line in lines[:-1]:
            line["cohort"] = line["survivors"] = ["ash", "birch", "cedar", "dogwood"]
    assert {"receipt-cohort", "round-survivors"} <= ids(audit(run), "critical")


def test_flipped_params_are_found(run: Path) -> None:
    content = bytearray((run / "params.safetensors").read_bytes())
    content[-3] ^= 1
    (run / "params.safetensors").write_bytes(content)
    assert "params-mismatch" in ids(audit(run), "critical")


def test_params_under_another_name_are_found(run: Path) -> None:
    content = (run / "params.safetensors").read_bytes().replace(b'"private":"true"', b'"private":"nope"')
    (run / "params.safetensors").write_bytes(content)
    assert "params-mismatch" in ids(audit(run), "critical")


def test_missing_params_are_found_once_the_run_ended(run: Path) -> None:
    (run / "params.safetensors").unlink()
    assert "params-unreadable" in ids(audit(run), "critical")


def test_an_unfinished_run_is_audited_as_far_as_it_got(run: Path) -> None:
    for name in ("params.safetensors", "report.json"):
        (run / name).unlink()
    with receipts(run) as lines:
        del lines[-1]
    for site in SITES:
        steps = [step for step in steps_of(run, site) if step[0] != "close"]
        stored(journal(run, site), load_entries(journal(run, site))[: len(steps)])
    found = audit(run)
    assert found.verdict == "pass"
    assert {"run-unfinished", "run-open"} <= ids(found)


def test_other_params_at_the_start_are_for_a_person_to_look_at(run: Path) -> None:
    with receipts(run) as lines:
        lines[0]["params_before"] = "00" * 32
    found = audit(run)
    assert "params-start" in ids(found, "warning")
    assert "round-question" in ids(found, "critical")
