"""federation.spool: a message on the disk, that nobody else can open."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from federation.spool import Spool
from privacy.errors import MalformedMessage, RecordsUnavailable


def test_what_was_written_in_any_order_is_read(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.write(3, b"def")
    spool.write(0, memoryview(b"abc"))
    assert spool.content[:] == b"abcdef" and spool.part(2, 3)[:] == b"cde"
    assert not list(tmp_path.iterdir())  # no name
    with pytest.raises(MalformedMessage):
        spool.part(2, 9)[:]
    spool.close()


def test_a_full_disk_and_one_that_fails_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    spool = Spool(tmp_path)
    spool.write(0, b"abc")
    monkeypatch.setattr(os, "pread", full)
    with pytest.raises(RecordsUnavailable, match="cannot be read"):
        spool.content[:]
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(RecordsUnavailable, match="No space left") as told:
        spool.write(0, b"abc")
    assert str(tmp_path) in told.value.hint
    spool.close()
    with pytest.raises(RecordsUnavailable, match="cannot be written"):
        Spool(tmp_path / "no folder")
