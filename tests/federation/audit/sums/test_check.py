"""An audit counts every sum again, and finds a server that tells of another one, or of none.

The server of these tests writes receipts, report, params and transcripts as it likes, digests included. It has no
key of a site.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree, rmtree

import pytest
import torch

from federation.audit.examine import audit
from federation.audit.outcome import Sums
from federation.audit.page import audit_lines, summed
from federation.errors import SumRefused
from federation.model.params import params_bytes, params_digest
from federation.sums.transcript.record import path_of, transcripts_of
from simulations.simulate import Engine
from tests.federation.audit.audited import finished, ids, receipts
from tests.federation.audit.sums.test_steps import moved
from tests.federation.command import Command
from tests.federation.sums.kept import LOSSY_ROUND, Parts, forged, parts_of, put, with_a_loss, with_opened
from tests.federation.sums.test_judging import poisoned
from tests.worlds import text_of

NUMBERS = (1, 2, 3, 4)


def only(run: Path) -> set[str]:
    return ids(audit(run), "critical")


def test_an_honest_run_has_all_of_its_sums_proven_and_says_so(kept: Path) -> None:
    found = audit(kept)
    assert (found.verdict, ids(found)) == ("pass", {"release-not-summed"})
    assert found.sums == Sums(opened=4, verified=4, followed=3)
    answer = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert answer["sums_verified"] == 4
    assert answer["sums"] == {"opened": 4, "verified": 4, "followed": 3, "left_out": None}
    (line,) = (line for line in audit_lines(found) if line.startswith("sums"))
    assert line.endswith(summed(found.sums))
    assert "4 of 4 sums were recomputed from what the sites signed; the params of 3 rounds follow" in line
    assert not any("figures of the evaluation" in line for line in found.not_checked)


@pytest.mark.parametrize("number", NUMBERS)
def test_one_flipped_bit_in_any_transcript_is_found(run: Path, number: int) -> None:
    path = path_of(run, number)
    data = bytearray(path.read_bytes())
    data[len(data) * number // 5] ^= 1
    path.write_bytes(bytes(data))
    assert only(run) == {"transcript-altered"}
    assert audit(run).sums.verified == 3


def test_the_command_ends_with_5_and_prints_no_traceback(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path_of(run, 1).write_bytes(b"")
    told = Command(monkeypatch, capsys)("audit", run)
    assert told.code == 5
    assert "transcript-altered" in told.out
    assert "Traceback" not in told.out + told.err


@pytest.mark.parametrize("number", NUMBERS)
def test_a_transcript_that_is_gone_or_cut_short_is_found(run: Path, number: int) -> None:
    path = path_of(run, number)
    data = path.read_bytes()
    path.unlink()
    assert only(run) == {"transcript-missing"}
    for size in (0, 20, len(data) // 2, len(data) - 1):
        put(run, number, data[:size])
        assert only(run) == {"sum-unproven"}
    path.unlink()
    path.mkdir()
    assert only(run) == {"transcript-missing"}


def test_a_server_that_keeps_no_transcripts_where_the_plan_asks_for_them_is_found(run: Path) -> None:
    rmtree(run / "rounds")
    with receipts(run) as lines:
        for line in lines:
            line.pop("transcript", None)
    assert only(run) == {"transcript-missing", "report-mismatch"}
    path = run / "report.json"
    report = json.loads(path.read_text("utf-8"))
    report["transcripts"] = {"kept": 0, "left_out": "the plan says transcripts = false"}
    path.write_text(json.dumps(report))
    assert only(run) == {"transcript-missing", "report-mismatch"}


def test_transcripts_swapped_between_rounds_are_found_with_their_digests(run: Path) -> None:
    one, other = (path_of(run, number).read_bytes() for number in (1, 3))
    put(run, 1, other)
    put(run, 3, one)
    found = audit(run)
    assert ids(found, "critical") == {"sum-unproven"}
    assert found.sums == Sums(opened=4, verified=2, followed=0)


def test_a_transcript_of_another_run_of_the_same_plan_is_found(run: Path, tmp_path: Path) -> None:
    other = with_a_loss(tmp_path / "other")
    put(run, 2, path_of(other, 2).read_bytes())
    assert only(run) == {"sum-unproven"}


def says_another_sum(parts: Parts) -> Parts:
    return replace(parts, total=bytes(len(parts.total)))


def drops_a_site(parts: Parts) -> Parts:
    return replace(parts, uploads=parts.uploads[1:])


def adds_its_own(parts: Parts) -> Parts:
    first = parts.uploads[0]
    data = bytearray(first.packed)
    data[0] ^= 1
    return replace(parts, uploads=(replace(first, packed=bytes(data)), *parts.uploads[1:]))


def names_another_mask_secret(parts: Parts) -> Parts:
    return with_opened(parts, secrets=dict.fromkeys(parts.opened.secrets, bytes(32)))


@pytest.mark.parametrize("change", [says_another_sum, drops_a_site, adds_its_own, names_another_mask_secret])
def test_a_forged_sum_is_found_under_its_own_digest(run: Path, change: Callable[[Parts], Parts]) -> None:
    forged(run, LOSSY_ROUND, change)
    found = audit(run)
    assert ids(found, "critical") == {"sum-unproven"}
    assert found.sums == Sums(opened=4, verified=3, followed=1)
    assert "the params of 1 round follow" in summed(found.sums)


def test_a_receipt_that_names_other_survivors_is_found(run: Path) -> None:
    with receipts(run) as lines:
        lines[1]["survivors"] = lines[0]["survivors"]
    assert "sum-unproven" in only(run)


def test_a_file_that_no_receipt_names_is_shown(run: Path) -> None:
    path_of(run, 9).write_bytes(path_of(run, 1).read_bytes())
    found = audit(run)
    assert (found.verdict, ids(found)) == ("pass", {"transcript-unnamed", "release-not-summed"})


@pytest.mark.parametrize("where", ["named", "lying about"])
def test_a_transcript_under_central_noise_is_refused(kept: Path, tmp_path: Path, where: str) -> None:
    run = finished(tmp_path, "protocol", text_of(noise="central", rounds=2))
    found = audit(run)
    assert found.findings == ()
    assert not (run / "rounds").exists()
    assert found.sums.verified == 0
    assert "sum not verifiable" in summed(found.sums)
    if where == "named":
        with receipts(run) as lines:
            lines[0]["transcript"] = "00" * 32
    else:
        path_of(run, 1).parent.mkdir()
        path_of(run, 1).write_bytes(path_of(kept, 1).read_bytes())
    assert "transcript-refused" in only(run)


@pytest.mark.parametrize(
    "change", [{"transcripts": False}, {"transcripts_max": 1e-9}], ids=["refused", "too large"]
)
def test_a_run_whose_plan_leaves_transcripts_out_says_why(tmp_path: Path, change: dict[str, object]) -> None:
    run = finished(
        tmp_path,
        "protocol",
        text_of(noise="distributed", rounds=2, **{f"secure_aggregation.{k}": v for k, v in change.items()}),
    )
    found = audit(run)
    assert (found.findings, found.sums.verified) == ((), 0)
    assert "transcripts" in summed(found.sums)
    assert any(line.startswith("the sums of the rounds: ") for line in found.not_checked)
    assert transcripts_of(run) == []
    report = json.loads((run / "report.json").read_text("utf-8"))
    assert report["transcripts"] == {"kept": 0, "left_out": found.sums.left_out}
    assert found.sums.left_out.split(",")[0] in (run / "report.html").read_text("utf-8")


@pytest.mark.parametrize("noise", ["site", "none"])
def test_sums_are_proven_wherever_the_noise_is_not_the_servers(tmp_path: Path, noise: str) -> None:
    run = finished(tmp_path, "protocol", text_of(noise=noise, rounds=2))
    found = audit(run)
    assert (found.verdict, found.sums) == ("pass", Sums(opened=2, verified=2, followed=2))
    assert ("sums-in-the-clear" in ids(found)) == (noise == "none")


@pytest.mark.parametrize("engine", ["vectorized"])
def test_where_nothing_was_masked_there_is_nothing_to_show(tmp_path: Path, engine: Engine) -> None:
    run = finished(tmp_path, engine, text_of(noise="distributed", rounds=2))
    found = audit(run)
    assert (found.findings, found.sums.verified) == ((), 0)
    assert "no site signed anything" in summed(found.sums)
    for name in ("report.json", "report.html", "params.safetensors"):
        (run / name).unlink()
    assert "transcript-missing" not in ids(audit(run))


def test_the_servers_word_that_nothing_was_masked_excuses_nothing(tmp_path: Path) -> None:
    """A simulation over messages whose report says that it was of the other engine."""
    run = finished(tmp_path, "protocol", text_of(noise="distributed", rounds=2))
    rmtree(run / "rounds")
    with receipts(run) as lines:
        for line in lines:
            line.pop("transcript", None)
    (run / "report.json").unlink()
    assert "transcript-missing" in only(run)


def test_forged_params_are_found_though_receipts_agree(run: Path, kept: Path) -> None:
    """Round 2 ends with params of the server's own, and round 3 begins with them, says the server."""
    own = params_digest(params_bytes(torch.zeros(3))).hex()
    with receipts(run) as lines:
        lines[1]["params_after"] = lines[2]["params_before"] = own
    found = audit(run)
    assert {"params-not-followed", "sum-unproven"} <= ids(found, "critical")
    assert found.sums.followed == 1


def test_forged_last_params_are_found_though_everything_else_agrees(run: Path) -> None:
    """Nothing but the sum tells: file, receipt, evaluation's start and closing line all name the same params."""
    moved(run)
    found = audit(run)
    assert "params-not-followed" in ids(found, "critical")
    assert found.sums.followed == 2


def test_figures_that_do_not_follow_from_the_sum_are_found(run: Path) -> None:
    with receipts(run) as lines:
        line = next(line for line in lines if "evaluation" in line)
        line["evaluation"]["loss"] *= 1 + 1e-6
    report = json.loads((run / "report.json").read_text("utf-8"))
    report["evaluation"]["published"]["loss"] *= 1 + 1e-6
    (run / "report.json").write_text(json.dumps(report))
    assert "evaluation-figures" in only(run)


def test_nothing_of_the_folder_is_changed_by_an_audit(run: Path, tmp_path: Path) -> None:
    before = copytree(run / "rounds", tmp_path / "before")
    audit(run)
    names = [path.name for path in transcripts_of(run)]
    assert sorted(path.name for path in (run / "rounds").iterdir()) == names
    assert all((before / name).read_bytes() == (run / "rounds" / name).read_bytes() for name in names)
    assert len(parts_of(run, 1).uploads) == 4


def refused_run(folder: Path) -> Path:
    """A run that ended in round 2, with a sum that no honest sites make."""
    with poisoned(), pytest.raises(SumRefused):
        finished(folder, "protocol", text_of(noise="distributed", rounds=3))
    return folder / "run"


def test_a_refused_sum_is_proven_like_any_other(tmp_path: Path) -> None:
    """What was refused, and that it was to be: the sites signed it."""
    run = refused_run(tmp_path)
    found = audit(run)
    assert found.sums == Sums(opened=2, verified=2, followed=1)
    assert "sum-refused" in ids(found, "warning")
    assert not ids(found, "critical")
    with receipts(run) as lines:
        assert lines[-1]["refused"] == 2
        lines[-1]["ratio"] *= 2
    assert only(run) == {"receipt-contradiction"}
    path_of(run, 2).write_bytes(b"")
    assert only(run) == {"transcript-altered"}


def test_a_server_that_refuses_a_sum_as_it_should_be_is_found(run: Path) -> None:
    """It would end a run, and spend its budget, at no cost."""
    with receipts(run) as lines:
        place = {name: lines[2][name] for name in ("run", "plan", "suite", "transcript")}
        del lines[2:]
        lines.append({**place, "refused": 3, "check": "norm", "ratio": 2.0})
    assert "receipt-contradiction" in only(run)


def test_what_is_odd_about_a_sum_that_was_used_is_held_against_the_sum(tmp_path: Path) -> None:
    text = text_of({"server.unlikely_sum": "report"}, noise="distributed", rounds=3)
    with poisoned():
        run = finished(tmp_path, "protocol", text)
    assert not ids(audit(run), "critical")
    with receipts(run) as lines:
        lines[1].pop("unlikely")
    assert "receipt-contradiction" in only(run)


@pytest.mark.parametrize("number", [1, 4], ids=["a round", "the evaluation"])
def test_a_receipt_that_names_other_sites_whose_excess_noise_stayed_in_is_found(
    run: Path, number: int
) -> None:
    with receipts(run) as lines:
        line = next(each for each in lines if each.get("round", 4) == number)
        line["excess_left"] = [] if line["excess_left"] else ["ash"]
    found = audit(run)
    assert any("excess noise stayed in" in each.detail for each in found.findings)
    assert "receipt-contradiction" in ids(found, "critical")
