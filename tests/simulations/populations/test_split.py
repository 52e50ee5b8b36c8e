"""`split`: every row once, as it stands, by the rule that was asked for; the same for the same seed; or nothing."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sqlite3
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.rules.origin import Origin
from federation.errors import DataError, UnusableFile
from simulations.populations import dealing
from simulations.populations.rules import Rule
from simulations.populations.split import Split, split, split_table

ROWS = 600


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """People with one to five rows, three classes, four regions."""
    path = tmp_path_factory.mktemp("table") / "table.csv"
    rows, person = [], 0
    while len(rows) < ROWS:
        person += 1
        for visit in range(1 + person % 5):
            region = ("north", "south", "east", "west, far")[person * 7 % 4]
            rows.append([f"P{person:03}", visit, person * 13 % 97 + visit / 4, region, "abc"[person % 3]])
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["who", "visit", "x", "region", "y"], *rows[:ROWS]])
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def of_sites(found: Split, part: str = "") -> dict[str, list[dict[str, str]]]:
    """The rows of each site, in its files or in one of them."""
    return {
        site.name: [row for file in site.files if part in Path(file).name for row in read(Path(file))]
        for site in found.sites
    }


def lines(paths: Iterator[Path] | list[Path]) -> Counter[bytes]:
    """The lines of files but their headers."""
    return Counter(line for path in paths for line in path.read_bytes().splitlines(keepends=True)[1:])


WAYS: dict[str, dict[str, Any]] = {
    "by": {"by": "region"},
    "dirichlet": {"dirichlet": 0.3, "sites": 5},
    "dirichlet-tiny": {"dirichlet": 0.001, "sites": 3, "minimum": 1, "label": "y"},
    "quantity": {"quantity": 0.5, "sites": 6},
    "shift": {"shift": 0.7, "feature": "x", "sites": 4},
    "iid": {"iid": True, "sites": 7},
    "iid-tested": {"iid": True, "sites": 7, "test": 0.25},
    "people": {"dirichlet": 1.0, "sites": 4, "patient": "who"},
    "people-across": {"iid": True, "sites": 4, "patient": "who", "across": 0.4, "test": 0.2},
    "people-by": {"by": "visit", "patient": "who", "test": 0.3},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_row_goes_to_one_site_as_it_stands(table: Path, tmp_path: Path, way: str) -> None:
    found = split(table, tmp_path / "out", **WAYS[way])
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sorted(map(str, files)) == sorted(file for site in found.sites for file in site.files)
    assert lines(files) == lines([table])
    header = table.read_bytes().splitlines(keepends=True)[0]
    assert all(path.read_bytes().startswith(header) for path in files)
    assert found.rows == ROWS
    for site in found.sites:
        rows = of_sites(found)[site.name]
        assert site.rows == len(rows) >= 1
        assert site.classes == len({row["y"] for row in rows})
        assert site.people is None or site.people == len({row["who"] for row in rows})
        if found.has_tests:
            assert 0 < site.test_rows == len(of_sites(found, "test")[site.name]) < site.rows


@pytest.mark.parametrize("way", [way for way in WAYS if not way.endswith("by")])
def test_a_seed_decides(table: Path, tmp_path: Path, way: str) -> None:
    def content(name: str, seed: int) -> dict[str, bytes]:
        split(table, tmp_path / name, seed=seed, **WAYS[way])
        return {str(p.relative_to(tmp_path / name)): p.read_bytes() for p in (tmp_path / name).rglob("*.csv")}

    first = content("first", 5)
    assert content("again", 5) == first
    assert content("other", 6) != first


def test_by_a_column_each_value_is_a_site(table: Path, tmp_path: Path) -> None:
    found = split(table, tmp_path / "out", by="region")
    regions = {name: {row["region"] for row in rows} for name, rows in of_sites(found).items()}
    assert regions == {"north": {"north"}, "south": {"south"}, "east": {"east"}, "west-far": {"west, far"}}


def test_the_rows_of_a_person_stay_together(table: Path, tmp_path: Path) -> None:
    for way in ("iid", "quantity", "dirichlet", "shift", "iid-tested"):
        found = split(table, tmp_path / way, patient="who", **WAYS[way])
        homes = defaultdict(set)
        for site in found.sites:
            for file in site.files:
                for row in read(Path(file)):
                    homes[row["who"]].add(file)
        assert all(len(files) == 1 for files in homes.values())
        assert (found.people_across, found.most_sites) == (0, 1)


def test_a_share_of_the_people_goes_to_two_sites_and_is_on_one_side_of_the_test(
    table: Path, tmp_path: Path
) -> None:
    found = split(table, tmp_path / "out", iid=True, sites=5, patient="who", across=0.3, test=0.2)
    homes, sides = defaultdict(set), defaultdict(set)
    for part in ("train", "test"):
        for site, rows in of_sites(found, part).items():
            for row in rows:
                homes[row["who"]].add(site)
                sides[row["who"]].add(part)
    assert Counter(map(len, homes.values())) == {
        2: round(0.3 * len(homes)),
        1: len(homes) - round(0.3 * len(homes)),
    }
    assert found.people_across == round(0.3 * len(homes))
    assert found.most_sites == 2
    assert all(len(parts) == 1 for parts in sides.values())


def test_a_column_may_put_a_person_at_several_sites_and_that_is_said(table: Path, tmp_path: Path) -> None:
    found = split(table, tmp_path / "out", by="visit", patient="who", test=0.3)
    visits = Counter(row["who"] for row in read(table))
    assert found.most_sites == max(visits.values()) == 5
    assert found.people_across == sum(count > 1 for count in visits.values())


def test_the_test_has_its_share_of_each_site_and_class(table: Path, tmp_path: Path) -> None:
    found = split(table, tmp_path / "out", iid=True, sites=3, test=0.25, label="y")
    for site, tested in of_sites(found, "test").items():
        every = of_sites(found)[site]
        assert len(tested) == round(0.25 * len(every))
        for label in "abc":
            total = sum(row["y"] == label for row in every)
            assert abs(sum(row["y"] == label for row in tested) - 0.25 * total) <= 1


def test_parts_by_chance_are_equal_and_alike(table: Path, tmp_path: Path) -> None:
    found = split(table, tmp_path / "out", iid=True, sites=7)
    sizes = [site.rows for site in found.sites]
    assert max(sizes) - min(sizes) <= 1


def test_a_shift_gives_ranges_that_overlap_by_its_strength(table: Path, tmp_path: Path) -> None:
    def borders(strength: float) -> list[tuple[float, float]]:
        found = split(table, tmp_path / str(strength), shift=strength, feature="x", sites=4)
        values = [sorted(float(row["x"]) for row in rows) for rows in of_sites(found).values()]
        assert {len(own) for own in values} == {ROWS // 4}
        return [(own[0], own[-1]) for own in values]

    apart = borders(1.0)
    assert all(high <= low for (_, high), (low, _) in pairwise(apart))
    half = borders(0.5)
    assert half[0][1] > half[1][0]
    assert [sum(border) for border in half] == sorted(sum(border) for border in half)
    alike = borders(0.0)
    assert all(low < 10 and high > 85 for low, high in alike)


def test_a_feature_that_is_missing_goes_anywhere(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("x,y\n" + "".join(f"{'?' if i % 2 else i},{i % 3}\n" for i in range(400)))
    found = split(table, tmp_path / "out", shift=1, feature="x", sites=4)
    assert all(20 < sum(row["x"] == "?" for row in rows) < 80 for rows in of_sites(found).values())


SAME = "age,note,y\n"
ODD_ROWS = [
    '40,"first\nsecond ""quoted""",1\n',
    '50,"a, b",0\n',
    "60,Zoë,1\n",
    '70,"",0\n',
    " 7 , x,1\n",
    "8,y,0\n",
]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (SAME + "".join(ODD_ROWS), "table.csv"),
        ("\ufeff" + SAME + "\n" + "".join(ODD_ROWS).rstrip("\n"), "table.csv"),
        (SAME.replace("\n", "\r\n") + "".join(row[:-1] + "\r\n" for row in ODD_ROWS), "table.csv"),
        (SAME + "".join(ODD_ROWS), "table.csv.gz"),
        (SAME + "".join(ODD_ROWS), "table.data"),
    ],
    ids=["quotes-and-newlines", "bom-and-no-last-newline", "crlf", "gzip", "another-name"],
)
def test_cells_are_kept_byte_for_byte(tmp_path: Path, content: str, named: str) -> None:
    path = tmp_path / named
    path.write_bytes(gzip.compress(content.encode()) if named.endswith(".gz") else content.encode())
    found = split(path, tmp_path / "out", iid=True, sites=3)
    end = "\r\n" if "\r\n" in content else "\n"
    header = SAME.replace("\n", end)
    parts = [Path(file).read_bytes().decode() for site in found.sites for file in site.files]
    assert all(part.startswith(header) for part in parts)
    expected = [row[:-1] + end for row in ODD_ROWS]
    rest = "".join(part.removeprefix(header) for part in parts)
    assert Counter(rest) == Counter("".join(expected))
    assert all(rest.count(row) == 1 for row in expected)


def test_other_text_becomes_plain_csv_with_the_same_cells(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes('age;dose;who;y\n40;1,5;Zoë;1\n50;2;a,b;0\n60;3,25;"c;d";1\n70;4;e;0\n'.encode("cp1252"))
    origin = Origin("csv", path, separator=";", decimal=",", encoding="cp1252")
    found = split_table(origin, tmp_path / "out", Rule("iid", sites=2))
    rows = sorted(tuple(row.values()) for rows in of_sites(found).values() for row in rows)
    assert rows == [
        ("40", "1.5", "Zoë", "1"),
        ("50", "2", "a,b", "0"),
        ("60", "3.25", "c;d", "1"),
        ("70", "4", "e", "0"),
    ]


def test_a_database_is_dealt_like_a_file(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "clinic.db")) as base:
        base.execute("create table visits (age int, city text, y int)")
        base.executemany("insert into visits values (?, ?, ?)", [(i, "AB"[i % 2], i % 3) for i in range(30)])
        base.commit()
    origin = Origin("sqlite", tmp_path / "clinic.db", query="select * from visits")
    found = split_table(origin, tmp_path / "out", Rule("by", by="city"))
    assert {site.name: site.rows for site in found.sites} == {"A": 15, "B": 15}
    assert read(tmp_path / "out" / "A.csv")[0] == {"age": "0", "city": "A", "y": "0"}


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8), min_size=8, max_size=20
    ),
    st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_whatever_the_cells_hold_each_comes_back_once(
    tmp_path_factory: pytest.TempPathFactory, cells: list[str], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("any")
    text = io.StringIO()
    rows = [(str(place), cell, "ab"[place % 2]) for place, cell in enumerate(cells)]
    csv.writer(text, lineterminator="\n").writerows([("n", "cell", "y"), *rows])
    (folder / "table.csv").write_text(text.getvalue(), "utf-8", newline="")
    try:
        found = split(folder / "table.csv", folder / "out", iid=True, sites=3, seed=seed)
    except DataError as error:
        assert "opens a cell whose lines look like rows" in error.message
        return
    back = [tuple(row.values()) for rows in of_sites(found).values() for row in rows]
    assert sorted(back) == sorted(rows)


def test_nothing_is_replaced(table: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with pytest.raises(UnusableFile, match="not empty"):
        split(table, tmp_path / "link", by="region")
    split(table, tmp_path / "out", by="region")  # an empty folder is as good as none
    before = lines((tmp_path / "out").rglob("*.csv"))
    with pytest.raises(UnusableFile, match="not empty"):
        split(table, tmp_path / "out", by="visit")
    with pytest.raises(UnusableFile, match="not empty"):
        split(table, table, by="visit")
    assert lines((tmp_path / "out").rglob("*.csv")) == before


def test_what_is_interrupted_or_changes_meanwhile_leaves_nothing(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "table.csv"
    copy.write_bytes(table.read_bytes())
    real = dealing.deal

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def append(*words: Any) -> dealing.Dealt:
        with copy.open("a") as file:
            file.write("P999,0,1,north,a\n")
        return real(*words)

    for stand_in, error in ((interrupt, KeyboardInterrupt), (append, DataError)):
        monkeypatch.setattr("simulations.populations.split.deal", stand_in)
        with pytest.raises(error):
            split(copy, tmp_path / "out", by="region")
        assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_the_label_is_the_last_column_if_it_has_few_values(table: Path, tmp_path: Path) -> None:
    assert split(table, tmp_path / "a", by="region").label == "y"
    assert split(table, tmp_path / "b", by="y").label is None
    assert split(table, tmp_path / "c", by="region", label="visit").label == "visit"
    two = tmp_path / "two.csv"
    two.write_text("x,y\n" + "".join(f"{i},{'yes' if i % 4 else 'no'}\n" for i in range(40)))
    found = split(two, tmp_path / "d", iid=True, sites=2)
    assert (found.label, found.positive) == ("y", "yes")
    assert sum(site.positives or 0 for site in found.sites) == 30
    assert json.loads(json.dumps(found.to_json()))["sites"][0]["files"] == [
        str(tmp_path / "d" / "site-1.csv")
    ]


def test_many_sites_need_few_open_files(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(6000)))
    found = split(table, tmp_path / "out", iid=True, sites=1500, test=0.5)
    assert found.rows == 6000
    assert np.bincount([site.rows for site in found.sites]).tolist() == [0, 0, 0, 0, 1500]


def test_a_text_file_is_never_in_memory_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulations.populations.parts._WAITING", 1 << 18)
    table = tmp_path / "table.csv"
    cells = ",".join(["0.123456"] * 200)
    table.write_text("x" * 10 + "," * 200 + ",y\n" + "".join(f"{i},{cells},{i % 2}\n" for i in range(1500)))
    tracemalloc.start()
    try:
        found = split(table, tmp_path / "out", dirichlet=1, sites=4, label="y")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.rows == 1500
    assert peak < table.stat().st_size / 3
