"""A reading.toml in a folder of sites: how text is read where no site brought rules of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clients.data.folders import find_sites
from clients.data.load import read_csv
from clients.rules.form import NAME, load_reading
from clients.rules.origin import Origin
from federation.errors import SiteFileError
from federation.plan.tabular import TabularTask
from tests.worlds import plan_of, rows_of, write_csv

TASK = plan_of().task
assert isinstance(TASK, TabularTask)


def plain(folder: Path, name: str, seed: int = 3) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / f"{name}.csv"
    write_csv(path, rows_of(seed, 12))
    return path


def raw(folder: Path, name: str, seed: int = 3) -> tuple[str, ...]:
    """The same table without a header, with semicolons, and commas for points; the names of its columns."""
    path = plain(folder, name, seed)
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join(line.replace(",", ";").replace(".", ",") for line in lines) + "\n")
    return tuple(header.split(","))


def said(names: tuple[str, ...]) -> str:
    return f"separator = ';'\ndecimal = ','\ncolumns = {list(names)}\n"


def test_all_files_of_a_folder_are_read_as_it_says(tmp_path: Path) -> None:
    expected = read_csv(plain(tmp_path / "plain", "ash"), TASK)
    names = raw(tmp_path / "raw", "ash")
    (tmp_path / "raw" / NAME).write_text(said(names))
    found = find_sites(tmp_path / "raw")
    (place, test) = found.sites[0].places()
    assert test is None
    assert found.notes == (), "it is no entry that was passed over"
    assert torch.equal(read_csv(place, TASK).features, expected.features)
    assert torch.equal(read_csv(place, TASK).labels, expected.labels)


def test_a_site_s_own_word_counts_before_that_of_all(tmp_path: Path) -> None:
    raw(tmp_path, "ash")
    (tmp_path / "ash").mkdir()
    (tmp_path / "ash.csv").rename(tmp_path / "ash" / "train.csv")
    (tmp_path / NAME).write_text("separator = 'tab'\n")
    (tmp_path / "ash" / NAME).write_text("separator = 'semicolon'\n")
    (place, _) = find_sites(tmp_path).sites[0].places()
    assert isinstance(place, Origin)
    assert place.separator == ";"
    plain(tmp_path, "beech")
    (_, other) = find_sites(tmp_path).sites
    assert isinstance(other.places()[0], Origin)
    assert other.places()[0].separator == "\t"  # type: ignore[union-attr]


def test_nothing_is_said_of_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_text("separator = ';'\n")
    assert load_reading(path).origin(tmp_path / "ash.parquet", tmp_path) == Origin.of(
        tmp_path / "ash.parquet"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("separator = 'ab'\n", 'separator = "ab": cannot part cells'),
        ("encoding = 'hex'\n", "is no encoding"),
        ("columns = ['a', 'a']\n", "must name each column of the file once"),
        ("seperator = ';'\n", "separator"),
        ("pool = 'all'\n", "pool"),
    ],
)
def test_what_it_cannot_say_is_refused_by_line_and_key(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / NAME
    path.write_text(text)
    with pytest.raises(SiteFileError) as found:
        load_reading(path)
    assert reason in str(found.value)
    assert NAME in str(found.value)
