"""A column of images is proposed as images are, of a table with its files or of an archive; else it is left out."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clients.data.sources.reading import read
from clients.drafting.plans import Proposal, propose
from federation.errors import DataError
from federation.plan.columns.pictures import Picture
from simulations.survey import survey

AGES = [str(30 + number % 7) for number in range(24)]
GRAY = np.arange(24 * 16 * 24, dtype=np.uint16).reshape(24, 16, 24)


def written(folder: Path, arrays: list[np.ndarray], name: str = "{}.png") -> Path:
    """A table of these images beside it, and what is predicted of them."""
    lines = ["scan,age,sick"]
    for number, array in enumerate(arrays):
        file = folder / name.format(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(file)
        lines.append(f"{name.format(number)},{AGES[number % 24]},{'yn'[number % 2]}")
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    return folder / "train.csv"


def proposed(*paths: Path) -> Proposal:
    return propose([read(path) for path in paths], "sick", "trial")


def picture(found: Proposal) -> Picture:
    (feature,) = (column.feature for column in found.columns if column.name == "scan")
    assert isinstance(feature, Picture)
    return feature


@pytest.mark.parametrize(
    ("arrays", "name", "shape"),
    [
        (list(GRAY % 256), "{}.png", (16, 24, 1, 0, 255, 2, None)),
        (list(GRAY % 4000), "in/{}.PNG", (16, 24, 1, 0, 4095, 2, None)),
        ([np.full((64 + n % 2, 64, 3), 9 * n, np.uint8) for n in range(8)], "{}.JPG", (64, 64, 3, 0, 255, 8, True)),
        ([np.full((31, 37), 9 * n, np.uint8) for n in range(8)], "{}.jpeg", (32, 40, 1, 0, 255, 8, True)),
    ],
    ids=["gray", "12 of 16 bits", "colors of two sizes", "a size without cells"],
)  # fmt: skip
def test_what_is_proposed_is_read_by_the_plan(
    tmp_path: Path, arrays: list[np.ndarray], name: str, shape: tuple[object, ...]
) -> None:
    arrays = [one.astype(np.uint8) if shape[4] == 255 else one for one in arrays]
    for site in "abc":
        written(tmp_path / "sites" / site, arrays, name)
    found = proposed(*(tmp_path / "sites" / site / "train.csv" for site in "abc"))
    one = picture(found)
    assert (one.height, one.width, one.channels, one.low, one.high, one.cell, one.resize) == shape
    survey(found.plan, tmp_path / "sites").require()


@pytest.mark.parametrize(
    ("images", "ends"),
    [
        (GRAY[:, :, :16] % 256, (0, 255)),
        ((GRAY[:, :, :16] % 251 / 250).astype(np.float32), (0, 1)),
        (GRAY[:, :, :16].astype(np.int16) % 1400 - 1000, (-1000, 400)),
    ],
    ids=["bytes", "shares", "a CT"],
)
def test_an_array_of_an_archive_is_images(
    tmp_path: Path, images: np.ndarray, ends: tuple[float, float]
) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, scan=images, age=np.array(AGES), sick=np.array(["y", "n"] * 12))
    found = proposed(path)
    one = picture(found)
    assert (one.height, one.width, one.low, one.high, one.resize) == (16, 16, *ends, None)
    assert len(read(path)) == 24


def test_a_cell_that_names_none_gets_a_mark(tmp_path: Path) -> None:
    path = written(tmp_path, list((GRAY % 256).astype(np.uint8)))
    path.write_text(path.read_text().replace("\n3.png,", "\n,"))
    assert picture(proposed(path)).missing == "indicator"


@pytest.mark.parametrize("case", ["gone", "mixed", "vectors"])
def test_images_that_no_plan_takes_together_are_left_out_and_said_why(tmp_path: Path, case: str) -> None:
    path = written(tmp_path, list((GRAY % 256).astype(np.uint8)))
    told = {
        "gone": "train.csv, row 5: names a file that is not there",
        "mixed": "some gray and some in color",
        "vectors": "is an array of shape (24, 7)",
    }[case]
    if case == "gone":
        (tmp_path / "3.png").unlink()
    elif case == "mixed":
        Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save(tmp_path / "3.png")
    else:
        path = tmp_path / "a.npz"
        np.savez(path, scan=np.zeros((24, 7)), age=np.array(AGES), sick=np.array(["y", "n"] * 12))
    (why,) = (column.why for column in proposed(path).left_out)
    assert told in why and "3.png" not in why


def test_where_no_column_is_left_each_reason_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, list((GRAY % 256).astype(np.uint8)))
    path.write_text(re.sub(r",\d+,", ",7,", path.read_text()))
    (tmp_path / "3.png").unlink()
    with pytest.raises(DataError, match=r'"scan": names images.*"age": is the same in every row'):
        proposed(path)
