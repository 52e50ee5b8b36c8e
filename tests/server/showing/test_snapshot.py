"""Runs at a glance: true from files alone, with and without a coordinator at work."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest

from federation.cli.serving import _lines
from federation.errors import InputError
from federation.log import LOGGER, heard_by, note, to_stderr, warn
from server.showing.now import Now, read_now
from server.showing.snapshot import Glance, run_folders
from tests.worlds import text_of


def a_run(folder: Path, *lines: dict[str, Any], name: str = "heart") -> Path:
    """A run folder with these receipts, and the last line of a killed process."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.toml").write_text(text_of(name=name))
    (folder / "receipts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"round": 9')
    return folder


def receipt(number: int, *survivors: str, **more: Any) -> dict[str, Any]:
    cohort = ["ash", "birch", "cedar"]
    counts = {"bytes_up": {"ash": 5}, "bytes_down": {"ash": 7}}
    told = {"run": "ab" * 16, "round": number, "cohort": cohort, "survivors": list(survivors), "seconds": 1.5}
    return {**told, "attempts": 1, **counts, **more}


def test_rounds_of_a_plan_with_folds_are_numbered_through_all_of_them(tmp_path: Path) -> None:
    text = text_of(noise="distributed", holdout=0.0).replace(
        "[evaluation]", "[evaluation]\nepsilon = 1.0\nfolds = 2"
    )
    for folder, run, rounds in (("", "00", 1), ("fold-1", "01", 3), ("fold-2", "02", 3)):
        lines = [receipt(number, "ash", run="ab" * 15 + run) for number in range(1, rounds + 1)]
        a_run(tmp_path / folder, *lines)
        (tmp_path / folder / "plan.toml").write_text(text)
    (run,) = Glance(tmp_path)()["runs"]
    assert (run["rounds_done"], run["rounds"]) == (7, 9)
    assert [line["round"] for line in run["history"]] == list(range(1, 8))
    assert run["totals"]["ash"]["answered"] == 7


def test_rounds_who_answered_and_who_did_not_and_why(tmp_path: Path) -> None:
    void = {"attempt": 2, "reasons": {"cedar": "budget"}}
    a_run(
        tmp_path,
        receipt(1, "ash", "birch", "cedar"),
        receipt(2, "ash", "birch", void=[void]),
        receipt(3, accused=[["ash", "cedar"]], proven=["birch"]),
        {"run": "ab" * 16, "evaluation": {"accuracy": 0.8}},
    )
    now = Glance(tmp_path)()
    (run,) = now["runs"]
    assert (run["rounds_done"], run["rounds"], run["finished"]) == (3, 3, False)
    assert [line["missing"] for line in run["history"]][:2] == [{}, {"cedar": "budget"}]
    assert [line["lost"] for line in run["history"]] == [False, False, True]
    assert run["evaluation"] == {"accuracy": 0.8}
    assert run["faults"] == [
        "birch is proven to be at fault",
        "ash says that its share from cedar does not open",
    ]
    assert run["totals"]["ash"] == {"asked": 3, "answered": 2, "bytes_up": 15, "bytes_down": 21}
    assert (now["running"], now["phase"]) == (False, "interrupted")
    assert {site["id"]: site["connected"] for site in now["sites"]} == dict.fromkeys(
        ("ash", "birch", "cedar")
    )
    json.dumps(now, allow_nan=False)


def test_a_finished_run_and_several_runs(tmp_path: Path) -> None:
    for number, name in enumerate(("one", "two")):
        folder = a_run(tmp_path / name, receipt(1, "ash"), name=name)
        os.utime(folder / "plan.toml", (number, number))
        (folder / "report.json").write_text(
            json.dumps({"privacy": {"epsilon": 2.5, "together": {"epsilon": 3.0}}})
        )
    assert [path.name for path in run_folders(tmp_path)] == ["one", "two"]
    now = Glance(tmp_path)()
    assert now["phase"] == "finished"
    assert [(run["name"], run["epsilon"]) for run in now["runs"]] == [("one", 3.0), ("two", 3.0)]


def test_the_coordinator_of_one_run_says_nothing_of_the_run_beside_it(tmp_path: Path) -> None:
    done = a_run(tmp_path / "first", receipt(1, "ash"))
    (done / "report.json").write_text(json.dumps({"privacy": {}}))
    never = tmp_path / "second"
    never.mkdir()
    (never / "plan.toml").write_text(text_of(name="never"))
    os.utime(done / "plan.toml", (1, 1))
    for folder in (done, never):
        (folder / "link").mkdir()
    (never / "link" / "now.json").write_text(json.dumps({"phase": "failed", "error": "port in use"}))
    now = Glance(tmp_path)()
    assert (now["phase"], now["error"]) == ("none", None)
    assert [(run["phase"], run["begun"], run["finished"]) for run in now["runs"]] == [
        ("finished", True, True),
        ("failed", False, False),
    ]
    lines = list(_lines(now))
    assert not any(line.startswith("coordinator") for line in lines)
    assert "1 of 3 rounds, finished;" in lines[0]
    assert "0 of 3 rounds, never begun (failed);" in next(line for line in lines if "never:" in line)
    assert Glance(done)()["phase"] == "finished"


def test_what_changed_is_read_again_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_run(tmp_path, receipt(1, "ash"))
    look = Glance(tmp_path)
    assert look()["runs"][0] is look()["runs"][0]
    a_run(tmp_path, receipt(1, "ash"), receipt(2, "ash"))
    assert look()["runs"][0]["rounds_done"] == 2


def test_a_folder_without_a_run_is_an_error_of_the_call(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="holds no run"):
            Glance(folder)()


def test_what_goes_on_now_is_known_while_a_coordinator_is_at_work(tmp_path: Path) -> None:
    a_run(tmp_path, receipt(1, "ash", "birch", "cedar"))
    place = tmp_path / "link"
    place.mkdir()
    to_stderr()
    now = Now(place, ("ash", "birch", "cedar"))
    before = list(LOGGER.handlers)
    with heard_by(now.hear):
        note("ready", address="fed:1", pin="ca.crt")
        for site in ("ash", "birch"):
            note("site_connected", site=site)
        note("run_begins", run="ab" * 16, sites=["ash"], rounds=3, rounds_done=0)
        note("round_begins", run="ab" * 16, round=2, attempt=1, cohort=2, sites=["ash", "birch"])
        warn("site_lost", site="birch", reason="silent")
        descriptor = os.open(place, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        told = Glance(tmp_path)()
        assert (told["phase"], told["address"], told["round"]) == ("running", "fed:1", 2)
        assert told["cohort"] == ["ash", "birch"]
        states = {site["id"]: (site["connected"], site["reason"]) for site in told["sites"]}
        assert states == {"ash": (True, None), "birch": (True, "silent"), "cedar": (False, None)}
        note("round_ends", round=2, lost=[], epsilon=0.5)
        told = Glance(tmp_path)()
        assert (told["epsilon"], [site["reason"] for site in told["sites"]]) == (0.5, [None] * 3)
        os.close(descriptor)
        told = Glance(tmp_path)()  # killed: what it wrote last says nothing of now
        assert (told["running"], told["phase"], told["cohort"], told["round"]) == (
            False,
            "interrupted",
            [],
            None,
        )
        assert {site["connected"] for site in told["sites"]} == {None}
    assert LOGGER.handlers == before


def test_a_torn_file_of_now_is_nothing(tmp_path: Path) -> None:
    assert read_now(tmp_path) == {}
    (tmp_path / "now.json").write_text('{"phase"')
    assert read_now(tmp_path) == {}
