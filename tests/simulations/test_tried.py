"""Trying is spending: however the same data come again, the run is counted, once, and the sum is no composition."""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from itertools import count
from pathlib import Path
from shutil import copytree, move

import pytest

from clients.data.folders import SiteFiles, find_sites
from federation.plan.plan import Plan, parse
from federation.report.receipt import Receipt
from federation.report.report import Tried
from privacy.accounting.filters import Budget, Filter
from privacy.accounting.pld import epsilon
from privacy.errors import PolicyViolation
from simulations.simulate import Engine, simulate
from simulations.tried import SKETCH, count_run, registry_path, shared_rows
from tests.federation.audit.audited import with_rules
from tests.worlds import HERE, plan_of, rows_of, text_of, write_csv, write_sites

TEXT = text_of(noise="distributed", rounds=4, sample_rate=0.5)
PLAN, BARE = parse(TEXT), plan_of()
NUMBERS = count()


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that remembers nothing yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "private-federation"


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    return write_sites(tmp_path / "sites")


def tried(sites: Path, plan: Plan = PLAN) -> Tried:
    """What a new run is told."""
    return count_run(f"run {next(NUMBERS)}", plan, find_sites(sites).sites)


def changed(sites: Path, other: Path) -> Path:
    """Every site with one row that nobody had before."""
    copytree(sites, other)
    for path in other.iterdir():
        path.write_text(path.read_text() + "33,0.123,a,no\n")
    return other


def shuffled(sites: Path, other: Path) -> Path:
    """Rows and columns in another order, numbers in another form, sites under other names."""
    other.mkdir()
    for path in sites.iterdir():
        lines = [line.split(",")[::-1] for line in path.read_text().splitlines()]
        rows = [",".join([*line[:-1], line[-1] + ".0"]) for line in reversed(lines[1:])]
        (other / f"x{path.name}").write_text("\n".join([",".join(lines[0]), *rows, ""]))
    return other


def half(sites: Path, other: Path) -> Path:
    other.mkdir()
    for path in sites.iterdir():
        (other / path.name).write_text("".join(path.read_text().splitlines(keepends=True)[:20]))
    return other


def folders(sites: Path, other: Path) -> Path:
    """The rows of one site are its test file now."""
    copytree(sites, other)
    (other / "elm").mkdir()
    move(other / "ash.csv", other / "elm" / "test.csv")
    write_csv(other / "elm" / "train.csv", rows_of(4, 30))
    return other


def one_column_less(sites: Path, _: Path) -> Path:
    for path in sites.iterdir():
        lines = [line.rsplit(",", 2) for line in path.read_text().splitlines()]
        path.write_text("\n".join([",".join([first, last]) for first, _, last in lines]))
    return sites


def all_new(sites: Path, _: Path) -> Path:
    for number, path in enumerate(sorted(sites.iterdir())):
        write_csv(path, [[str(21 + number), str(row / 1000), "a", "no"] for row in range(20)])
    return sites


AGAIN: list[Callable[[Path, Path], Path]] = [
    lambda sites, _: sites,
    lambda sites, other: Path(copytree(sites, other)),
    lambda sites, other: Path(move(sites, other)),
    changed, shuffled, half, folders, one_column_less, all_new,
]  # fmt: skip


@pytest.mark.parametrize("again", AGAIN)
def test_the_same_data_are_known_again_however_they_come(
    sites: Path, tmp_path: Path, again: Callable[[Path, Path], Path]
) -> None:
    assert tried(sites).runs == 1
    assert tried(again(sites, tmp_path / "other")).runs == 2


def test_other_people_are_counted_by_themselves(sites: Path, tmp_path: Path) -> None:
    """The failing control: not everything is the same data."""
    assert tried(sites).runs == 1
    other = tmp_path / "other"
    for number, name in enumerate(("ash", "birch", "cedar")):
        write_csv(other / f"{name}.csv", [[str(30 + number), str(n / 999), "a", "yes"] for n in range(30)])
    assert tried(other).runs == 1
    assert tried(sites).runs == 2


def test_another_plan_seed_or_engine_on_the_same_data_counts(sites: Path) -> None:
    plans = [
        PLAN,
        plan_of(noise="site", rounds=2, sample_rate=0.5),
        parse(TEXT.replace("seed = 7", "seed = 8")),
        BARE,
    ]
    found = [tried(sites, plan) for plan in plans]
    assert [one.runs for one in found] == [1, 2, 3, 4]
    assert [one.without_privacy for one in found] == [0, 0, 0, 1]
    assert found[-1].epsilon is None, "no epsilon at a delta that this plan does not have"
    after = tried(sites)
    assert (after.runs, after.without_privacy, after.exact) == (5, 1, False)
    assert after.epsilon is not None, "what was without privacy is counted apart, not added"


def test_one_run_costs_its_composition_and_more_runs_what_a_filter_says(sites: Path) -> None:
    """The filter's order is that of the first run, so it does not follow from results."""
    event = PLAN.kind.event
    alone, both = epsilon([event], 1e-5), epsilon([event, event], 1e-5)
    found = [tried(sites) for _ in range(3)]
    assert (found[0].epsilon, found[0].exact) == (alone, True)
    assert [one.exact for one in found[1:]] == [False, False]
    rule = Filter.frozen(Budget(alone, 1e-5), event)
    assert [one.epsilon for one in found[1:]] == [rule.least([event] * runs, 1e-5) for runs in (2, 3)]
    assert alone < both < (found[1].epsilon or 0) < (found[2].epsilon or 0)


def test_a_published_evaluation_is_part_of_what_a_run_cost(sites: Path) -> None:
    plan = parse(TEXT.replace("[evaluation]", "[evaluation]\nepsilon = 1.0"))
    assert tried(sites, plan).epsilon == epsilon([charge.event for charge in plan.charges], 1e-5)


def test_what_an_earlier_run_does_not_bound_for_this_unit_has_no_sum(sites: Path) -> None:
    """A plan for records says nothing of a whole site."""
    tried(sites)
    client = plan_of(noise="central", unit="client", delta=1e-5, rounds=4)
    found = tried(sites, client)
    assert (found.runs, found.epsilon, found.exact) == (2, None, False)


def test_the_same_run_counts_once_however_often_it_is_resumed(sites: Path) -> None:
    files = find_sites(sites).sites
    assert [count_run("a run", PLAN, files).runs for _ in range(3)] == [1, 1, 1]
    assert [count_run(name, PLAN, files).runs for name in ("another", "a run")] == [2, 2]


class Killed(BaseException):
    pass


def stop(receipt: Receipt, _: Mapping[str, float | None]) -> None:
    raise Killed


def told(sites: Path, out: Path, engine: Engine = "vectorized") -> Tried:
    found = simulate(PLAN, sites, out, engine=engine).privacy.tried
    assert found is not None
    return found


@pytest.mark.parametrize("engine", HERE)
def test_a_run_that_crashed_was_tried_and_one_that_is_resumed_is_one(
    sites: Path, tmp_path: Path, engine: Engine
) -> None:
    for name in ("crashed", "resumed"):
        with pytest.raises(Killed):
            simulate(PLAN, sites, tmp_path / name, engine=engine, progress=stop)
    assert told(sites, tmp_path / "resumed", engine).runs == 2
    assert told(sites, tmp_path / "third", engine).runs == 3


def test_a_run_counts_before_its_first_round(
    sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("simulations.sums.adding.Adding.over", killed)
        simulate(PLAN, sites, tmp_path / "crashed")
    assert told(sites, tmp_path / "next").runs == 2


def test_a_run_that_a_site_refuses_was_not_tried(sites: Path, tmp_path: Path) -> None:
    with_rules(tmp_path / "refusing", "elm", 4, text_of())
    copytree(sites, tmp_path / "refusing", dirs_exist_ok=True)
    with pytest.raises(PolicyViolation):
        simulate(PLAN, tmp_path / "refusing", tmp_path / "refused")
    assert told(sites, tmp_path / "run").runs == 1


def test_the_report_says_it_in_json_and_in_words(sites: Path, tmp_path: Path) -> None:
    for name in "abc":
        told(sites, tmp_path / name)
    report = json.loads((tmp_path / "c" / "report.json").read_text())
    known = report["privacy"]["tried"]
    assert set(known) == {"runs", "without_privacy", "epsilon", "exact", "reason"} - {"reason"}
    assert (known["runs"], known["without_privacy"], known["exact"]) == (3, 0, False)
    page = (tmp_path / "c" / "report.html").read_text()
    assert "used in 3 simulations, this one included" in page
    assert "chosen by exact figures tells something of these data that no epsilon here covers" in page


def test_public_data_are_not_counted(sites: Path, tmp_path: Path, state: Path) -> None:
    assert simulate(PLAN, sites, tmp_path / "run", public=True).privacy.tried is None
    assert not (state / "tried.sqlite").exists()


def counted_elsewhere(sites: Path, number: int) -> int | None:
    return count_run(f"process {number}", PLAN, find_sites(sites).sites).runs


@pytest.mark.waits
def test_runs_that_begin_at_the_same_time_are_all_counted(sites: Path) -> None:
    """The registry is made by all of them at once, too; each of them sees a number of its own."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.starmap(counted_elsewhere, [(sites, number) for number in range(6)])
    assert sorted(number or 0 for number in found) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "what",
    [
        "file in the way",
        "damaged",
        "another version",
        "no secret",
        "relative and no home",
        "a home that moves",
    ],
)
def test_a_run_goes_on_where_it_cannot_be_counted_and_says_so(
    what: str, sites: Path, tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if what == "file in the way":
        state.parent.write_text("")
    elif what == "relative and no home":
        monkeypatch.setenv("XDG_STATE_HOME", "state")
        monkeypatch.setattr(Path, "home", classmethod(lambda _: (_ for _ in ()).throw(RuntimeError())))
    elif what == "a home that moves":
        monkeypatch.delenv("XDG_STATE_HOME")
        monkeypatch.setenv("HOME", "here")
    else:
        tried(sites)
        if what == "damaged":
            registry_path().write_bytes(b"\0" * 5000)
        else:
            with closing(sqlite3.connect(registry_path())) as registry:
                change = "DELETE FROM secrets" if what == "no secret" else "CREATE TABLE more (x)"
                registry.execute(change)
                registry.commit()
    heard: list[str] = []
    report = simulate(PLAN, sites, tmp_path / "run", notice=heard.append)
    known = report.privacy.tried
    assert known is not None
    assert (known.runs, known.without_privacy, known.epsilon, known.exact) == (None, None, None, False)
    (line,) = heard
    assert line.startswith("this run is not counted among those on the same data: ")
    assert known.reason
    assert known.reason in line
    assert str(tmp_path) not in json.dumps(report.to_json()["privacy"]), "a report travels"
    assert "Nobody counted" in (tmp_path / "run" / "report.html").read_text()


def stored() -> tuple[bytes, set[bytes]]:
    with closing(sqlite3.connect(registry_path())) as registry:
        ((secret,),) = registry.execute("SELECT key FROM secrets")
        prints = {value for row in registry.execute("SELECT value, dataset FROM prints") for value in row}
        uses = {value for row in registry.execute("SELECT path, dataset FROM uses") for value in row}
    return secret, prints | uses


def test_two_machines_share_no_fingerprint_and_the_registry_is_its_owner_s(
    sites: Path, tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried(sites)
    first = stored()
    assert state.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in state.iterdir()} == {0o600}
    content = registry_path().read_bytes()
    for word in (b"ash", b"yes", str(sites).encode()):
        assert word not in content
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "second"))
    tried(sites)
    second = stored()
    assert len(first[0]) == 32
    assert first[0] != second[0]
    assert len(first[1]) == len(second[1]) > 100
    assert not first[1] & second[1]


def test_the_home_folder_is_used_without_a_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert registry_path() == tmp_path / ".local" / "state" / "private-federation" / "tried.sqlite"


def test_of_a_large_file_a_sketch_is_kept_that_knows_its_parts_again(tmp_path: Path) -> None:
    """20000 rows leave 4096; of 2000 of them about 410 are in it, so none is with probability 10^-190."""
    rows = [[str(20 + number % 70), str(number / 20000), "abc"[number % 3], "no"] for number in range(20000)]
    write_csv(tmp_path / "all.csv", rows)
    write_csv(tmp_path / "part.csv", rows[7000:9000])
    write_csv(tmp_path / "new.csv", [[age, dose, ward, "yes"] for age, dose, ward, _ in rows])
    found = [
        count_run(name, PLAN, [SiteFiles(name, tmp_path / f"{name}.csv")]).runs
        for name in ("all", "part", "new")
    ]
    assert found == [1, 2, 1]
    with closing(sqlite3.connect(registry_path())) as registry:
        sizes = registry.execute("SELECT count(*) FROM prints GROUP BY dataset ORDER BY 1").fetchall()
    assert sizes == [(2000,), (SKETCH,), (SKETCH,)]


def test_the_same_file_again_makes_the_registry_no_larger_than_a_line(sites: Path) -> None:
    tried(sites)
    before = len(stored()[1])
    for _ in range(5):
        tried(sites)
    assert len(stored()[1]) == before


def test_data_that_only_a_task_can_read_are_known_by_their_files(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one.csv", "two.csv", "three.csv")]
    for path, content in zip(paths, (b"\0scan", b"\0scan", b"\0other"), strict=True):
        path.write_bytes(content)
    assert [count_run(path.name, PLAN, [SiteFiles("a", path)]).runs for path in paths] == [1, 2, 1]


def test_rows_of_a_site_are_known_wherever_they_come_again(sites: Path, tmp_path: Path) -> None:
    first = next(iter(sorted(sites.glob("*.csv"))))
    assert shared_rows(first) == 0 and not registry_path().exists()
    tried(sites)
    rows = first.read_text().splitlines()
    other = tmp_path / "other.csv"
    other.write_text("\n".join([rows[0], rows[3], "33,0.123,a,no", rows[1]]))
    assert shared_rows(other) == 2
    other.write_text("\n".join([rows[0], "33,0.123,a,no"]))
    assert shared_rows(other) == 0
    registry_path().write_bytes(b"no registry")
    assert shared_rows(first) == 0
