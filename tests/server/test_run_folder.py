"""A run folder: claimed by one plan, resumed after a crash at any place, complete at the end."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors import safe_open

from federation.errors import CheckpointError
from federation.identity.roster_file import load_roster
from federation.model.task import build_task
from federation.report.receipt import Receipt
from federation.sums.state import ServerState
from privacy.ledger.heads import Head
from privacy.roster import Entry, Roster, SignedRoster
from privacy.signing import public_identity
from server.playing import RESERVED
from server.run_folder import RunFolder
from tests import ROOT
from tests.worlds import load_params, plan_of, start, text_of

TEXT = text_of()
PLAN = plan_of()


def report(number: int, seconds: float = 0.5) -> Receipt:
    names = ("ash", "birch", "cedar")
    bytes_up, bytes_down = dict.fromkeys(names, 10), dict.fromkeys(names, 20)
    return Receipt(
        round=number, attempts=1, cohort=names, survivors=names, seconds=seconds, bytes_up=bytes_up,
        bytes_down=bytes_down, params_before="00", params_after="11",
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.open(tmp_path / "runs" / "one", PLAN, TEXT)


def after(state: ServerState, number: int) -> ServerState:
    return replace(state, round=number)


def test_a_folder_keeps_the_plan_s_text(folder: RunFolder) -> None:
    assert (folder.path / "plan.toml").read_text() == TEXT
    assert not folder.is_finished


def test_the_same_plan_takes_a_folder_up_again_whatever_its_comments(folder: RunFolder) -> None:
    RunFolder.open(folder.path, PLAN, "# another layout\n" + TEXT)
    assert (folder.path / "plan.toml").read_text() == TEXT


@pytest.mark.parametrize("key", ["seed", "rounds", "learning_rate"])
def test_another_plan_or_seed_is_refused(folder: RunFolder, key: str) -> None:
    with pytest.raises(CheckpointError, match="another plan or seed") as caught:
        RunFolder.open(folder.path, plan_of(**{key: 8}), text_of(**{key: 8}))
    assert caught.value.exit_code == 2  # the call is wrong, and nothing is wrong with the folder


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(CheckpointError, match="is not empty and holds no run") as caught:
        RunFolder.open(tmp_path, PLAN, TEXT)
    assert caught.value.exit_code == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written") as caught:
        RunFolder.open(tmp_path / "run", PLAN, TEXT)
    assert caught.value.exit_code == 2


def test_a_process_killed_while_it_claimed_the_folder_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "plan.toml.new").write_text(TEXT[:50])
    folder = RunFolder.open(tmp_path, PLAN, TEXT)
    assert (folder.path / "plan.toml").read_text() == TEXT


def test_one_process_at_a_time_is_at_work_in_a_folder(folder: RunFolder) -> None:
    """The kernel keeps the lock, so a process that was killed is in nobody's way."""
    code = (
        "from pathlib import Path; from server.run_folder import RunFolder; import sys, tests.worlds as w\n"
    )
    code += (
        "with RunFolder(Path(sys.argv[1]), w.plan_of()).alone(): print('in', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(folder.path)]
    with Popen(words, stdin=PIPE, stdout=PIPE, text=True, cwd=ROOT) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(CheckpointError, match="another process is at work in") as caught, folder.alone():
            raise AssertionError("two at once")
        assert caught.value.exit_code == 4
        other.kill()
    with folder.alone():
        pass


def test_a_fresh_run_gets_an_id_of_its_own_that_stays(tmp_path: Path) -> None:
    states = [RunFolder.open(tmp_path / name, PLAN, TEXT).state(start(PLAN)) for name in ("a", "b")]
    assert states[0].run != states[1].run
    again = RunFolder.open(tmp_path / "a", PLAN, TEXT).state(torch.zeros_like(start(PLAN)))
    assert again.run == states[0].run
    assert torch.equal(again.params, start(PLAN)), "the stored params count, not those passed"


def test_a_resumed_run_skips_every_attempt_that_may_have_been_made(folder: RunFolder) -> None:
    assert [folder.state(start(PLAN)).attempt for _ in range(3)] == [0, RESERVED, 2 * RESERVED]


def test_finished_rounds_have_receipts_one_json_object_a_line(folder: RunFolder) -> None:
    state = folder.state(start(PLAN))
    for number in (1, 2):
        folder.store(after(state, number), report(number), {"accuracy": 0.5, "auc": None})
    assert folder.state(start(PLAN)).round == 2
    text = (folder.path / "receipts.jsonl").read_text()
    assert [json.loads(line)["round"] for line in text.splitlines()] == [1, 2]
    assert text.endswith("\n")
    first = folder.receipts()[0]
    assert first.metrics == {"accuracy": 0.5, "auc": None}
    assert first.survivors == ("ash", "birch", "cedar")


def test_the_receipt_is_written_before_the_state(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a round could be over without one."""
    state = folder.state(start(PLAN))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("server.checkpoint.write", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.store(after(state, 1), report(1), {})
    assert [entry.round for entry in folder.receipts()] == [1]


@pytest.mark.parametrize("torn", ['{"round": 2, "attem', '{"round": 2}', "\n", ""])
def test_a_line_that_a_killed_process_left_harms_no_receipt(folder: RunFolder, torn: str) -> None:
    state = folder.state(start(PLAN))
    folder.store(after(state, 1), report(1), {})
    with (folder.path / "receipts.jsonl").open("a") as file:
        file.write(torn)
    folder.store(after(state, 2), report(2, seconds=7.0), {})
    assert [(entry.round, entry.seconds) for entry in folder.receipts()] == [(1, 0.5), (2, 7.0)]


def test_of_a_round_that_was_played_again_the_last_receipt_counts(folder: RunFolder) -> None:
    state = folder.state(start(PLAN))
    for seconds in (7.0, 9.0):
        folder.store(after(state, 1), report(1, seconds), {})
    assert [(entry.round, entry.seconds) for entry in folder.receipts()] == [(1, 9.0)]


def test_a_receipt_that_says_too_little_is_an_error_that_names_the_field(folder: RunFolder) -> None:
    (folder.path / "receipts.jsonl").write_text('{"round": 1, "attempts": 1}\n')
    with pytest.raises(
        CheckpointError, match=r"receipts\.jsonl holds no receipt as we write them, at cohort"
    ):
        folder.receipts()


def test_there_are_no_receipts_before_the_first_round(folder: RunFolder) -> None:
    assert folder.receipts() == []


@pytest.mark.parametrize(
    ("left", "lost"),
    [
        (("receipts.jsonl",), "checkpoint/state.safetensors"),
        (("receipts.jsonl", "report.json"), "params.safetensors"),
    ],
    ids=["begun", "finished"],
)
def test_a_run_without_its_state_is_not_begun_a_second_time(
    folder: RunFolder, left: tuple[str, ...], lost: str
) -> None:
    """It would be charged a second time; the file that is missing is named, not the budget."""
    folder.require_whole()
    for name in left:
        (folder.path / name).touch()
    with pytest.raises(CheckpointError, match=f"{lost} is gone"):
        folder.require_whole()


def test_params_are_written_by_name_with_the_plan_they_came_from(folder: RunFolder) -> None:
    params = torch.linspace(0, 1, start(PLAN).numel())
    folder.write_params(build_task(PLAN).model(), params)
    with safe_open(folder.path / "params.safetensors", framework="pt") as file:
        assert set(file.keys()) == {"weight", "bias"}
        assert file.metadata() == {"plan": PLAN.digest, "private": "false"}
        flat = torch.cat([file.get_tensor("weight").reshape(-1), file.get_tensor("bias")])
    assert torch.equal(flat, params)
    assert torch.equal(load_params(folder.path), params)


def test_a_run_is_finished_when_its_params_are_there_and_its_state_is_gone(folder: RunFolder) -> None:
    folder.state(start(PLAN))
    folder.write_params(build_task(PLAN).model(), start(PLAN))
    assert not folder.is_finished
    folder.close()
    assert RunFolder(folder.path, PLAN).is_finished
    assert not (folder.path / "checkpoint").exists()


def test_a_process_killed_while_it_closed_the_folder_has_finished(folder: RunFolder) -> None:
    """The state's file goes first or last; an empty folder that is left must not begin a second run."""
    folder.state(start(PLAN))
    folder.write_params(build_task(PLAN).model(), start(PLAN))
    (folder.path / "checkpoint" / "state.safetensors").unlink()
    assert folder.is_finished


def head_of(site: str, seq: int) -> Head:
    return Head(site, bytes(32), seq, bytes([seq]) * 32, bytes(64))


def test_the_heads_of_all_receipts_are_remembered_older_ones_first(folder: RunFolder) -> None:
    """DP-34: a server that was started anew still knows what the sites showed."""
    assert folder.heads() == ()
    state = folder.state(start(PLAN))
    told = [{name: head_of(name, seq) for name in ("birch", "ash")} for seq in (1, 2)]
    for number, heads in enumerate(told, start=1):
        shown = {name: head.to_json() for name, head in heads.items()}
        folder.store(after(state, number), report(number).model_copy(update={"heads": shown}), {})
    folder.store_closing(after(state, 2), {"ash": head_of("ash", 3)})
    assert folder.heads() == (
        head_of("ash", 1), head_of("birch", 1), head_of("ash", 2), head_of("birch", 2), head_of("ash", 3),
    )  # fmt: skip
    assert [entry.round for entry in folder.receipts()] == [1, 2]  # a closing line is no round


def test_the_roster_that_a_run_goes_by_is_kept_with_its_signatures(folder: RunFolder) -> None:
    key = Ed25519PrivateKey.generate()
    roster = SignedRoster.by(Roster(4, (Entry("ash", "Ash", public_identity(key), 30),)), [key])
    folder.write_roster(roster)
    assert load_roster(folder.path / "roster.toml") == roster
