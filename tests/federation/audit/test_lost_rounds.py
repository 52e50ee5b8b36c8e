"""An audit of a run with a lost round: it is no gap, it moved nothing, and what it cost is counted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from federation.audit.examine import audit
from federation.audit.outcome import Sums
from federation.sums.transcript.record import transcripts_of
from simulations import messages
from simulations.world import InProcess
from tests.federation.audit.audited import edited_report, finished, ids, receipts
from tests.stories.liars import BadDealer
from tests.worlds import text_of

TEXT = text_of(noise="distributed", sample_rate=0.5, rounds=3)
Receives = Mapping[str, Callable[[bytes], bytes]]


@contextmanager
def liars() -> Iterator[None]:
    """Ash deals shares to cedar and dogwood that do not open: round 1 is lost, and ash is left out."""

    def carrier(receives: Receives) -> InProcess:
        return InProcess(
            {
                **receives,
                "ash": BadDealer(receives["ash"], ("cedar", "dogwood"), levels=1),
            }  # charged in round 1
        )

    with patch.object(messages, "InTurn", carrier):
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with liars():
        return finished(tmp_path_factory.mktemp("lost"), "protocol", TEXT, sites=5)


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def test_a_lost_round_is_told_and_fails_nothing(run: Path) -> None:
    found = audit(run)
    assert found.verdict == "pass"
    assert "round-without-sum" in ids(found, "warning")
    assert not ids(found, "critical")
    assert {site.id: site.training.executed for site in found.sites if site.training is not None} == {
        "ash": 1, "birch": 3, "cedar": 2, "dogwood": 2, "elm": 3,
    }  # fmt: skip


def test_its_page_says_so_in_words(run: Path) -> None:
    page = (run / "report.html").read_text("utf-8")
    assert "Round 1 has no sum, and what it cost stays charged: cedar (share), dogwood (share)." in page


def changed(run: Path, change: Callable[[dict[str, Any]], object]) -> set[str]:
    with receipts(run) as lines:
        change(lines[0])
    return ids(audit(run), "critical")


STRANGER = {"cohort": ["ash", "birch", "zebra"], "charged": [], "reasons": {}}


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda line: line.update(params_after="00" * 32), "params-chain"),
        (lambda line: line["void"][0].update(STRANGER), "receipt-cohort"),
        (lambda line: line["void"][0].update(charged=["zebra"]), "receipt-invalid"),
        (lambda line: line["void"][0].update(reasons={"zebra": "share"}), "receipt-invalid"),
        (lambda line: line["void"][0].update(more=1), "receipt-invalid"),
        (lambda line: line.update(accused=[["ash", "ash"]]), "receipt-invalid"),
        (lambda line: line.update(accused=[["ash"]]), "receipt-invalid"),
        (lambda line: line.update(proven=[7]), "receipt-invalid"),
        (lambda line: line.update(void=[]), "receipt-cohort"),
        (lambda line: line.update(cohort=["birch", "cedar", "dogwood", "elm"], void=[]), "round-question"),
        (lambda line: line.update(survivors=["ash", "birch", "cedar", "dogwood"]), "round-uncharged"),
    ],
    ids=[
        "moved params", "a stranger", "charged a stranger", "lost a stranger", "unknown field", "accuses itself",
        "no pair", "no name", "no attempt", "another cohort", "a sum after all",
    ],
)  # fmt: skip
def test_a_receipt_of_a_lost_round_that_does_not_fit_is_found(
    change: Callable[[dict[str, Any]], object], finding: str, run: Path
) -> None:
    assert finding in changed(run, change)


def test_a_report_that_hides_a_lost_round_is_found(run: Path) -> None:
    found = edited_report(run, lambda report: report["rounds"][0].pop("lost"))
    assert "report-mismatch" in ids(found, "critical")


def test_the_sums_that_there_are_are_proven_and_params_followed_past_the_lost_round(run: Path) -> None:
    """The params that the run began with are in the first transcript that there is."""
    found = audit(run)
    assert found.sums == Sums(opened=2, verified=2, followed=2)
    assert [path.name for path in transcripts_of(run)] == ["0002.transcript", "0003.transcript"]


def test_a_round_with_a_sum_cannot_be_told_as_a_lost_one(run: Path) -> None:
    """Its transcript is no longer named, and the next round began with params that nothing gives."""
    with receipts(run) as lines:
        lines[1].update(survivors=[], params_after=lines[1]["params_before"], void=lines[0]["void"])
        del lines[1]["transcript"]
    found = audit(run)
    assert {"params-chain", "transcript-unnamed"} <= ids(found)
    assert found.verdict == "fail"
    assert found.sums.followed == 0
