"""A run with one account: nothing is told before it is charged, nothing is charged twice, it is taken up again."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from clients.data.folders import find_sites
from federation.audit.examine import audit
from federation.errors import CheckpointError, TrainingDiverged
from federation.kinds import base
from federation.ledger.export import load_entries
from federation.plan.plan import parse
from federation.report.report import Report
from federation.round.terms import Terms
from federation.sums.state import begin
from privacy.mechanism import noise
from server.run import receipt_of
from server.run_folder import RunFolder
from simulations.accounts import book as books
from simulations.accounts import run as runs
from simulations.accounts.file import AccountFile, Event
from simulations.cohort import batches, program
from simulations.simulate import simulate
from simulations.world import read_world
from tests.worlds import NAMES, load_params, text_of, write_sites

TEXT = text_of(rounds=6, sample_rate=0.5)
PRIVATE = text_of(noise="distributed", rounds=6, sample_rate=1.0)
SITE = text_of(noise="site", rounds=6, sample_rate=1.0)


class Killed(BaseException):
    pass


def played(folder: Path, text: str = TEXT, **how: Any) -> Report:
    return simulate(parse(text), folder / "sites", folder / "run", baseline=False, **how)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_sites(tmp_path / "sites")
    return tmp_path


def told(home: Path, text: str = TEXT) -> list[int]:
    return [one.round for one in RunFolder(home / "run", parse(text)).receipts()]


def counted(home: Path, site: str = "ash") -> dict[str, Counter[Any]]:
    entries = load_entries(home / "run" / "journals" / f"{site}.sqlite")
    return {
        kind: Counter(entry.body["round"] for entry in entries if entry.kind == kind)
        for kind in ("begin", "release")
    }


def whole(rounds: int) -> dict[str, Counter[Any]]:
    return {kind: Counter(range(1, rounds + 1)) for kind in ("begin", "release")}


@pytest.mark.parametrize("text", [TEXT, PRIVATE, SITE], ids=["none", "distributed", "site"])
def test_the_first_round_does_nothing_that_can_be_done_before(
    home: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """A way is chosen, data are stacked and tables of noise are made before any round: the clock runs in rounds."""
    done, rounds = list[str](), runs.run_vectorized

    def noted(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def told(*given: Any, **named: Any) -> Any:
            done.append(name)
            return original(*given, **named)

        monkeypatch.setattr(owner, name, told)

    def begun(*given: Any) -> Iterator[Any]:
        done.append("rounds")
        yield from rounds(*given)

    noise._kept_table.cache_clear()
    noted(program, "way_of")
    noted(batches.Stack, "of")
    noted(noise, "table_of")
    noted(base, "grid")
    monkeypatch.setattr(runs, "run_vectorized", begun)
    played(home, text)
    assert {"way_of", "of"} <= set(done[: done.index("rounds")])
    assert done[-1] == "rounds"


def test_all_sites_are_charged_by_one_write_for_a_round_or_several(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes, put = list[list[Event]](), AccountFile.put

    def noted(file: AccountFile, events: list[Event], *rest: Any) -> None:
        writes.append(list(events))
        put(file, events, *rest)

    monkeypatch.setattr(AccountFile, "put", noted)
    played(home)
    rounds = [event.body["round"] for events in writes for event in events if event.kind == "round"]
    assert rounds == [1, 2, 3, 4, 5, 6]
    assert len(writes) <= 6 + 1, "one more for the end"
    assert {site: counted(home, site) for site in NAMES[:3]} == dict.fromkeys(NAMES[:3], whole(6))


def test_no_round_is_told_before_its_charge_is_on_the_disk(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, heard = AccountFile.put, list[int]()

    def full(file: AccountFile, events: list[Event], *rest: Any) -> None:
        if any(event.body.get("round", 0) >= 3 for event in events):
            raise CheckpointError("no space left on device")
        put(file, events, *rest)

    with monkeypatch.context() as patch, pytest.raises(CheckpointError, match="no space"):
        patch.setattr(AccountFile, "put", full)
        played(home, progress=lambda receipt, _: heard.append(receipt.round))
    assert heard == told(home)
    assert set(heard) <= {1, 2}
    played(home)
    assert told(home) == [1, 2, 3, 4, 5, 6]
    assert counted(home) == whole(6)
    assert audit(home / "run").verdict == "pass"


INSTANTS = {
    "before it is written": "simulations.accounts.file.AccountFile.put",
    "before it is told": "server.run_folder.RunFolder.store",
    "in the middle of a round": "simulations.vectorized.advance",
}


@pytest.mark.parametrize("text", [TEXT, PRIVATE], ids=["plain", "private"])
@pytest.mark.parametrize("place", INSTANTS.values(), ids=INSTANTS)
def test_a_run_that_dies_at_once_is_taken_up_with_the_result_that_it_charged_or_anew(
    home: Path, monkeypatch: pytest.MonkeyPatch, place: str, text: str
) -> None:
    """Dies: not even its own last words are spoken."""
    module, _, name = place.rpartition(".")
    owner: Any = _named(module)
    real, left = getattr(owner, name), [3]

    def dying(*given: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return real(*given, **named)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(owner, name, dying)
        patch.setattr("simulations.accounts.run._Accounted._stop", lambda _: None)
        played(home, text)
    charged = _charged(home)
    before = {one["round"]: one["receipt"]["params_after"] for one in charged}
    report = played(home, text)
    after = {one.round: one.params_after for one in RunFolder(home / "run", parse(text)).receipts()}
    assert before == {number: after[number] for number in before}, "what was charged is what is told"
    assert list(after) == [1, 2, 3, 4, 5, 6]
    assert counted(home) == whole(6)
    assert [line.metrics != {} for line in report.history] == [True] * 6
    found = audit(home / "run")
    assert (found.verdict, [each.id for each in found.findings if each.severity != "info"]) == ("pass", [])
    if text == TEXT:
        simulate(parse(text), home / "sites", home / "calm", baseline=False)
        assert load_params(home / "run").equal(load_params(home / "calm"))


def _named(path: str) -> Any:
    from importlib import import_module

    try:
        return import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(import_module(module), name)


def _charged(home: Path) -> list[dict[str, Any]]:
    file = AccountFile.open(home / "run" / "checkpoint" / "accounts.sqlite")
    try:
        return [dict(event.body) for event in file.events() if event.kind == "round"]
    finally:
        file.close()


def test_a_round_that_ends_in_an_error_is_charged_for_the_error_tells_of_data(home: Path) -> None:
    text = TEXT.replace("learning_rate = 0.5", "learning_rate = 1e5")
    with pytest.raises(TrainingDiverged, match=r"round 1: the update of ash left the range"):
        played(home, text)
    assert counted(home) == {"begin": Counter([1]), "release": Counter()}
    assert told(home, text) == []


def test_an_account_that_is_damaged_or_of_another_run_charges_nothing_more(home: Path) -> None:
    path = home / "run" / "checkpoint" / "accounts.sqlite"
    _stopped_after(home, 2)
    content = path.read_bytes()
    path.write_bytes(b"no database at all")
    with pytest.raises(CheckpointError, match=r"accounts\.sqlite is damaged"):
        played(home)
    path.write_bytes(content)
    played(home)
    assert counted(home) == whole(6)


@pytest.mark.parametrize("fact", ["run", "plan"])
def test_an_account_that_names_another_run_is_refused_before_anything_is_told_or_charged(
    home: Path, fact: str
) -> None:
    """An audit saw it, and the run went on under a name that no receipt has."""
    path = home / "run" / "checkpoint" / "accounts.sqlite"
    _stopped_after(home, 2)
    content, receipts = path.read_bytes(), (home / "run" / "receipts.jsonl").read_bytes()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE facts SET value = ? WHERE name = ?", ("ab" * 16, fact))
    with pytest.raises(CheckpointError, match="account of another run"):
        played(home)
    assert (home / "run" / "receipts.jsonl").read_bytes() == receipts
    path.write_bytes(content)
    played(home)
    assert counted(home) == whole(6)


def test_a_run_that_stops_leaves_ledgers_that_say_what_it_charged(home: Path) -> None:
    _stopped_after(home, 2)
    assert counted(home)["begin"].keys() >= {1, 2}
    found = audit(home / "run")
    assert found.verdict == "pass"
    assert {"run-unfinished", "run-open"} <= {each.id for each in found.findings}


def _stopped_after(home: Path, number: int) -> None:
    def stop(receipt: Any, _: object) -> None:
        if receipt.round == number:
            raise Killed

    with pytest.raises(Killed):
        played(home, progress=stop)


@pytest.mark.parametrize("slow", [False, True])
def test_rounds_that_take_long_are_told_at_once_and_quick_ones_together(
    home: Path, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    """A wait for the disk is worth its time where it is a small part of a round."""
    clock, waits = [0.0], list[int]()
    monkeypatch.setattr(books.time, "monotonic", lambda: clock[0])
    told_by: Callable[..., Any] = books.Book.ended

    def ended(book: books.Book, *given: Any) -> Any:
        clock[0] += 100.0 if slow else 0.0
        found = told_by(book, *given)
        waits.append(len(found))
        return found

    monkeypatch.setattr(books.Book, "ended", ended)
    monkeypatch.setattr(books.Book, "_takes", property(lambda _: 1.0, lambda *_: None), raising=False)
    played(home)
    assert sum(waits) <= 6
    assert waits == [1] * 6 or not slow
    assert told(home) == [1, 2, 3, 4, 5, 6]


def test_receipts_hold_no_payload_and_no_head_of_a_round(home: Path) -> None:
    played(home, PRIVATE)
    lines = [json.loads(line) for line in (home / "run" / "receipts.jsonl").read_text().splitlines()]
    rounds = [line for line in lines if "round" in line]
    assert all(line["heads"] == {} for line in rounds)
    assert [set(line["heads"]) for line in lines if line.get("closed")] == [set(NAMES[:3])]


def accounted(home: Path) -> tuple[Terms, Callable[[], books.Book]]:
    """The terms of the first round of these sites, and what opens their account."""
    plan, world = parse(TEXT), read_world(parse(TEXT), find_sites(home / "sites").sites)
    path, run = home / "accounts.sqlite", bytes(16)

    def opened() -> books.Book:
        return books.Book.open(path, plan, run, world.simulated, world.roster.read())

    return Terms(plan, run, 1, 1, world.members, 12), opened


def test_who_is_reached_by_another_attempt_or_after_a_stop_is_charged_beside_the_first(home: Path) -> None:
    """Whoever got the params of a round pays for it, whichever attempt they came with."""
    terms, opened = accounted(home)
    names, params = terms.names, torch.zeros(12)
    book = opened()
    book.begins(terms, params, frozenset(names[:1]))
    book.begins(terms, params, frozenset(names[1:2]))
    book.stop()
    book.close()
    assert {name for name, rounds in opened().rounds_begun().items() if rounds} == set(names[:2])
    again = opened()
    again.begins(terms, params, frozenset(names[2:3]))
    again.stop()
    again.close()
    assert {name for name, rounds in opened().rounds_begun().items() if rounds} == set(names[:3])


def test_a_round_of_a_cohort_that_is_not_all_charged_here_is_told_again_as_it_was(home: Path) -> None:
    """A site with a journal of its own is in the cohort, and so is one that the params did not reach."""
    terms, opened = accounted(home)
    names, start = terms.names, begin(terms.plan, terms.run, torch.zeros(12))
    book = opened()
    book.begins(terms, start.params, frozenset(names[1:]))
    nothing: dict[str, int] = {}
    receipt = receipt_of(terms, names[1:], start, start, 0.0, (nothing, nothing), {})
    book.ended(replace(start, round=1), receipt, {})
    book.flush()
    book.close()
    assert [one for one, _ in opened().receipts()] == [receipt]
    assert opened().rounds_begun()[names[0]] == 0


def test_a_full_disk_is_told_as_that_and_the_account_is_not_called_damaged(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "run" / "checkpoint" / "accounts.sqlite"
    _stopped_after(home, 2)

    def full(_: object) -> bool:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with monkeypatch.context() as patched, pytest.raises(CheckpointError, match=r"disk is full.*make room"):
        patched.setattr("federation.ledger.durable.is_whole", full)
        AccountFile.open(path)
    AccountFile.open(path).close()
