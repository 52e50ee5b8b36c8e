"""The coordinator's files of a round: nothing of an unopened round is there, and a kill leaves no half of one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from federation.audit.examine import audit
from federation.errors import CheckpointError
from federation.ledger.export import load_entries
from federation.plan.plan import Plan, parse
from federation.report.receipt import Receipt
from federation.report.report import Metrics
from federation.sums.state import ServerState
from federation.sums.transcript.record import FOLDER, digest_of, path_of, transcripts_of
from privacy.secagg.messages import Vote
from privacy.secagg.opened import Upload
from server import checkpoint
from server.run_folder import RunFolder
from server.transcripts import Uploads, clean
from simulations.simulate import simulate
from tests.federation.audit.audited import ids
from tests.federation.sums.kept import digests
from tests.scale import SCALE
from tests.worlds import load_params, text_of, write_sites

TEXT = text_of(noise="distributed", rounds=3).replace("[evaluation]", "[evaluation]\nepsilon = 1.0")
PLAIN = text_of(rounds=3)


def upload(slot: int, size: int = 3 << 20) -> Upload:
    packed = bytes([slot]) * size
    return Upload(slot, Vote(bytes(32), bytes(64)), {9: bytes(48)}, packed)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


def test_what_comes_is_on_disk_without_a_name_and_gone_with_the_attempt(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / FOLDER)
    assert not (tmp_path / FOLDER).exists()
    for slot in (2, 0, 1):
        uploads.keep(upload(slot))
        assert names_in(tmp_path / FOLDER) == []
    parts = list(uploads.parts([2, 0]))
    whole = b"".join(parts)
    each = (len(whole)) // 2
    assert whole[each - 1 : each + 1] == b"\0\0"  # the end of one site's vector, the beginning of a count
    assert whole[-1] == 2
    assert max(map(len, parts)) <= 1 << 20
    uploads.close()
    assert names_in(tmp_path / FOLDER) == []
    assert list(uploads.parts([])) == []


def test_a_full_disk_ends_the_run_as_one_that_can_be_taken_up_again(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot be written") as caught:
        Uploads(tmp_path / FOLDER).keep(upload(0))
    assert caught.value.exit_code == 4


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    for name in ("0001.transcript", "0002.transcript", "0003.transcript.new", "notes.txt"):
        (folder / name).write_text(name)
    clean(tmp_path, {1: "00"})
    assert names_in(folder) == ["0001.transcript", "notes.txt"]
    clean(tmp_path / "elsewhere", {})


class Killed(BaseException):
    """The process is gone: nothing that would clean up runs after it in a real one."""


@contextmanager
def killed_at(step: int) -> Iterator[list[str]]:
    """Die at the nth durable step: a flush, a rename or an append. What was done is listed."""
    done: list[str] = []

    def dying(name: str, real: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
        def call(*words: Any, **more: Any) -> Any:
            done.append(name)
            if len(done) == step and not after:
                raise Killed
            result = real(*words, **more)
            if len(done) == step:
                raise Killed
            return result

        return call

    with (
        patch("server.transcripts.os.fsync", dying("flush", os.fsync, after=False)),
        patch.object(Path, "replace", dying("rename", Path.replace, after=step % 2 == 0)),
        patch.object(RunFolder, "_append", dying("receipt", RunFolder._append, after=step % 3 == 0)),
    ):
        yield done


def play(folder: Path, text: str) -> None:
    simulate(
        parse(text),
        folder / "sites",
        folder / "run",
        engine="protocol",
        baseline=False,
        progress=lambda *_: None,
    )


def check_agreement(run: Path) -> None:
    """What receipts name is there to the digest. What is there and not named is of a round without a receipt."""
    named = digests(run) if (run / "receipts.jsonl").exists() else {}
    for number, digest in named.items():
        assert digest_of(path_of(run, number)) == digest, number
    extra = {path.name for path in transcripts_of(run)} - {path_of(run, number).name for number in named}
    assert len(extra) <= 1


STEPS = range(1, 66, 4 if SCALE > 1 else 12)


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_durable_step_receipt_and_file_agree_and_the_run_goes_on(
    tmp_path: Path, step: int
) -> None:
    write_sites(tmp_path / "sites")
    try:
        with killed_at(step):
            play(tmp_path, TEXT)
        pytest.skip("the run has fewer steps")
    except Killed:
        pass
    run = tmp_path / "run"
    check_agreement(run)
    play(tmp_path, TEXT)
    found = audit(run)
    assert (found.verdict, found.sums.verified, found.sums.followed) == ("pass", 4, 3)
    assert ids(found) <= {"receipt-damaged"}
    assert names_in(run / FOLDER) == [f"{number:04d}.transcript" for number in (1, 2, 3, 4)]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_round_with_a_receipt_is_not_played_twice(tmp_path: Path, number: int) -> None:
    """Killed between receipt and state, the state follows from the transcript; the sites are not asked again."""
    write_sites(tmp_path / "sites")
    calls: list[int] = []
    real = checkpoint.write

    def write(folder: Path, plan: Plan, state: ServerState) -> None:
        calls.append(state.round)
        if state.round == number and calls.count(number) == 1:
            raise Killed
        real(folder, plan, state)

    with patch("server.checkpoint.write", write), pytest.raises(Killed):
        play(tmp_path, PLAIN)
    before = path_of(tmp_path / "run", number).read_bytes()
    play(tmp_path, PLAIN)
    assert path_of(tmp_path / "run", number).read_bytes() == before
    receipts = (tmp_path / "run" / "receipts.jsonl").read_text().count(f'"round": {number},')
    assert receipts == 1
    entries = load_entries(tmp_path / "run" / "journals" / "ash.sqlite")
    marks = [entry.body["round"] for entry in entries if entry.kind == "mask"]
    assert marks == [1, 2, 3]
    calm = tmp_path / "calm"
    simulate(parse(PLAIN), tmp_path / "sites", calm, engine="protocol", baseline=False)
    assert load_params(tmp_path / "run").equal(load_params(tmp_path / "calm"))


def test_a_transcript_that_is_gone_stops_a_run_before_anything_is_charged(tmp_path: Path) -> None:
    write_sites(tmp_path / "sites")
    real = RunFolder.store

    def store(self: RunFolder, state: ServerState, receipt: Receipt, metrics: Metrics) -> None:
        if receipt.round == 3:
            raise Killed
        real(self, state, receipt, metrics)

    with patch.object(RunFolder, "store", store), pytest.raises(Killed):
        play(tmp_path, PLAIN)
    path_of(tmp_path / "run", 2).unlink()
    with pytest.raises(CheckpointError, match=r"0002\.transcript is gone"):
        play(tmp_path, PLAIN)
    assert len(load_entries(tmp_path / "run" / "journals" / "ash.sqlite")) > 1
