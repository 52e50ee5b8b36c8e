"""Images of a table become vectors, from files or from an archive, and what is wrong is told without a name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clients.data.encoding.pictures import encoder_of, with_files
from clients.data.load import read_table, site_data
from clients.data.populations import fingerprints_under
from clients.data.rows import shared
from clients.data.sources.reading import read
from clients.data.sources.table import Table
from clients.describing.described import describe
from clients.policy import Policy
from clients.rules.origin import Origin
from federation.errors import DataError
from federation.model.task import build_task
from federation.plan.columns.features import Picture
from federation.plan.plan import parse
from federation.plan.tabular import TabularTask
from tests.plans import TEXT

SCAN = '{ image = "hog", height = 8, width = 8, channels = 1, low = 0, high = 255, cell = 2 }'
GRAY = np.random.default_rng(5).integers(0, 256, (6, 8, 8)).astype(np.uint8)  # noqa: TID251  made-up pixels


def task_of(scan: str = SCAN) -> TabularTask:
    task = parse(TEXT.replace("age = { low = 20, high = 90 }", f"scan = {scan}")).task
    assert isinstance(task, TabularTask)
    return task


def site(folder: Path, rows: list[str] | None = None) -> Path:
    """Six patients with an image each, as a hospital would keep them."""
    (folder / "images").mkdir(parents=True)
    for number, image in enumerate(GRAY):
        Image.fromarray(image).save(folder / "images" / f"mrs-smith-{number}.png")
    rows = rows or [f"images/mrs-smith-{number}.png,{number % 4 + 1},{number % 2}" for number in range(6)]
    (folder / "train.csv").write_text("\n".join(["scan,cp,num", *rows]) + "\n", "utf-8")
    return folder / "train.csv"


def archive(path: Path) -> Path:
    numbers = np.arange(6)
    np.savez(path, scan=GRAY, cp=numbers % 4 + 1, num=numbers % 2)
    return path


def test_files_and_an_archive_of_the_same_images_are_the_same_data(tmp_path: Path) -> None:
    task = task_of()
    files, packed = read_table(site(tmp_path / "a"), task), read_table(archive(tmp_path / "a.npz"), task)
    assert torch.equal(files.data.features, packed.data.features)
    assert torch.equal(files.data.labels, packed.data.labels)
    feature = task.features[0]
    assert isinstance(feature, Picture)
    expected = encoder_of(feature)(torch.from_numpy(GRAY[:, None]).float() / 127.5 - 1)
    assert torch.allclose(files.data.features[:, :192], expected, atol=1e-6)
    assert files.data.features[:, :192].norm(dim=1) == pytest.approx(torch.ones(6))


def test_pixels_are_the_image_at_most_1_long(tmp_path: Path) -> None:
    task = task_of(SCAN.replace('"hog"', '"pixels"').replace(", cell = 2", ""))
    rows = read_table(site(tmp_path / "a"), task).data.features[:, :64]
    assert np.allclose(rows, (GRAY.reshape(6, 64) / 127.5 - 1) / math.sqrt(64), atol=1e-6)
    assert float(rows.norm(dim=1).max()) <= 1


def test_a_record_is_the_same_bits_in_every_table(tmp_path: Path) -> None:
    task = task_of()
    whole = read_table(site(tmp_path / "a"), task).data.features
    fewer = read_table(
        site(tmp_path / "b", ["images/mrs-smith-4.png,1,0", "images/mrs-smith-1.png,2,1"]), task
    )
    assert torch.equal(fewer.data.features[:, :192], whole[[4, 1], :192])


def test_an_image_may_be_missing_where_the_plan_says_so(tmp_path: Path) -> None:
    rows = ["images/mrs-smith-0.png,1,0", ",2,1", "n/a,2,1"]
    path = site(tmp_path / "a", rows)
    features = read_table(path, task_of(SCAN[:-1] + ', missing = "indicator" }')).data.features
    assert features[:, 192].tolist() == [0, 1, 1]
    assert float(features[1:, :192].abs().max()) == 0
    with pytest.raises(DataError, match=r'row 3, column "scan": names no image \(2 rows: 3, 4\)'):
        read_table(path, task_of())


def test_all_that_is_wrong_is_told_by_row_and_nobody_is_named(tmp_path: Path) -> None:
    rows = [
        *("images/mrs-smith-0.png,1,0", "images/mrs-smith-9.png,1,0", "../mrs-smith.png,1,0"),
        *("images/broken-smith.png,1,0", "images/large-smith.png,1,7"),
    ]
    path = site(tmp_path / "a", rows)
    (tmp_path / "a" / "images" / "broken-smith.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "a" / "images" / "large-smith.png")
    with pytest.raises(DataError) as wrong:
        read_table(path, task_of())
    told = str(wrong.value)
    for row, said in ((3, "not there"), (4, "leads out"), (5, "PNG or JPEG"), (6, "not of 8 x 8")):
        assert f'row {row}, column "scan"' in told
        assert said in told
    assert 'row 6, column "num"' in told
    assert "smith" not in told
    assert "7" not in told.split("num")[1]


def test_an_archive_with_images_of_another_size_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, scan=np.zeros((2, 8, 9), np.uint8), cp=np.ones(2, int), num=np.zeros(2, int))
    with pytest.raises(DataError, match=r'row 0, column "scan": is not of 8 x 8 pixels \(2 rows: 0, 1\)'):
        read_table(Origin.of(path), task_of())
    np.savez(path, scan=np.full((2, 8, 8), np.nan), cp=np.ones(2, int), num=np.zeros(2, int))
    with pytest.raises(DataError, match="not a finite number"):
        read_table(Origin.of(path), task_of())


def test_a_copy_under_another_name_is_noted_and_known_by_the_registry(tmp_path: Path) -> None:
    """A budget belongs to people: an image in another folder, under another name, is the same record."""
    task, secret = task_of(), bytes(32)
    own = read_table(site(tmp_path / "a"), task)
    assert own.contents is not None
    assert own.file.notes == ()
    again = site(tmp_path / "b", ["images/copy.png,5,0".replace("5", "2"), "images/mrs-smith-1.png,2,1"])
    (tmp_path / "b" / "images" / "copy.png").write_bytes(
        (tmp_path / "b" / "images" / "mrs-smith-1.png").read_bytes()
    )
    other = read_table(again, task)
    (note,) = other.file.notes
    assert 'column "scan": 1 row show an image that an earlier row shows (3)' in str(note)
    (tmp_path / "b" / "images" / "new.png").write_bytes(
        (tmp_path / "a" / "images" / "mrs-smith-3.png").read_bytes()
    )
    (tmp_path / "b" / "train.csv").write_text("scan,cp,num\nimages/new.png,4,1\n")
    renamed = read_table(tmp_path / "b" / "train.csv", task)
    assert renamed.table is not None
    assert renamed.contents is not None
    known = fingerprints_under(secret, own.contents)
    assert fingerprints_under(secret, renamed.contents) <= known
    assert not fingerprints_under(secret, renamed.table) <= known
    plan = parse(TEXT.replace("age = { low = 20, high = 90 }", f"scan = {SCAN}"))
    policy = Policy(
        epsilon_max=5.0, delta_max=1e-5, cohort_minimum=3, noise=("distributed",), plans=(plan.digest,)
    )
    assert own.table is not None
    table, files = site_data(tmp_path / "b" / "train.csv", None, plan, build_task(plan), policy).tables
    assert table == renamed.contents
    assert isinstance(files, Table)
    assert fingerprints_under(secret, files) <= fingerprints_under(secret, with_files(own.table, "scan"))


def test_other_images_at_the_same_places_of_an_archive_are_other_records(tmp_path: Path) -> None:
    """Else a second pool of a site would be refused for what is not there: its entry 0 beside that of the first."""
    numbers = np.arange(6)
    own = read_table(archive(tmp_path / "a.npz"), task_of())
    for name, images in (("b.npz", 255 - GRAY), ("c.npz", GRAY)):
        np.savez(tmp_path / name, scan=images, cp=numbers % 4 + 1, num=numbers % 2)
    others, same = (read_table(tmp_path / name, task_of()) for name in ("b.npz", "c.npz"))
    known, new, again = (
        fingerprints_under(bytes(32), each.contents or tmp_path) for each in (own, others, same)
    )
    assert not known & new
    assert known == again


@pytest.mark.parametrize(
    "make", [lambda folder: site(folder / "a"), lambda folder: archive(folder / "a.npz")]
)
def test_under_a_plan_that_sees_images_otherwise_the_records_are_the_same(make: Any, tmp_path: Path) -> None:
    """Else the same file would come with a second budget, by a plan with larger cells."""
    place = make(tmp_path)
    fine, coarse = (read_table(place, task_of(SCAN.replace("cell = 2", f"cell = {cell}"))) for cell in (2, 4))
    seen = [fingerprints_under(bytes(32), each.contents or tmp_path) for each in (fine, coarse)]
    assert not seen[0] & seen[1]
    tables = [each.table for each in (fine, coarse) if each.table is not None]
    first, second = (fingerprints_under(bytes(32), with_files(table, "scan")) for table in tables)
    assert first == second
    assert len(first) == len(GRAY)


def test_sites_that_number_their_files_alike_do_not_hold_the_same_records(tmp_path: Path) -> None:
    first, other = site(tmp_path / "a"), site(tmp_path / "b")
    copy = site(tmp_path / "c")
    for number, image in enumerate(255 - GRAY[::-1].copy()):
        Image.fromarray(image).save(other.parent / "images" / f"mrs-smith-{number}.png")
    marks = [describe(read(path), task_of()).marks for path in (first, other, copy)]
    (found,) = shared(marks)
    assert (found.first, found.second, found.is_same) == (0, 2, True)
