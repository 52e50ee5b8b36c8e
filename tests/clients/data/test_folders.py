"""Folders of sites: what is read, what is passed over with a note, and what is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from clients.data.folders import find_sites
from federation.errors import DataError

ROWS = "age,cp,num\n55,1,0\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.csv"
    path.write_text(ROWS)
    return path


def test_sites_are_files_and_folders_by_name(tmp_path: Path) -> None:
    (tmp_path / "zurich.csv").write_text(ROWS)
    (tmp_path / "basel").mkdir()
    (tmp_path / "basel" / "train.csv").write_text(ROWS)
    (tmp_path / "cham").mkdir()
    for name in ("train.csv", "test.csv", "site.toml"):
        (tmp_path / "cham" / name).write_text("")
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    basel, cham, zurich = find_sites(tmp_path).sites
    assert [basel.name, cham.name, zurich.name] == ["basel", "cham", "zurich"]
    assert (basel.train, basel.test, basel.site_file) == (tmp_path / "basel" / "train.csv", None, None)
    assert (cham.test, cham.site_file) == (tmp_path / "cham" / "test.csv", tmp_path / "cham" / "site.toml")
    assert zurich.train == tmp_path / "zurich.csv"


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], "holds no sites"),
        ([".hidden.csv"], "holds no sites"),
        (["a.parquet"], "Parquet cannot be read yet; save it as CSV"),
        (["a.csv", "a/train.csv"], "a is there twice"),
        (["a/data.csv"], r"holds no train\.csv"),
        (["my site.csv"], "cannot be a site's name"),
    ],
)
def test_a_folder_that_holds_anything_else_is_one_line(
    tmp_path: Path, entries: list[str], expected: str
) -> None:
    for entry in entries:
        (tmp_path / entry).parent.mkdir(exist_ok=True)
        (tmp_path / entry).write_text(ROWS)
    with pytest.raises(DataError, match=expected):
        find_sites(tmp_path)


def test_a_folder_that_is_none_is_one_line(site: Path) -> None:
    for path in (site, site.parent / "absent"):
        with pytest.raises(DataError, match="there is no such folder"):
            find_sites(path)
