"""The ledger does not give a payload away: its entry is blind, and the bytes go when nobody can ask for them."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from clients.journal.journal import Journal
from federation.ledger import durable, store
from federation.ledger import store as chain
from federation.ledger.export import export_lines, load_entries
from privacy.errors import LedgerCorrupt, LedgerRefusal, ProtocolError, RecordsUnavailable
from privacy.ledger.chain import Entry, append
from privacy.ledger.state import fold
from privacy.wire import digest
from tests.clients.journal.journals import kinds, opened, release, reserve, statement
from tests.federation.ledger.test_store import reading
from tests.privacy.ledger.ledgers import KEY, PLAN

SIZES = (24, 300, 5_000, 100_000)
LAST = 100  # round


def kept_of(journal: Journal) -> tuple[bytes, bytes]:
    """Blind and payload on the disk."""
    blind, payload = statement(journal, "SELECT blind, payload FROM releases")
    return blind, payload


def traces(path: Path, *secrets: bytes) -> set[str]:
    """The files of a journal that hold at least eight bytes in a row of a secret."""
    pieces = {secret[at : at + 8] for secret in secrets for at in range(0, len(secret) - 7, 8)}
    files = [file for file in path.parent.iterdir() if file.name.startswith(path.name)]
    return {
        file.name
        for file in files
        for content in [file.read_bytes()]
        if {content[at : at + 8] for at in range(len(content) - 7)} & pieces
    }


def last_round(journal: Journal, payload: bytes) -> None:
    """The last round, up to its opening."""
    release(journal, LAST, payload)
    journal.mask("run", LAST, 1, suite=2)
    journal.reveal("run", LAST, "all")


# The entry.


def payloads(records: int, levels: int) -> Iterator[bytes]:
    """Every payload that an evaluation of `records` held-out records can have: right, wrong, quantized loss."""
    for right in range(records + 1):
        for loss in range(records * levels + 1):
            yield b"".join(number.to_bytes(8, "little") for number in (right, records - right, loss))


def fitting(lines: str, guesses: Iterator[bytes]) -> list[bytes]:
    """The guesses that fit a digest in an export, bare or under anything in it that could be the blind."""
    words = set(lines.replace('"', " ").replace(",", " ").split())
    values = {
        bytes.fromhex(word) for word in words if len(word) == 64 and set(word) <= set("0123456789abcdef")
    }
    blinds = [*values, b"", bytes(32)]
    found = []
    for guess in guesses:
        hashes = {digest("federation/release/1", guess)}
        hashes |= {digest("federation/release/2", blind, guess) for blind in blinds}
        found += [guess] if hashes & values else []
    return found


def unblinded(entries: tuple[Entry, ...], payload: bytes) -> tuple[Entry, ...]:
    """The same ledger as an earlier version would have written it."""
    chained: list[Entry] = []
    for entry in entries:
        body: Any = entry.body
        if entry.kind == "release":
            sealed = digest("federation/release/1", payload).hex()
            body = {"run": entry.body["run"], "round": entry.body["round"], "payload": sealed}
        chained.append(append(chained[-1] if chained else None, entry.kind, body, KEY))
    return tuple(chained)


def test_the_ledger_says_nothing_of_a_payload(journal: Journal) -> None:
    """I14: of all payloads that an evaluation of twelve records can have, none fits an exported ledger."""
    records, levels = 12, 128
    candidates = list(payloads(records, levels))
    assert len(candidates) > 19_000
    secret = candidates[4321]
    last_round(journal, secret)
    journal.close_run("run", "params")
    entries = journal.entries()
    assert fitting(export_lines(entries), iter(candidates)) == []
    earlier = unblinded(entries, secret)
    assert fold(earlier).runs["run"].unblinded == {LAST}
    assert fitting(export_lines(earlier), iter(candidates)) == [secret]  # at once


def test_a_head_says_nothing_of_a_payload(journal: Journal) -> None:
    """I14: a peer knows all but the payload of what stands between two heads, and can try every such ledger."""
    candidates = list(payloads(3, 8))
    secret, before = candidates[17], journal.entries()[-1]
    release(journal, 1, secret)
    begun, released = journal.entries()[-2:]
    after = journal.head().hash

    def reached(name: str, commitment: Callable[[bytes], bytes]) -> list[bytes]:
        begin = append(before, "begin", begun.body, KEY)
        return [
            guess
            for guess in candidates
            if append(begin, "release", {"run": "run", "round": 1, name: commitment(guess).hex()}, KEY).hash
            == after
        ]

    assert reached("commitment", lambda guess: digest("federation/release/2", bytes(32), guess)) == []
    blind, _ = kept_of(journal)  # with the blind it would be easy, so the trial itself is sound
    assert reached("commitment", lambda guess: digest("federation/release/2", blind, guess)) == [secret]
    assert released.body["commitment"] == digest("federation/release/2", blind, secret).hex()


def test_the_same_payload_is_never_committed_to_in_the_same_way(journal: Journal) -> None:
    blinds = set[bytes]()
    for number in range(1, 21):
        release(journal, number, b"noised")
        blinds.add(kept_of(journal)[0])
    said = {entry.body["commitment"] for entry in journal.entries() if entry.kind == "release"}
    assert len(blinds) == len(said) == 20
    assert {len(blind) for blind in blinds} == {32}


def test_a_round_that_is_over_cannot_be_released_again_not_even_as_it_was(journal: Journal) -> None:
    release(journal, 1, b"noised")
    journal.release("run", 1, b"noised")
    with pytest.raises(LedgerRefusal, match="other noise"):
        journal.release("run", 1, b"noise")
    journal.begin("run", 2, "question")
    for payload in (b"noised", b"noise"):
        with pytest.raises(LedgerRefusal, match="is over"):
            journal.release("run", 1, payload)


# When the bytes go.


ENDS: list[tuple[str, int, Callable[[Journal], object]]] = [
    ("the next round begins", 1, lambda journal: journal.begin("run", 2, "question")),
    ("a later round begins", 1, lambda journal: journal.begin("run", 7, "question")),
    ("its evaluation begins", 1, lambda journal: journal.begin("other", 1, "question", ended="run")),
    ("the run is closed", 1, lambda journal: journal.close_run("run", "params")),
    ("its last sum is opened", LAST, lambda journal: journal.reveal("run", LAST, "all")),
]
STAYS: list[tuple[str, int, Callable[[Journal], object]]] = [
    ("an earlier round begins", 2, lambda journal: journal.begin("run", 1, "question")),
    ("another run's round begins", 1, lambda journal: journal.begin("other", 2, "question")),
    ("another run is closed", 1, lambda journal: journal.close_run("other", "params")),
    ("a sum is opened, not the last", LAST - 1, lambda journal: journal.reveal("run", LAST - 1, "all")),
]


@pytest.mark.parametrize(("what", "number", "end"), ENDS, ids=[end[0] for end in ENDS])
@pytest.mark.parametrize("size", SIZES)
def test_what_is_forgotten_is_nowhere_in_the_files(
    path: Path, journal: Journal, what: str, number: int, end: Callable[[Journal], object], size: int
) -> None:
    reserve(journal, "other", PLAN)
    payload = os.urandom(size)
    release(journal, number, payload)
    blind, stored = kept_of(journal)
    assert stored == payload
    assert traces(path, payload) == traces(path, blind) == {f"{path.name}-wal"}
    end(journal)
    assert traces(path, blind, payload) == set()
    assert statement(journal, "SELECT count(*) FROM releases") == (0,)


@pytest.mark.parametrize(("what", "number", "act"), STAYS, ids=[stay[0] for stay in STAYS])
def test_what_may_still_be_asked_for_stays(
    path: Path, journal: Journal, what: str, number: int, act: Callable[[Journal], object]
) -> None:
    reserve(journal, "other", PLAN)
    release(journal, number, b"noised")
    act(journal)
    journal.close()
    with closing(opened(path)) as again:
        assert again.begin("run", number, "question") == b"noised"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("left_out", ["secure_delete", "checkpoint"])
def test_without_overwriting_or_without_emptying_the_log_the_bytes_would_stay(
    path: Path, size: int, left_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failing controls of the test above, each with one of the two measures taken away."""
    payload = os.urandom(size)
    if left_out == "checkpoint":
        monkeypatch.setattr(durable, "empty_log", lambda _: True)
    with closing(opened(path)) as journal:
        reserve(journal)
        if left_out == "secure_delete":
            statement(journal, "PRAGMA secure_delete = OFF")
            statement(journal, "PRAGMA wal_autocheckpoint = 1")  # the payload reaches the file
        release(journal, 1, payload)
        journal.begin("run", 2, "question")
        assert traces(path, payload) == {path.name if left_out == "secure_delete" else f"{path.name}-wal"}


def test_runs_side_by_side_leave_nothing_of_each_other(path: Path, journal: Journal) -> None:
    """Rows that share pages, and move among them: of each only what is still kept is there."""
    runs = [f"run {number}" for number in range(12)]
    for run in runs:
        journal.reserve(run, "plan", PLAN.with_count(1), 1, ())
    gone = list[bytes]()
    for turn, run in enumerate(runs):
        release(journal, 1, os.urandom(50 + 331 * turn), run)
        blind, payload = statement(journal, f"SELECT blind, payload FROM releases WHERE run = '{run}'")  # noqa: S608
        if turn % 3:
            journal.close_run(run, "params")
            gone += [blind, payload]
            assert traces(path, *gone) == set()
    assert statement(journal, "SELECT count(*) FROM releases") == (4,)


def test_while_another_process_reads_forgetting_waits_and_is_made_up_for(
    path: Path, journal: Journal
) -> None:
    payload = os.urandom(5_000)
    release(journal, 1, payload)
    reader = reading(path)
    assert journal.begin("run", 2, "question") is None  # does not wait, and does not fail
    assert traces(path, payload) == {f"{path.name}-wal"}
    reader.close()
    journal.head()
    assert traces(path, payload) == set()


def test_what_a_killed_process_left_in_the_log_goes_when_the_journal_is_opened(
    path: Path, tmp_path: Path, journal: Journal
) -> None:
    payload = os.urandom(5_000)
    release(journal, 1, payload)
    reader = reading(path)
    journal.begin("run", 2, "question")
    copy = tmp_path / "killed" / path.name
    copy.parent.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(path.with_name(path.name + suffix), copy.with_name(path.name + suffix))
    reader.close()
    assert traces(copy, payload) == {f"{path.name}-wal"}
    with closing(opened(copy)):
        assert traces(copy, payload) == set()


# The last round, which a server that was killed asks for again.


def test_the_last_round_is_sent_again_after_its_opening_by_this_process_alone(
    path: Path, journal: Journal
) -> None:
    payload = os.urandom(300)
    last_round(journal, payload)
    assert statement(journal, "SELECT count(*) FROM releases") == (0,)
    for attempt in (2, 3):
        assert journal.begin("run", LAST, "question") == payload
        journal.release("run", LAST, payload)
        journal.mask("run", LAST, attempt, suite=2)
        journal.reveal("run", LAST, "all")
    with pytest.raises(LedgerRefusal, match="other noise"):
        journal.release("run", LAST, b"drawn anew")
    with pytest.raises(ProtocolError, match="other survivors"):
        journal.reveal("run", LAST, "all but one")
    with closing(opened(path)) as restarted:  # refused, and not drawn anew
        with pytest.raises(LedgerRefusal, match="is over"):
            restarted.begin("run", LAST, "question")
        with pytest.raises(LedgerRefusal, match="is over"):
            restarted.release("run", LAST, payload)
    assert kinds(journal).count("release") == 1
    assert traces(path, payload) == set()


def test_a_last_round_that_was_not_opened_is_sent_again_by_a_restarted_process(
    path: Path, journal: Journal
) -> None:
    release(journal, LAST, b"noised")
    journal.mask("run", LAST, 1, suite=2)
    journal.close()
    with closing(opened(path)) as restarted:
        assert restarted.begin("run", LAST, "question") == b"noised"


@pytest.mark.parametrize("how", [{"simulated": True, "approvers": ()}, {"keeps_last": True}])
def test_where_the_server_dies_with_the_site_the_last_bytes_stay_until_the_run_is_closed(
    path: Path, how: dict[str, Any]
) -> None:
    payload = os.urandom(300)
    with closing(opened(path, **how)) as journal:
        reserve(journal)
        last_round(journal, payload)
    with closing(opened(path, **how)) as restarted:
        assert restarted.begin("run", LAST, "question") == payload
        restarted.close_run("run", "params")
        assert traces(path, payload) == set()


def test_what_is_in_memory_only_goes_when_the_run_is_closed_by_whomever(path: Path, journal: Journal) -> None:
    last_round(journal, b"noised")
    assert journal._store._withdrawn.keys() == {"run"}
    with closing(opened(path)) as other:
        other.close_run("run", "params")
    journal.head()
    assert not journal._store._withdrawn


def test_what_could_not_be_committed_is_not_forgotten(journal: Journal) -> None:
    release(journal, LAST, b"noised")
    statement(journal, "PRAGMA query_only = ON")
    with pytest.raises(RecordsUnavailable):
        journal.reveal("run", LAST, "all")
    with pytest.raises(RecordsUnavailable):
        journal.close_run("run", "params")
    statement(journal, "PRAGMA query_only = OFF")
    assert journal.begin("run", LAST, "question") == b"noised"
    assert kept_of(journal)[1] == b"noised"


# Journals of the previous version.


def outdated(path: Path, payload: bytes, deleted: tuple[bytes, ...] = ()) -> tuple[Entry, ...]:
    """Turn a journal whose round 1 was released into one of the previous version; its entries."""
    entries = unblinded(load_entries(path), payload)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("DROP TABLE releases")
        connection.execute(chain._UNBLINDED[1])
        for old in deleted:
            connection.execute("REPLACE INTO releases VALUES ('run', 1, ?)", (old,))
        connection.execute("REPLACE INTO releases VALUES ('run', 1, ?)", (payload,))
        connection.execute("DELETE FROM entries")
        for entry in entries:
            chain.insert(connection, entry)
    return entries


def test_a_journal_of_the_previous_version_goes_on_without_what_it_kept(path: Path, journal: Journal) -> None:
    payload, deleted = os.urandom(300), tuple(os.urandom(size) for size in (24, 9_000, 40_000))
    release(journal, 1, payload)
    journal.close()
    entries = outdated(path, payload, deleted)
    assert traces(path, payload) == traces(path, *deleted) == {path.name}
    assert load_entries(path) == entries  # read as it is, and left as it is
    assert traces(path, payload) == {path.name}
    with closing(opened(path)) as renewed:
        assert renewed.entries() == entries
        assert traces(path, payload, *deleted) == set()
        run = fold(renewed.entries()).runs["run"]
        assert (run.unblinded, run.released.keys()) == ({1}, {1})
        for act in (
            lambda: renewed.begin("run", 1, "question"),
            lambda: renewed.release("run", 1, payload),
        ):
            with pytest.raises(LedgerRefusal, match="is over"):
                act()
        release(renewed, 2, b"noised")
        assert fold(renewed.entries()).runs["run"].unblinded == {1}
    with closing(opened(path)) as again:
        assert again.begin("run", 2, "question") == b"noised"


@pytest.mark.parametrize(
    "change", ["CREATE TABLE more (x)", "ALTER TABLE releases ADD COLUMN x", "DROP TABLE entries"]
)
def test_what_only_looks_like_the_previous_version_is_refused_and_left_alone(
    path: Path, journal: Journal, change: str
) -> None:
    release(journal, 1, b"noised")
    journal.close()
    outdated(path, b"noised")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(change)
    before = path.read_bytes()
    with pytest.raises(LedgerCorrupt):
        opened(path)
    assert path.read_bytes() == before


def test_killed_while_a_journal_is_renewed_it_is_renewed_the_next_time(
    path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(journal, 1, b"noised")
    journal.close()
    entries = outdated(path, b"noised")
    schema = chain._SCHEMA
    monkeypatch.setattr(chain, "_SCHEMA", (schema[0], "CREATE TABLE releases (x, x)"))  # fails within it
    with pytest.raises(LedgerCorrupt):
        opened(path)
    monkeypatch.setattr(chain, "_SCHEMA", schema)
    with closing(opened(path)) as renewed:
        assert renewed.entries() == entries


# One attempt on a ring.


def test_on_a_ring_a_site_masks_in_one_attempt_of_a_round_only(path: Path, journal: Journal) -> None:
    release(journal, 1, b"noised")
    journal.mask("run", 1, 3, suite=3, once=True)
    for again in (journal, opened(path)):
        for attempt in (3, 4, 9):
            with pytest.raises(LedgerRefusal, match=r"on a ring|is over"):
                again.mask("run", 1, attempt, suite=3, once=True)
    again.close()
    release(journal, 2, b"noised")
    journal.mask("run", 2, 1, suite=3, once=True)  # another round
    release(journal, 3, b"noised")
    for attempt in (1, 2):  # control: on the complete graph there is no such rule
        journal.mask("run", 3, attempt, suite=3)
    with pytest.raises(LedgerRefusal, match="on a ring"):
        journal.mask("run", 3, 3, suite=3, once=True)
    assert [entry.body["suite"] for entry in journal.entries() if entry.kind == "mask"] == [3] * 4


def test_blinds_come_from_the_operating_system(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[int]()
    monkeypatch.setattr(store.os, "urandom", lambda size: asked.append(size) or bytes([7]) * size)
    release(journal, 1, b"noised")
    assert asked == [32]
    assert kept_of(journal)[0] == bytes([7]) * 32


def test_every_way_to_cut_a_blind_and_a_payload_is_another_commitment() -> None:
    cuts = {store.Kept(1, b"noised"[:at], b"noised"[at:]).commitment for at in range(7)}
    assert len(cuts) == 7


# A head, an export, a copy.


def test_a_head_does_not_give_away_whose_ledger_it_is(tmp_path: Path) -> None:
    """Who knows all but the salt tries every pool name; the control, a ledger without a salt, is found."""
    names = ["cardiology", "oncology", "hiv-clinic"]
    with closing(opened(tmp_path / "journal.sqlite")) as journal:
        genesis, *_ = journal.entries()
    assert len(bytes.fromhex(str(genesis.body["salt"]))) == 32
    bare = {name: value for name, value in genesis.body.items() if name != "salt"}
    tried = {append(None, "genesis", {**bare, "pool": name}, KEY).hash for name in names}
    assert genesis.hash not in tried
    assert append(None, "genesis", bare, KEY).hash in tried


def test_two_ledgers_of_one_pool_have_nothing_in_common(tmp_path: Path) -> None:
    with closing(opened(tmp_path / "a.sqlite")) as one, closing(opened(tmp_path / "b.sqlite")) as other:
        assert one.head().hash != other.head().hash
        assert one.head().ledger == other.head().ledger  # and yet they are known as one pool's


def test_the_copy_that_is_read_for_an_export_is_private_and_overwritten(
    path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = os.urandom(300)
    journal.begin("run", 1, "question")
    journal.release("run", 1, payload)
    seen: list[tuple[int, bool]] = []
    connect, unlink = durable.connect, os.unlink
    left: list[bool] = []

    def watched(copy: Path) -> sqlite3.Connection:
        files = list(copy.parent.iterdir())
        seen.extend((file.stat().st_mode & 0o777, payload in file.read_bytes()) for file in files)
        return connect(copy)

    def unlinking(name: str, *words: Any, **more: Any) -> None:
        if str(name).startswith("journal.sqlite"):
            descriptor = os.open(name, os.O_RDONLY, dir_fd=more.get("dir_fd"))
            left.append(payload in os.read(descriptor, 1 << 22))
            os.close(descriptor)
        unlink(name, *words, **more)

    monkeypatch.setattr(durable, "connect", watched)
    monkeypatch.setattr(os, "unlink", unlinking)
    assert len(load_entries(path)) == len(journal.entries())
    assert {mode for mode, _ in seen} == {0o600}
    assert any(holds for _, holds in seen)  # the control: it was there
    assert left
    assert not any(left)


def test_a_run_and_its_evaluation_are_closed_together(journal: Journal) -> None:
    journal.begin("run", 1, "question")
    journal.close_run("run", "params", "run/evaluation")  # which this run has not
    assert kinds(journal)[-1] == "close"
    with pytest.raises(LedgerRefusal, match="other params"):
        journal.close_run("run", "others", "run/evaluation")


def test_whatever_is_left_open_of_a_dead_run_can_be_closed(journal: Journal) -> None:
    """A version that closed them one after the other was killed in between."""
    reserve(journal, "run/evaluation")
    journal.close_run("run", "params")
    journal.begin("run/evaluation", 1, "question")
    journal.release("run/evaluation", 1, bytes(24))
    journal.abandon_run("run", "0" * 64, "run/evaluation")
    assert statement(journal, "SELECT count(*) FROM releases") == (0,)
    account = fold(journal.entries())
    assert account.runs["run"].closed == "params"
    assert account.runs["run/evaluation"].closed == "0" * 64
