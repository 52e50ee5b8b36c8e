"""One process per journal: a second `federation join` on it is refused, whatever its socket is called.

Two sites on one journal would each answer the server, and charge the same rounds by turns. The lock is a file
beside the journal, at its real place, so that neither a link nor another site file is a way around it. The kernel
lets go of it when the process ends, however it ends; the file stays and means nothing by itself.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from federation.errors import SiteRunning
from federation.ledger import durable
from privacy.errors import RecordsUnavailable


@contextmanager
def alone(journal: Path) -> Iterator[None]:
    """Be the only process that is the site of this journal. SiteRunning while another one is."""
    place = journal.resolve()
    lock = _locked(place)
    try:
        if place.exists() and place.stat().st_nlink > 1 and not durable.needs_creation(place):
            raise RecordsUnavailable(
                f"the journal {journal.name} has a second name (a hard link), and its log would have two",
                hint="remove the other name",
            )
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


def user_of(journal: Path) -> str | None:
    """Who uses this journal now, in words; None if nobody does. Nothing is written, and no file is made."""
    place = journal.resolve()
    try:
        lock = os.open(place.with_name(place.name + ".lock"), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None  # whoever wants to lock it is told
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(lock)
    except OSError:
        return None
    finally:
        os.close(lock)
    return None


def _holder(lock: int) -> str:
    who = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
    return f"process {who}" if who.isdecimal() else "another process"


def _locked(place: Path) -> int:
    path = place.with_name(place.name + ".lock")
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        process = _holder(lock)
        os.close(lock)
        raise SiteRunning(
            f"{process} uses the journal {place.name} already", hint="stop it first: one journal, one site"
        ) from None
    except OSError as error:  # such as a file system without locks
        os.close(lock)
        raise _unusable(path, error) from None
    return lock


def _unusable(path: Path, error: OSError) -> RecordsUnavailable:
    reason = error.strerror or type(error).__name__
    return RecordsUnavailable(
        f"{path.name} cannot be locked ({reason})",
        hint="keep the journal in a local folder of the site's own",
    )
