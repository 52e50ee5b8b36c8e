"""Any ledger can be read from its file, in use or not, without a trace; and an export says the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from clients.journal.journal import Journal
from federation.errors import UnusableFile
from federation.ledger import export as ledgerfile
from federation.ledger.export import export_lines, load_entries
from privacy.errors import LedgerCorrupt, PrivacyError
from privacy.ledger.state import fold
from tests import ROOT
from tests.clients.journal.journals import opened, release, reserve


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    with closing(opened(path)) as journal:
        reserve(journal)
        release(journal, 1, b"noised")
        yield journal


def traces(folder: Path) -> dict[str, tuple[Any, ...]]:
    return {
        file.name: (file.read_bytes(), file.stat().st_mtime_ns, file.stat().st_mode)
        for file in folder.iterdir()
    }


def test_a_journal_is_read_while_it_is_open_and_after_without_a_trace(path: Path, journal: Journal) -> None:
    expected = journal.entries()
    for state in ("open", "closed"):
        before = traces(path.parent)
        assert len(before) == (3 if state == "open" else 1)
        assert load_entries(path) == expected
        assert traces(path.parent) == before
        journal.close()


def test_a_log_without_its_index_is_read_too(path: Path, tmp_path: Path, journal: Journal) -> None:
    # As after a power cut: the entries are in the log only, and the file by itself holds none of them.
    copy = tmp_path / "copy" / path.name
    copy.parent.mkdir()
    for name in (path.name, f"{path.name}-wal"):
        (copy.parent / name).write_bytes((tmp_path / name).read_bytes())
    assert load_entries(copy) == journal.entries()
    copy.with_name(f"{path.name}-wal").unlink()
    assert [entry.kind for entry in load_entries(copy)] == ["genesis"]


READER = """
import sys
from pathlib import Path
from federation.ledger.export import load_entries
print(len(load_entries(Path(sys.argv[1]))))
"""


@pytest.mark.skipif(os.geteuid() == 0, reason="no permission stops root")
def test_a_journal_in_a_read_only_folder_is_read(path: Path, journal: Journal) -> None:
    expected = journal.entries()
    journal.close()
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        assert load_entries(path) == expected
    finally:
        path.parent.chmod(0o700)


def test_a_busy_journal_is_read_whole_each_time(path: Path, journal: Journal) -> None:
    """Another process writes and checkpoints as fast as it can; each reading is a prefix, and they grow."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    try:
        writer.stdout.readline()
        lengths = []
        while writer.poll() is None and len(lengths) < 40:
            entries = load_entries(path)
            fold(entries)
            lengths.append(len(entries))
        assert lengths == sorted(lengths)
        assert len(set(lengths)) > 3
    finally:
        writer.kill()
        writer.communicate()


WRITER = """
import sys
from pathlib import Path
from tests.clients.journal.journals import opened, statement
journal = opened(Path(sys.argv[1]))
statement(journal, "PRAGMA wal_autocheckpoint = 3")
print("ready", flush=True)
for number in range(2, 101):
    journal.begin("run", number, "question")
    journal.release("run", number, bytes(20_000))
    for attempt in range(1, 30):
        journal.mask("run", number, attempt, suite=2)
"""


def test_a_file_that_never_holds_still_is_said(
    path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = iter(range(10_000))
    monkeypatch.setattr(ledgerfile, "_read", lambda _: b"%d" % next(count))
    monkeypatch.setattr(ledgerfile, "_PAUSE_SECONDS", 0)
    with pytest.raises(UnusableFile, match="written all the time"):
        load_entries(path)


# Exports.


def test_an_export_holds_the_same_entries_one_a_line(path: Path, journal: Journal) -> None:
    entries = journal.entries()
    text = export_lines(entries)
    assert text.count("\n") == len(entries)
    export = path.with_name("ledger.jsonl")
    export.write_text(text, "utf-8", newline="")
    assert load_entries(export) == entries
    assert export_lines(load_entries(export)) == text


def test_line_separators_within_a_text_separate_no_entries(path: Path) -> None:
    with closing(opened(path, pool="one\u2028two\x85three\x1cfour")) as odd:
        reserve(odd)
        entries = odd.entries()
    export = path.with_name("ledger.jsonl")
    export.write_text(export_lines(entries), "utf-8", newline="")
    assert load_entries(export) == entries


def test_one_changed_byte_of_an_export_is_refused(path: Path, journal: Journal) -> None:
    """DP-32: flip any byte; here not one is without a meaning."""
    original = export_lines(journal.entries()).encode()
    export = path.with_name("ledger.jsonl")
    for offset in range(0, len(original) - 1, 3):
        changed = original[:offset] + bytes([original[offset] ^ 1 << offset % 8]) + original[offset + 1 :]
        export.write_bytes(changed)
        with pytest.raises(PrivacyError):
            fold(load_entries(export))


def test_lines_moved_removed_or_repeated_are_refused(path: Path, journal: Journal) -> None:
    """DP-32: reorder, delete middle, duplicate."""
    lines = export_lines(journal.entries()).splitlines(keepends=True)
    export = path.with_name("ledger.jsonl")
    for index in range(len(lines) - 1):
        removed = lines[:index] + lines[index + 1 :]
        swapped = [*lines[:index], lines[index + 1], lines[index], *lines[index + 2 :]]
        repeated = lines[: index + 1] + lines[index:]
        for wrong in (removed, swapped, repeated):
            export.write_text("".join(wrong))
            with pytest.raises(LedgerCorrupt):
                fold(load_entries(export))


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\n", b"{}", b"[]\n", b"\xff\xfe", b"SQLite format 3\0", b"SQLite format 3\0" + bytes(5000),
        b"not a ledger",
        b'{"body":{},"hash":"","kind":"genesis","previous":"","seq":0,"signature":""}\n', b"{" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_ledger_is_refused_in_one_line(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(LedgerCorrupt) as caught:
        load_entries(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_a_folder_is_said(tmp_path: Path) -> None:
    for wrong in (tmp_path / "missing.sqlite", tmp_path):
        with pytest.raises(UnusableFile, match="cannot be read") as caught:
            load_entries(wrong)
        assert caught.value.path == wrong
