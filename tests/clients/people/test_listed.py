"""The list of people who withdrew: its file, and that it is neither lost nor put back unnoticed."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from clients.people.listed import Line, Withdrawals, begun, load_list, write_list
from privacy.errors import RecordsUnavailable
from privacy.ledger.chain import Entry
from privacy.ledger.withdrawals import FIELD

EMPTY = Withdrawals(bytes(range(32)), "mrn")
DAY = "2026-11-29"


def grown(known: Withdrawals, *people: str, back: bool = False) -> Withdrawals:
    lines = tuple(Line(known.mark(person), DAY, back) for person in people)
    return replace(known, lines=(*known.lines, *lines))


def said_by(known: Withdrawals, seq: int = 7) -> Entry:
    """A release that was made with this list."""
    previous = bytes([seq]) * 32
    body = {"run": "run", "round": 1, FIELD: known.commitment(previous)}
    return Entry(seq, "release", body, previous, bytes(32), bytes(64))


def test_a_list_is_its_owner_s_alone_and_holds_no_id(tmp_path: Path) -> None:
    path, known = tmp_path / "journal.withdrawn", grown(EMPTY, "Mrs Example", "P0001")
    write_list(path, known)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_list(path) == known
    text = path.read_text("utf-8")
    assert "Example" not in text and "P0001" not in text
    assert "secret" not in repr(known) and "line" not in repr(known).lower()


def test_whoever_consents_anew_is_withdrawn_no_more_until_they_withdraw_again() -> None:
    known = grown(EMPTY, "a", "b")
    back = grown(known, "a", back=True)
    again = grown(back, "a")
    assert known.marks() == (EMPTY.mark("a"), EMPTY.mark("b"))
    assert back.marks() == (EMPTY.mark("b"),)
    assert again.marks() == (EMPTY.mark("b"), EMPTY.mark("a"))
    assert [again.marks(lines) for lines in (0, 2, 3)] == [(), known.marks(), back.marks()]


def test_a_list_tells_which_of_its_moments_a_release_is_of() -> None:
    moments = [EMPTY, grown(EMPTY, "a"), grown(EMPTY, "a", "b"), grown(EMPTY, "a", "b", "c")]
    for lines, known in enumerate(moments):
        assert moments[-1].lines_at(said_by(known)) == lines
    assert moments[1].lines_at(said_by(moments[2])) is None
    assert replace(moments[-1], secret=bytes(32)).lines_at(said_by(EMPTY)) is None


@pytest.mark.parametrize("people", [(), ("a",)], ids=len)
def test_an_older_copy_of_a_list_that_was_used_is_refused(people: tuple[str, ...], tmp_path: Path) -> None:
    used, path = grown(EMPTY, "a", "b"), tmp_path / "list"
    write_list(path, grown(EMPTY, *people))
    with pytest.raises(RecordsUnavailable, match="an older copy, or another list; put its newest copy back"):
        begun(path, "mrn", said_by(used))
    write_list(path, grown(used, "c"))
    assert begun(path, "mrn", said_by(used)) == grown(used, "c")


def test_an_older_copy_of_a_list_that_was_not_used_yet_goes_unnoticed(tmp_path: Path) -> None:
    """As with the ledger: nothing shows a rollback of what nobody else has seen."""
    path = tmp_path / "list"
    write_list(path, EMPTY)
    assert begun(path, "mrn", said_by(EMPTY)) == EMPTY


def test_a_list_is_made_once_and_missed_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "list"
    known = begun(path, "mrn", None)
    assert (known.marks(), known.since, known.column) == ((), 0, "mrn")
    assert begun(path, "mrn", said_by(known)) == known
    path.unlink()
    with pytest.raises(RecordsUnavailable, match="it is gone; put its newest copy back; if there is none"):
        begun(path, "mrn", said_by(known))
    assert not path.exists()


def test_what_was_said_of_a_list_that_is_lost_is_not_asked_of_the_next(tmp_path: Path) -> None:
    path, lost = tmp_path / "list", grown(EMPTY, "a")
    write_list(path, replace(Withdrawals.new("mrn"), since=7))
    begun(path, "mrn", said_by(lost, 7))
    with pytest.raises(RecordsUnavailable, match="entry 8 of the ledger"):
        begun(path, "mrn", said_by(lost, 8))


@pytest.mark.parametrize("column", [None, "insurance"])
def test_who_withdrew_by_one_column_is_not_looked_for_in_another(column: str | None, tmp_path: Path) -> None:
    path = tmp_path / "list"
    write_list(path, EMPTY)
    assert begun(path, column, None).column == column, "nobody has withdrawn yet"
    write_list(path, grown(EMPTY, "a"))
    with pytest.raises(RecordsUnavailable, match='people withdrew by column "mrn", and') as error:
        begun(path, column, None)
    assert error.value.hint == 'write person = "mrn" under [data]'


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"version": 2}', b"[" * 100_000])
def test_what_is_no_list_is_an_error_and_never_an_empty_one(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(content)
    with pytest.raises(RecordsUnavailable, match="it is damaged"):
        load_list(path)


def test_another_user_changes_no_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root would leave one that the site itself cannot read."""
    path = tmp_path / "list"
    write_list(path, EMPTY)
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    with pytest.raises(
        RecordsUnavailable, match="it is another user's; give the command as the user that the site"
    ):
        begun(path, "mrn", None)


def test_a_list_that_cannot_be_read_stops_the_site(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.mkdir()
    with pytest.raises(RecordsUnavailable, match="cannot be used"):
        begun(path, "mrn", None)
