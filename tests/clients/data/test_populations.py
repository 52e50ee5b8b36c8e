"""The registry of pools: the same people never come with a second budget, in whatever file."""

from __future__ import annotations

import csv
import hashlib
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.data.populations import (
    begin_registry,
    check_pool,
    claim_pool,
    fingerprints,
    reclaim_pool,
    registry_path,
)
from clients.policy import Policy, SiteData, SiteFile
from federation.errors import DataError
from federation.plan.plan import parse
from privacy.errors import PolicyViolation, RecordsUnavailable
from tests.clients.data.tables import table_of
from tests.patience import within
from tests.plans import TEXT


def identity(name: str) -> Ed25519PrivateKey:
    """The signing key of this name, for tests only."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


KEY = identity("berlin")
HEADER = ["mrn", "age", "cp", "num"]
ROWS = [
    [f"P{number:03}", str(20 + number % 60), str(1 + number % 4), str(number % 2)] for number in range(40)
]


@dataclass(frozen=True)
class Ward:
    """A site's folder: what its site file says, and files of data."""

    folder: Path

    def rules(self, pool: str = "cardiology", journal: str = "journal.sqlite") -> SiteFile:
        (self.folder / "keys").mkdir(exist_ok=True)
        path = self.folder / journal
        path.touch()
        data = SiteData(source="data.csv", pool=pool, size=40)
        return SiteFile("berlin", self.folder / "keys", path, data, Policy.for_plan(parse(TEXT)), None, None)

    def file(self, name: str, rows: list[list[str]], header: list[str] = HEADER) -> Path:
        path = self.folder / name
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return path

    def claim(
        self, path: Path, pool: str, journal: str, patient: str | None = None, key: Ed25519PrivateKey = KEY
    ) -> None:
        claim_pool(self.rules(pool, journal), key, fingerprints(path, patient, key))


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    """A ward whose data were used under the pool "cardiology"."""
    ward = Ward(tmp_path)
    ward.claim(ward.file("data.csv", ROWS), "cardiology", "journal.sqlite")
    return ward


def shuffled(rows: list[list[str]]) -> list[list[str]]:
    return [rows[17 * place % len(rows)] for place in range(len(rows))]


STRANGERS = [[f"Q{number:03}", str(21 + number % 60), "1", "0"] for number in range(20)]
DISGUISES = {
    "renamed": (ROWS, HEADER),
    "a part": (ROWS[:1], HEADER),
    "shuffled": (shuffled(ROWS), HEADER),
    "columns in another order": (
        [[row[i] for i in (2, 0, 3, 1)] for row in ROWS],
        ["cp", "mrn", "num", "age"],
    ),
    "merged with others": ([*STRANGERS, ROWS[17]], HEADER),
    "doubled": (ROWS + ROWS, HEADER),
    "invisible characters": ([[f"{row[0]}\u200b", f"\ufeff{row[1]}", *row[2:]] for row in ROWS], HEADER),
    "numbers written anew": ([[f" {row[0]} ", f"{row[1]}.0", f" {row[2]} ", row[3]] for row in ROWS], HEADER),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_data_of_one_pool_are_refused_in_another_whatever_they_look_like(ward: Ward, disguise: str) -> None:
    """DP-42: rename, copy, part, shuffle, reorder, merge: the same pool."""
    rows, header = DISGUISES[disguise]
    copy = ward.file("other.csv", rows, header)
    before = registry_path(ward.rules()).read_bytes()
    for use in (claim_pool, check_pool):
        with pytest.raises(PolicyViolation) as caught:
            use(ward.rules("oncology", "fresh.sqlite"), KEY, fingerprints(copy, None, KEY))
        line = str(caught.value)
        assert line == (
            'data.pool is "oncology", but some of these data were used under pool "cardiology"; '
            'write pool = "cardiology", with its journal: a budget belongs to people, not to files'
        )
    assert registry_path(ward.rules()).read_bytes() == before  # a refused claim leaves nothing
    ward.claim(copy, "cardiology", "journal.sqlite")  # the way out


def test_other_people_are_another_pool(ward: Ward) -> None:
    """DP-42, the control: what was never seen is not refused."""
    ward.claim(ward.file("other.csv", STRANGERS), "oncology", "fresh.sqlite")


@pytest.mark.parametrize(
    "rows",
    [
        [[row[0], "99", "1", "1"] for row in ROWS],  # later visits
        [[f" {row[0]} ", *row[1:]] for row in ROWS],
        [[f"{row[0][0]}\u200b{row[0][1:]}\u00a0", "99", *row[2:]] for row in ROWS],
        [["X1", "50", "1", "1"], [ROWS[3][0], "50", "1", "1"]],
    ],
)
def test_people_are_known_again_by_new_records_where_patients_are_known(
    tmp_path: Path, rows: list[list[str]]
) -> None:
    """DP-42 for patients."""
    ward = Ward(tmp_path)
    ward.claim(ward.file("data.csv", ROWS), "cardiology", "journal.sqlite", "mrn")
    with pytest.raises(PolicyViolation, match='were used under pool "cardiology"'):
        ward.claim(ward.file("other.csv", rows), "oncology", "fresh.sqlite", "mrn")
    # Another name for the column changes nothing.
    renamed = ward.file("other.csv", rows, ["patient", "age", "cp", "num"])
    with pytest.raises(PolicyViolation, match='were used under pool "cardiology"'):
        ward.claim(renamed, "oncology", "fresh.sqlite", "patient")
    ward.claim(ward.file("other.csv", STRANGERS), "oncology", "fresh.sqlite", "mrn")


def test_records_are_known_again_whether_or_not_a_plan_names_the_patients(ward: Ward) -> None:
    with pytest.raises(PolicyViolation, match='under pool "cardiology"'):
        ward.claim(ward.file("other.csv", ROWS[:5]), "oncology", "fresh.sqlite", "mrn")


def test_a_patient_whose_number_looks_like_a_number_is_taken_by_the_letter(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    seven, padded = (
        fingerprints(ward.file(f"{n}.csv", [[n, "50", "1", "0"]]), "mrn", KEY) for n in ("7", "007")
    )
    assert len(seven) == len(padded) == 2
    assert len(seven & padded) == 1  # as records they may be one, as patients they are two
    long = [ward.file(f"{n}.csv", [[n, "50", "1", "0"]]) for n in ("9007199254740992", "9007199254740993")]
    assert not fingerprints(long[0], "mrn", KEY) & fingerprints(long[1], "mrn", KEY)


def test_a_second_journal_for_a_pool_is_a_second_budget(ward: Ward) -> None:
    with pytest.raises(
        PolicyViolation, match=r'of pool "cardiology" is kept in .*journal\.sqlite, not in .*fresh'
    ):
        ward.claim(ward.folder / "data.csv", "cardiology", "fresh.sqlite")
    with pytest.raises(PolicyViolation, match=r"a second journal would be a second budget"):
        check_pool(ward.rules(journal="fresh.sqlite"), KEY)


def test_a_journal_that_is_gone_is_not_begun_anew(ward: Ward) -> None:
    rules = ward.rules()
    rules.journal.unlink()
    for use in (claim_pool, check_pool):
        with pytest.raises(
            PolicyViolation, match=r'keeps the budget of pool "cardiology", is gone; put it back, or restore'
        ):
            use(rules, KEY, frozenset())


def test_the_same_pool_and_journal_may_be_claimed_again_and_grow(ward: Ward) -> None:
    ward.claim(ward.folder / "data.csv", "cardiology", "journal.sqlite")
    ward.claim(ward.file("more.csv", STRANGERS), "cardiology", "journal.sqlite")
    for rows in (ROWS, STRANGERS):
        with pytest.raises(PolicyViolation):
            ward.claim(ward.file("other.csv", rows), "oncology", "fresh.sqlite")


def test_a_site_that_moves_house_finds_its_pools_again(ward: Ward, tmp_path: Path) -> None:
    moved = Ward(tmp_path / "moved")
    moved.folder.mkdir()
    for name in ("keys", "journal.sqlite", "data.csv"):
        (ward.folder / name).rename(moved.folder / name)
    check_pool(moved.rules(), KEY, fingerprints(moved.folder / "data.csv", None, KEY))
    (moved.folder / "link.sqlite").symlink_to(moved.folder / "journal.sqlite")
    check_pool(moved.rules(journal="link.sqlite"), KEY)
    with pytest.raises(PolicyViolation):
        check_pool(moved.rules("oncology"), KEY, fingerprints(moved.folder / "data.csv", None, KEY))


def test_the_registry_is_its_owners_and_tells_nothing_without_the_key(ward: Ward) -> None:
    path = registry_path(ward.rules())
    assert path == ward.folder / "keys" / "berlin.pools.sqlite"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["berlin.pools.sqlite"]
    content = path.read_bytes()
    assert b"P003" not in content
    data = ward.folder / "data.csv"
    own, other = fingerprints(data, "mrn", KEY), fingerprints(data, "mrn", identity("paris"))
    assert len(own) == 80 and {len(value) for value in own} == {16}
    assert sum(value in content for value in own) == 40  # the records; the control
    assert not own & other
    assert not any(value in content for value in other)


def test_looking_changes_nothing(ward: Ward, tmp_path: Path) -> None:
    def everything() -> dict[Path, tuple[int, bytes]]:
        return {
            path: (path.stat().st_mtime_ns, path.read_bytes())
            for path in tmp_path.rglob("*")
            if path.is_file()
        }

    rules, found = ward.rules(), fingerprints(ward.folder / "data.csv", None, KEY)
    before = everything()
    check_pool(rules, KEY, found)
    with pytest.raises(PolicyViolation):
        check_pool(replace(rules, data=SiteData(source="data.csv", pool="oncology")), KEY, found)
    check_pool(replace(rules, id="hamburg"), KEY, found)  # which has no registry yet
    assert everything() == before


def test_a_registry_that_is_missing_is_made_anew_from_what_is_known(ward: Ward) -> None:
    registry_path(ward.rules()).unlink()
    check_pool(ward.rules(), KEY)
    ward.claim(ward.folder / "data.csv", "cardiology", "journal.sqlite")
    with pytest.raises(PolicyViolation):
        ward.claim(ward.folder / "data.csv", "oncology", "fresh.sqlite")


def test_the_registry_of_a_site_that_took_part_is_not_made_anew_in_silence(ward: Ward) -> None:
    """The same records under another pool and journal, after the registry was deleted, would begin at zero."""
    rules, found = ward.rules(), fingerprints(ward.folder / "data.csv", None, KEY)
    rules.rosters_file.write_text("{}")
    registry_path(rules).unlink()
    renamed = ward.rules("oncology", "fresh.sqlite")
    for said in (rules, renamed):
        with pytest.raises(
            PolicyViolation, match=r"berlin\.pools\.sqlite.* is gone; put .* ledger reclaim SITE"
        ):
            check_pool(said, KEY)
        with pytest.raises(PolicyViolation, match="is gone"):
            claim_pool(said, KEY, found)
        with pytest.raises(PolicyViolation, match="is gone"):
            begin_registry(said)
    assert not registry_path(rules).exists()
    renamed.journal.unlink()
    with pytest.raises(PolicyViolation, match=r"there is no .*fresh\.sqlite, which would hold"):
        reclaim_pool(renamed, KEY, found)
    reclaim_pool(rules, KEY, found)
    with pytest.raises(PolicyViolation, match='used under pool "cardiology"'):
        claim_pool(ward.rules("oncology", "fresh.sqlite"), KEY, found)
    with pytest.raises(PolicyViolation, match="is there; nothing is to be made anew"):
        reclaim_pool(rules, KEY, found)


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to look like one" * 40, None])
def test_a_registry_that_cannot_be_read_stops_the_site(ward: Ward, content: bytes | None) -> None:
    path = registry_path(ward.rules())
    path.write_bytes(path.read_bytes()[:-4096] if content is None else content)
    found = fingerprints(ward.folder / "data.csv", None, KEY)
    for use in (claim_pool, check_pool):
        with pytest.raises(match=r"registry of pools cannot be used.*nothing was released"):
            use(ward.rules(), KEY, found)


def test_a_registry_in_which_nothing_would_be_found_stops_the_site(ward: Ward) -> None:
    """Two fingerprints change places: no page is unreadable, but a search may miss them."""
    path, found = registry_path(ward.rules()), fingerprints(ward.folder / "data.csv", None, KEY)
    content = path.read_bytes()
    least, most = min(found), max(found)
    assert content.count(least) == content.count(most) == 1
    swapped = content.replace(least, b"?" * 16).replace(most, least).replace(b"?" * 16, most)
    path.write_bytes(swapped)
    for use in (claim_pool, check_pool):
        with pytest.raises(match="it is damaged"):
            use(ward.rules(), KEY, frozenset({most}))


def test_a_registry_of_another_kind_stops_the_site(ward: Ward) -> None:
    with closing(sqlite3.connect(registry_path(ward.rules()))) as registry:
        registry.execute("DROP TABLE fingerprints")
        registry.commit()
    with pytest.raises(match="it is no registry"):
        check_pool(ward.rules(), KEY)


def test_a_folder_that_cannot_be_written_stops_the_site(ward: Ward) -> None:
    rules = ward.rules()
    (ward.folder / "file").write_text("in the way")
    with pytest.raises(RecordsUnavailable):
        claim_pool(replace(rules, keys=ward.folder / "file" / "keys"), KEY, frozenset())


@pytest.mark.parametrize(
    ("instant", "early"),
    [("REPLACE INTO pools", False), ("INSERT OR IGNORE", False), ("COMMIT", True), ("COMMIT", False)],
)
def test_a_claim_that_is_cut_short_is_made_whole_or_not_at_all(ward: Ward, instant: str, early: bool) -> None:
    """A process that dies within a claim leaves what was there before; after it, the claim."""
    ward.rules("oncology", "fresh.sqlite")
    ward.file("other.csv", STRANGERS)
    code = f"""
import os, sqlite3
from pathlib import Path
from clients.data import populations as pools
from tests.clients.data.test_populations import KEY, Ward

class Dying(sqlite3.Connection):
    def execute(self, sql, *rest):
        if sql.startswith({instant!r}) and {early}:
            os._exit(9)
        done = super().execute(sql, *rest)
        if sql.startswith({instant!r}):
            os._exit(9)
        return done

connect = sqlite3.connect
sqlite3.connect = lambda *args, **named: connect(*args, factory=Dying, **named)
ward = Ward(Path({str(ward.folder)!r}))
ward.claim(ward.folder / "other.csv", "oncology", "fresh.sqlite")
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    if instant == "COMMIT" and not early:
        with pytest.raises(PolicyViolation, match='under pool "oncology"'):
            ward.claim(ward.folder / "other.csv", "neurology", "third.sqlite")
    else:
        ward.claim(ward.folder / "other.csv", "neurology", "third.sqlite")  # nobody else's, so far


def test_a_claim_that_died_half_written_is_mended_by_the_next_one_and_not_by_looking(ward: Ward) -> None:
    ward.rules("oncology", "fresh.sqlite")
    many = [[f"Q{number}", "50", "1", "0"] for number in range(5000)]
    ward.file("other.csv", many)
    code = f"""
import os, sqlite3
from pathlib import Path
from clients.data import populations as pools
from tests.clients.data.test_populations import Ward

class Dying(sqlite3.Connection):
    def execute(self, sql, *rest):
        if sql == "COMMIT":
            os._exit(9)
        if sql == "BEGIN IMMEDIATE":
            super().execute("PRAGMA cache_size = 1")  # so that pages reach the file before COMMIT
        return super().execute(sql, *rest)

connect = sqlite3.connect
sqlite3.connect = lambda *args, **named: connect(*args, factory=Dying, **named)
ward = Ward(Path({str(ward.folder)!r}))
ward.claim(ward.folder / "other.csv", "oncology", "fresh.sqlite")
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    path = registry_path(ward.rules())
    torn, rollback = path.read_bytes(), path.with_name(f"{path.name}-journal")
    assert rollback.exists()
    with pytest.raises(RecordsUnavailable):
        check_pool(ward.rules(), KEY)
    assert path.read_bytes() == torn and rollback.exists()
    ward.claim(ward.folder / "data.csv", "cardiology", "journal.sqlite")
    assert not rollback.exists()
    ward.claim(ward.folder / "other.csv", "neurology", "third.sqlite")


def test_of_two_processes_that_claim_the_same_people_one_is_refused(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    ward.rules()
    ward.file("data.csv", ROWS)
    code = """
import sys
from pathlib import Path
from tests.clients.data.test_populations import Ward
from privacy.errors import PolicyViolation
ward, pool = Ward(Path(sys.argv[1])), sys.argv[2]
try:
    ward.claim(ward.folder / "data.csv", pool, pool)
except PolicyViolation:
    sys.exit(3)
"""
    racers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), pool])
        for pool in ("one", "two", "three")
    ]
    assert sorted(racer.wait() for racer in racers) == [0, 3, 3]


def test_after_a_change_of_key_a_new_pool_waits_for_the_old_ones(ward: Ward) -> None:
    new = identity("the next key of berlin")
    stranger = ward.file("other.csv", STRANGERS)
    with pytest.raises(
        PolicyViolation, match='"oncology" is new, and pool "cardiology" has not been used since'
    ):
        ward.claim(stranger, "oncology", "fresh.sqlite", key=new)
    ward.claim(ward.folder / "data.csv", "cardiology", "journal.sqlite", key=new)
    with pytest.raises(PolicyViolation, match='under pool "cardiology"'):
        ward.claim(ward.folder / "data.csv", "oncology", "fresh.sqlite", key=new)
    ward.claim(stranger, "oncology", "fresh.sqlite", key=new)


def test_data_that_are_no_table_are_known_again_file_by_file(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    (tmp_path / "images").mkdir()
    for number in range(5):
        (tmp_path / "images" / f"{number}.png").write_bytes(bytes([0, number]))
    ward.claim(tmp_path / "images", "cardiology", "journal.sqlite")
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "scan.png").write_bytes(bytes([0, 3]))
    with pytest.raises(PolicyViolation):
        ward.claim(tmp_path / "part", "oncology", "fresh.sqlite")
    single = tmp_path / "scan.parquet"
    single.write_bytes(b"PAR1")
    assert len(fingerprints(single, None, KEY)) == 1
    with pytest.raises(DataError, match="cannot be read"):
        fingerprints(tmp_path / "absent.csv", None, KEY)


def test_a_hundred_thousand_records_are_claimed_in_seconds(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    rows = [[f"P{n}", str(20 + n % 70), str(n / 7), str(n % 2)] for n in range(100_000)]
    path = ward.file("data.csv", rows)
    for _ in ("first", "again"):
        with within(8):  # about 1.5
            ward.claim(path, "cardiology", "journal.sqlite", "mrn")


CELLS = (
    "1",
    "1.0",
    " 2 ",
    "-0.0",
    "1e5",
    "nan",
    "inf",
    "1_0",
    "é1",
    "\u0661",
    "12345678901234567",
    "",
    "abc",
    "1e400",
)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(CELLS), st.floats(width=32).map(repr)), min_size=1, max_size=5))
def test_a_row_is_known_whatever_rows_are_beside_it(rows: list[tuple[str, str]]) -> None:
    alone = [fingerprints(table_of(("a", "b"), [row]), None, KEY) for row in rows]
    assert fingerprints(table_of(("a", "b"), rows), None, KEY) == frozenset[bytes]().union(*alone)
