"""Folders of sites: what is read, what is passed over with a note, and what is refused by name."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from clients.data.folders import find_sites, mixed_hold_outs, named_for
from clients.rules.origin import TABLES
from federation.errors import DataError

ROWS = "age,cp,num\n55,1,0\n"
ZIPPED = gzip.compress(ROWS.encode(), mtime=0)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.csv"
    path.write_text(ROWS)
    return path


def test_what_is_wrong_with_a_file_of_a_folder_is_mended_in_its_reading_toml(tmp_path: Path) -> None:
    """A site.toml would be asked for keys, a pool and limits: a simulation needs none of them."""
    (tmp_path / "basel.csv").write_text(ROWS)
    (tmp_path / "cham").mkdir()
    for name in ("train.csv", "site.toml"):
        (tmp_path / "cham" / name).write_text("")
    basel, cham = find_sites(tmp_path).sites
    hint = 'set data.separator = ";" in site.toml'
    for site, told in ((basel, 'set separator = ";" in reading.toml'), (cham, hint)):
        with pytest.raises(DataError) as refused, named_for(site):
            raise DataError("no columns", hint=hint)
        assert refused.value.hint == told


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
        (["a.csv", "a.parquet"], "a is there twice, in a.csv and a.parquet"),
        (["a.csv", "a/train.csv"], "a is there twice, in a and a.csv"),
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
    for path, said in ((site, "is a file"), (site.parent / "absent", "there is no such folder")):
        with pytest.raises(DataError, match=said):
            find_sites(path)


ASIDE = [
    "README.md",
    "readme.txt",
    "LICENSE",
    "notes.txt",
    ".DS_Store",
    ".hidden.csv",
    "Thumbs.db",
    "desktop.ini",
    "~$a.csv",
]


def test_what_is_plainly_no_data_is_passed_over_and_named(tmp_path: Path) -> None:
    for name in (*ASIDE, "__pycache__/x.pyc", "__MACOSX/a.csv", "a.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(ROWS)
    for any_format in (False, True):
        found = find_sites(tmp_path, any_format=any_format)
        sites, passed = ["a"], len(ASIDE) + 2
        if any_format:  # there a text may be data
            sites, passed = ["a", "notes"], passed - 1
        assert [site.name for site in found.sites] == sites
        (note,) = found.notes
        assert f"passed over .DS_Store, .hidden.csv, LICENSE, ... ({passed} in all): no site's data" in str(
            note
        )


def test_a_folder_of_sites_alone_is_read_without_a_note(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ROWS)
    assert find_sites(tmp_path).notes == ()


def test_the_name_of_a_file_cannot_write_on_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ROWS)
    (tmp_path / ".\x1b[31m\nerror: it").write_text("")
    (note,) = find_sites(tmp_path).notes
    assert str(note).isprintable()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "clinic.gz",
            ZIPPED,
            r"clinic\.gz: is no table by its name; remove it, or name it by what it is: \.csv",
        ),
        ("clinic.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", r"clinic\.xls: is an old Office file"),
        ("clinic.sqlite", b"SQLite format 3\0", r"clinic\.sqlite: is a SQLite database"),
        ("clinic.npy", b"\x93NUMPY", "is a NumPy array"),
        ("clinic.dat", ROWS.encode(), "is no table by its name; remove it, or name it"),
        ("clinic", ROWS.encode(), "is no table by its name"),
        ("A.csv", ROWS.encode(), "a is there twice"),
        ("b/train.gz", ZIPPED, r"train\.gz: is no table by its name"),
        ("b/train.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", r"train\.xls: is an old Office file"),
    ],
)
def test_what_may_be_a_sites_data_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    (tmp_path / "a.csv").write_text(ROWS)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=expected):
        find_sites(tmp_path)


def test_a_test_file_that_cannot_be_read_is_not_left_out(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "train.csv").write_text(ROWS)
    for name in ("test.xls", "test.gz", "test.dat"):
        (tmp_path / "b" / name).write_text(ROWS)
        with pytest.raises(DataError, match=name.replace(".", r"\.")):
            find_sites(tmp_path)
        (tmp_path / "b" / name).unlink()
    (tmp_path / "b" / "test.log").write_text("")
    assert find_sites(tmp_path).sites[0].test is None


@pytest.mark.parametrize("suffix", TABLES)
def test_every_kind_of_table_is_a_sites_data(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "b").mkdir()
    for name in (f"a{suffix}", f"b/train{suffix}", f"b/TEST{suffix.upper()}"):
        (tmp_path / name).write_bytes(b"")
    a, b = find_sites(tmp_path).sites
    assert (a.name, a.train, b.name, b.train) == (
        "a",
        tmp_path / f"a{suffix}",
        "b",
        tmp_path / "b" / f"train{suffix}",
    )
    assert b.test == tmp_path / "b" / f"TEST{suffix.upper()}"


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").symlink_to(tmp_path / "gone.csv")
    with pytest.raises(DataError, match=r"a\.csv: is a link that leads nowhere"):
        find_sites(tmp_path)


def test_capitals_in_a_suffix_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "S3.CSV").write_text(ROWS)
    (tmp_path / "b").mkdir()
    for name in ("Train.CSV", "TEST.csv"):
        (tmp_path / "b" / name).write_text(ROWS)
    first, second = find_sites(tmp_path).sites
    assert (first.name, first.train.name) == ("S3", "S3.CSV")
    assert second.test is not None and (second.train.name, second.test.name) == ("Train.CSV", "TEST.csv")
    (tmp_path / "b" / "test.CSV").write_text(ROWS)
    with pytest.raises(DataError, match="keep one of them"):
        find_sites(tmp_path)


def test_a_users_own_task_has_data_of_any_format(tmp_path: Path) -> None:
    for name in (
        "a.npz",
        "b.csv.gz",
        "c/train.pt",
        "c/test.pt",
        "c/site.toml",
        "d/scan-1.dcm",
        "README.md",
        "e.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"PK")
    a, b, c, d, e = find_sites(tmp_path, any_format=True).sites
    assert [site.name for site in (a, b, c, d, e)] == ["a", "b", "c", "d", "e"]
    assert (a.train, b.train, d.train) == (tmp_path / "a.npz", tmp_path / "b.csv.gz", tmp_path / "d")
    assert (c.train, c.test, c.site_file) == tuple(
        tmp_path / "c" / name for name in ("train.pt", "test.pt", "site.toml")
    )
    (tmp_path / "a.pt").write_bytes(b"")
    with pytest.raises(DataError, match="a is there twice"):
        find_sites(tmp_path, any_format=True)


def test_hold_outs_of_two_kinds_are_named(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.csv").write_text(ROWS)
    sites = find_sites(tmp_path).sites
    assert mixed_hold_outs(tmp_path, sites, 0.2) == ()
    (tmp_path / "b" / "test.csv").write_text(ROWS)
    sites = find_sites(tmp_path).sites
    (note,) = mixed_hold_outs(tmp_path, sites, 0.2)
    assert "a, c (2 of 3 sites) hold no test file: 0.2 of their records are held out" in str(note)
    (note,) = mixed_hold_outs(tmp_path, sites, 0.0)
    assert "a, c (2 of 3 sites) hold no test file and evaluation.holdout is 0: they are not evaluated" in str(
        note
    )
    for name in ("a", "c"):
        (tmp_path / name / "test.csv").write_text(ROWS)
    assert mixed_hold_outs(tmp_path, find_sites(tmp_path).sites, 0.0) == ()


def test_a_table_in_a_sites_folder_that_nobody_reads_is_named(tmp_path: Path) -> None:
    for name in ("train.csv", "test (1).csv", "train_old.CSV", "site.toml", "readme.txt", ".x.csv"):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / name).write_text(ROWS)
    (note,) = find_sites(tmp_path).notes
    assert "a/test (1).csv, a/train_old.CSV (2 in all) are not read" in str(note)
    assert find_sites(tmp_path, any_format=True).notes == ()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_what_is_neither_file_nor_folder_is_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    for any_format in (False, True):
        with pytest.raises(DataError, match=r"a\.csv: is neither a file nor a folder"):
            find_sites(tmp_path, any_format=any_format)
