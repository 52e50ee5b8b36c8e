"""A row names a file in the folder of its table, and no other file of the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clients.data.images.form import NoImage
from clients.data.images.opened import inside


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an image in it, and a secret beside it."""
    (tmp_path / "secret.png").write_bytes(b"secret")
    inner = tmp_path / "site"
    (inner / "images").mkdir(parents=True)
    (inner / "images" / "a.png").write_bytes(b"a")
    return inner


def test_a_file_is_seen_from_the_table(folder: Path) -> None:
    assert inside(folder, "images/a.png").read_bytes() == b"a"
    assert inside(folder, "./images/a.png").read_bytes() == b"a"
    (folder / "link.png").symlink_to(folder / "images" / "a.png")
    assert inside(folder, "link.png").read_bytes() == b"a"


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "images/../../secret.png",
        "/etc/passwd",
        "..\\secret.png",
        "a\0.png",
        "images/\x1b[2J.png",
    ],
)
def test_a_path_out_of_the_folder_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(NoImage, match="leads out"):
        inside(folder, name)


def test_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "elsewhere").symlink_to(folder.parent)
    for name in ("link.png", "elsewhere/secret.png"):
        with pytest.raises(NoImage, match="link that leads out"):
            inside(folder, name)


def test_what_is_no_file_is_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    (folder / "round.png").symlink_to(folder / "round.png")
    for name in ("pipe.png", "images", "."):
        with pytest.raises(NoImage, match="names no file"):
            inside(folder, name)
    for name in ("round.png", "absent.png", "a" * 5000):
        with pytest.raises(NoImage, match="not there"):
            inside(folder, name)


def test_a_huge_file_is_refused(folder: Path) -> None:
    with (folder / "huge.png").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(NoImage, match="larger than 256 MiB"):
        inside(folder, "huge.png")
