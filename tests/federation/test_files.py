"""A file replaced as a whole: the old content or the new, whatever happens in between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from federation.errors import UnusableFile
from federation.files import replace_file, taken_back, write_new, write_output


def test_a_file_is_made_with_its_folder_and_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    for content in (b"long content", b"short", b""):
        replace_file(path, content)
        assert path.read_bytes() == content
        assert [entry.name for entry in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("instant", ["fsync", "replace"])
def test_a_process_that_dies_on_the_way_leaves_the_old_content(
    instant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    replace_file(path, b"old")

    def die(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(*((os, "fsync", die) if instant == "fsync" else (Path, "replace", die)))
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    replace_file(path, b"newer")  # whatever was left beside it is no obstacle
    assert path.read_bytes() == b"newer"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_folder_in_the_place_of_the_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "inside").write_text("kept")
    with pytest.raises(OSError, match="directory"):
        replace_file(tmp_path / "file", b"new")
    assert (tmp_path / "file" / "inside").read_text() == "kept"


def test_an_output_that_cannot_be_written_is_a_mistake_in_its_name(tmp_path: Path) -> None:
    write_output(tmp_path / "page.html", "page")
    with pytest.raises(UnusableFile, match=r"cannot be written \(.*\); name another file") as caught:
        write_output(tmp_path / "page.html" / "below", "page")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("is_secret", [False, True])
def test_a_link_where_a_file_is_written_beside_leads_nowhere(tmp_path: Path, is_secret: bool) -> None:
    """Whoever can write to the folder could else choose what is overwritten, or read what is to be a secret."""
    other = tmp_path / "other"
    other.write_text("of somebody else")
    (tmp_path / "key.new").symlink_to(other)
    replace_file(tmp_path / "key", b"ours", is_secret=is_secret)
    assert other.read_text() == "of somebody else"
    assert not (tmp_path / "key").is_symlink()


def test_half_a_file_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "half"
    with pytest.raises(UnicodeEncodeError):
        write_new(path, "\ud800")
    assert not path.exists()
    path.write_text("mine")
    with pytest.raises(UnusableFile, match="exists already"):
        write_new(path, "other")
    assert path.read_text() == "mine"


def test_of_what_a_failure_leaves_only_what_is_new_is_taken_back(tmp_path: Path) -> None:
    link, folder = tmp_path / "link", tmp_path / "out"
    link.symlink_to(tmp_path / "nowhere")
    with (
        pytest.raises(UnusableFile, match="link: exists already"),
        taken_back(folder, (folder / "new", link)),
    ):
        write_new(folder / "new", "x")
        write_new(link, "x")
    assert link.is_symlink()
    assert not folder.exists()
