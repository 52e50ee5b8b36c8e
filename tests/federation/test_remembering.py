"""A folder of remembered answers: this user's alone, small, replaced as a whole, and never in the way."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from federation import remembering
from federation.remembering import LONGEST, MOST, Calibrations, folder

QUESTION = "('noise', 3.0, 1e-05, 0.1, 200)"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "private-federation"


def only_file(place: Path) -> Path:
    (file,) = place.iterdir()
    return file


def test_an_answer_is_there_for_the_next_process_and_nobody_else_may_look(place: Path) -> None:
    before = os.umask(0)
    try:
        Calibrations(place).keep(QUESTION, 2179)
        Calibrations(place).keep("('curve',)", [0.5, 1.25, 1 / 3])
    finally:
        os.umask(before)
    assert Calibrations(place).recall(QUESTION) == 2179
    assert Calibrations(place).recall("('curve',)") == [0.5, 1.25, 1 / 3], "to the last bit"
    assert Calibrations(place).recall("another") is None
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in place.iterdir()} == {0o600}


def test_another_version_of_the_accountant_has_answers_of_its_own(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Calibrations(place).keep(QUESTION, 2179)
    monkeypatch.setattr(remembering, "counted_by", lambda: "the next version")
    assert Calibrations(place).recall(QUESTION) is None
    Calibrations(place).keep(QUESTION, 2180)
    monkeypatch.undo()
    assert Calibrations(place).recall(QUESTION) == 2179
    assert len(list(place.iterdir())) == 2, "side by side"


def _truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


def _another_question(file: Path) -> None:
    file.write_text(json.dumps({"question": "another", "answer": 1}))


def _long(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b" " * LONGEST)


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _link(file: Path) -> None:
    file.rename(file.with_suffix(".other"))
    file.symlink_to(file.with_suffix(".other"))


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


SPOILED: dict[str, Callable[[Path], object]] = {
    "truncated": _truncated,
    "empty": lambda file: file.write_bytes(b""),
    "binary": lambda file: file.write_bytes(bytes(range(256))),
    "deep": lambda file: file.write_bytes(b"[" * 30_000),
    "a list": lambda file: file.write_bytes(b"[1]"),
    "another question": _another_question,
    "long": _long,
    "a pipe": _pipe,
    "a link": _link,
    "a folder": _folder,
    "not ours alone": lambda file: file.chmod(0o666),
    "a folder for everybody": lambda file: file.parent.chmod(0o777),
}


@pytest.mark.parametrize("how", SPOILED)
def test_what_is_spoiled_or_foreign_is_not_read(place: Path, how: str) -> None:
    Calibrations(place).keep(QUESTION, 2179)
    SPOILED[how](only_file(place))
    assert Calibrations(place).recall(QUESTION) is None
    Calibrations(place).keep(QUESTION, 2180)  # and nothing is raised
    if how not in ("a folder", "a folder for everybody"):
        assert Calibrations(place).recall(QUESTION) == 2180, "it is replaced as a whole"


def test_a_folder_that_is_a_link_is_not_used(place: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    place.parent.mkdir()
    place.symlink_to(tmp_path / "elsewhere")
    Calibrations(place).keep(QUESTION, 2179)
    assert Calibrations(place).recall(QUESTION) is None
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_no_folder_no_home_and_no_room_are_as_if_nothing_was_remembered(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for missing in (None, tmp_path / "file" / "private-federation", Path("/proc/1/private-federation")):
        Calibrations(missing).keep(QUESTION, 2179)
        assert Calibrations(missing).recall(QUESTION) is None

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    Calibrations(place).keep("another", 1)
    monkeypatch.setattr(Path, "replace", full)
    Calibrations(place).keep(QUESTION, 2179)
    monkeypatch.undo()
    assert Calibrations(place).recall(QUESTION) is None
    assert len(list(place.iterdir())) == 1, "and nothing is left of it"


def test_the_folder_is_where_the_desktop_has_such_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ash")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/ash")
    assert folder() == Path("/var/cache/ash/private-federation")
    for unset in ("", "relative/cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert folder() == Path("/home/ash/.cache/private-federation")

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert folder() is None


def test_of_too_many_answers_the_oldest_go(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "MOST", 10)
    assert MOST > 100
    Calibrations(place).keep(QUESTION, 1)
    os.utime(only_file(place), (10**9, 10**9))
    for number in range(10):
        Calibrations(place).keep(f"question {number}", number)
    Calibrations(place).keep("one more", 1)
    assert len(list(place.iterdir())) == 7
    assert Calibrations(place).recall(QUESTION) is None
    assert Calibrations(place).recall("one more") == 1
