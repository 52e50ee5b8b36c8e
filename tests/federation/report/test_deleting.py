"""What a run kept of data is deleted, the record of it first; what is left is no run, and an audit finds it."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

from federation.audit.examine import audit
from federation.errors import CheckpointError, UnusableFile
from federation.files import alone_in
from federation.report.deleting import RECORD, examine, forget
from server.run_folder import RunFolder
from simulations.simulate import simulate
from tests.federation.command import Command
from tests.worlds import plan_of, text_of, write_sites

PLAN = plan_of()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forgetting")
    sites = write_sites(folder / "sites")
    (folder / "plan.toml").write_text(text_of())
    simulate(folder / "plan.toml", sites, folder / "run", engine="protocol", baseline=False)
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return copytree(finished, tmp_path / "run")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def unfinished(run: Path) -> Path:
    (run / "checkpoint").mkdir()
    (run / "checkpoint" / "state.safetensors").write_bytes(b"params of a round")
    (run / "params.safetensors").unlink()
    return run


def test_transcripts_go_and_model_and_record_stay(run: Path) -> None:
    before, report = names(run), (run / "report.json").read_bytes()
    gone = {f"rounds/{number:04}.transcript" for number in (1, 2, 3)}
    forget(examine(run, with_model=False))
    assert names(run) == before - gone | {RECORD}
    assert not (run / "rounds").exists()
    assert (run / "report.json").read_bytes() == report
    (told,) = json.loads((run / RECORD).read_text())["deletions"]
    assert set(told["files"]) == gone and told["time"].endswith("Z")


def test_with_the_model_nothing_is_left_of_a_simulation_but_who_took_part(run: Path) -> None:
    forget(examine(run, with_model=True))
    assert names(run) == {"plan.toml", "roster.toml", "consents.jsonl", RECORD}


def test_of_a_real_run_the_receipts_stay(run: Path) -> None:
    for journal in (run / "journals").iterdir():
        journal.unlink()
    (run / "journals").rmdir()
    forget(examine(run, with_model=True))
    assert names(run) == {"plan.toml", "roster.toml", "consents.jsonl", "receipts.jsonl", RECORD}


def test_killed_at_any_file_the_same_again_finishes_and_the_record_is_there_from_the_start(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink, left = Path.unlink, 1

    def dying(path: Path, missing_ok: bool = False) -> None:
        nonlocal left
        if path.name.startswith(RECORD):  # what a write that was killed has left
            return unlink(path, missing_ok=missing_ok)
        assert (run / RECORD).exists()
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", dying)
        with pytest.raises(KeyboardInterrupt):
            forget(examine(run, with_model=False))
    assert len(list((run / "rounds").iterdir())) == 2
    forget(examine(run, with_model=False))
    first, second = json.loads((run / RECORD).read_text())["deletions"]
    assert set(second["files"]) < set(first["files"])
    assert not (run / "rounds").exists()


def test_a_run_that_lost_its_state_by_it_is_neither_resumed_nor_begun_anew(run: Path) -> None:
    forget(examine(unfinished(run), with_model=False))
    assert not (run / "checkpoint").exists()
    with pytest.raises(CheckpointError, match=r"deleted on purpose \(forgotten.json\)"):
        RunFolder.open(run, PLAN, text_of())


def test_of_a_simulation_that_is_not_over_the_journals_go_too_with_the_last_vector(run: Path) -> None:
    forget(examine(unfinished(run), with_model=False))
    assert names(run) == {"plan.toml", "roster.toml", "consents.jsonl", "report.json", "report.html", RECORD}


def test_an_audit_tells_what_the_record_says_and_finds_what_is_missing_all_the_same(run: Path) -> None:
    assert audit(run).verdict == "pass"
    forget(examine(run, with_model=False))
    found = [(finding.id, finding.severity) for finding in audit(run).findings]
    assert found.count(("transcript-missing", "critical")) == 3
    assert ("run-forgotten", "info") in found


@pytest.mark.parametrize(
    "record", ["", "[]", "{}", '{"deletions": 3}', '{"deletions": [{"time": 1}]}', "\ud800"]
)
def test_a_record_that_cannot_be_read_is_a_finding_and_no_traceback(run: Path, record: str) -> None:
    (run / RECORD).write_text(record, "utf-8", errors="surrogatepass")
    assert "run-forgotten" in [finding.id for finding in audit(run).findings]
    forget(examine(run, with_model=False))
    assert json.loads((run / RECORD).read_text())["deletions"][-1]["files"]


def test_what_is_none_of_ours_stays_and_a_link_is_deleted_as_a_link(run: Path, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere" / "outside"
    outside.parent.mkdir()
    outside.write_text("precious")
    (run / "rounds" / "9999.transcript").symlink_to(outside)
    (run / "rounds" / "more").symlink_to(outside.parent)
    (run / "checkpoint" / "keys").mkdir(parents=True)
    (run / "checkpoint" / "keys" / "ash.key").write_text("secret")
    (run / "checkpoint.new").symlink_to(outside.parent)
    (run / "notes.txt").write_text("mine")
    (run / "rehearsals").mkdir()
    (run / "report.json.new").write_text("half")
    found = examine(run, with_model=True)
    assert found.strange == ("notes.txt",)
    forget(found)
    assert outside.read_text() == "precious" and (run / "notes.txt").exists()
    assert not (run / "rounds").exists() and not (run / "report.json.new").exists()
    assert not (run / "checkpoint").exists() and not (run / "checkpoint.new").is_symlink()


def test_what_the_folders_of_folds_hold_goes_with_the_rest(run: Path) -> None:
    copytree(run, run / "fold-1", ignore=ignore_patterns("journals"))
    found = examine(run, with_model=True)
    gone = {path.relative_to(run).as_posix() for path in found.files}
    assert {f"fold-1/{name}" for name in ("params.safetensors", "report.html", "receipts.jsonl")} <= gone
    assert any(name.startswith("fold-1/rounds/") for name in gone)
    assert "fold-1/plan.toml" in found.stays and not found.strange
    forget(found)
    assert not any((run / name).exists() for name in gone)


def test_a_folder_that_holds_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "rounds").mkdir()
    with pytest.raises(UnusableFile, match="holds no run"):
        examine(tmp_path, with_model=True)


def test_the_command_asks_names_what_goes_and_refuses_what_is_not_over_or_at_work(
    command: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = names(run)
    asked = command("forget", run)
    assert asked.code == 2 and "give --yes" in asked.err
    assert (
        "deletes  3 files" in asked.out
        and "keeps    consents.jsonl, journals, params.safetensors" in asked.out
    )
    assert "copies elsewhere" not in asked.out
    whole = command("forget", run, "--model")
    assert (
        whole.code == 2 and "copies elsewhere stay" in whole.out and "federation track, --mlflow" in whole.out
    )
    assert command("forget", run, "--json").code == 2
    with alone_in(run):
        busy = command("forget", run, "--yes")
    assert busy.code == 4 and "another process is at work" in busy.err
    assert names(run) == before
    done = command("forget", run, "--yes", "--json")
    assert done.code == 0 and len(done.json["deleted"]) == 3
    again = command("forget", run, "--yes")
    assert (again.code, again.out) == (0, f"{run}: 0 files deleted\n")
    early = command("forget", unfinished(run), "--yes")
    assert early.code == 2 and "ledger close SITE RUN" in early.err
    assert command("forget", run, "--yes", "--unfinished").code == 0
    assert not (run / "checkpoint").exists()
    assert command("forget", run.parent / "nothing", "--yes").code == 2
