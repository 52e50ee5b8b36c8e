"""What was calibrated is remembered on disk: `$XDG_CACHE_HOME/private-federation`, by default in ~/.cache.

Noise multipliers, epsilons and risks that follow from a plan's numbers alone: nothing of anybody's data, no secret.
What is read there is proved before it is used (`privacy.accounting.remembered`), so a damaged or foreign file costs
time and nothing else. One small file for each answer, under a name that says to which question of which version of
the accountant; it is replaced as a whole. Only a folder of this user that nobody else may write into is used, and
no link is followed. Without such a folder, or without room on the disk, all works as well. Delete it at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from privacy.accounting.remembered import remembering

LONGEST: Final = 2**16
"""Bytes of a file that is read."""
MOST: Final = 2000
"""Files in the folder: where there are more, the oldest half goes."""
_COUNTED_BY: Final = ("dp-accounting", "numpy", "scipy")


def folder() -> Path | None:
    """Where answers are kept; None where nobody knows a home."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not named.is_absolute():  # as the specification of these folders has it
        try:
            named = Path.home() / ".cache"
        except RuntimeError:
            return None
    return named / "private-federation"


@contextmanager
def calibrations_remembered() -> Iterator[None]:
    """Remember what is calibrated while the body runs, as far as this machine allows it."""
    with remembering(Calibrations(folder())):
        yield


class Calibrations:
    """A memory as a folder of files. It forgets where it may not be used, and never raises."""

    def __init__(self, place: Path | None) -> None:
        self._place, self._is_made = place, False

    def recall(self, question: str) -> object:
        """The answer in the folder; None without one that can be read."""
        if self._place is None:
            return None
        try:
            content = json.loads(_read(self._place, _name(question)))
        except (OSError, ValueError, RecursionError):
            return None
        is_it = isinstance(content, dict) and content.get("question") == question
        return content.get("answer") if is_it else None

    def keep(self, question: str, answer: object) -> None:
        """Write an answer, or leave it."""
        if self._place is None:
            return
        content = json.dumps({"question": question, "answer": answer}).encode()
        with suppress(OSError):
            if len(content) <= LONGEST:
                self._write(self._place, _name(question), content)

    def _write(self, place: Path, name: str, content: bytes) -> None:
        if not self._is_made:
            place.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                place.mkdir(mode=0o700)
            self._is_made = True
            _forget_oldest(place)
        _require_own(os.stat(place, follow_symlinks=False))
        beside = (
            place / f"{name}.{os.getpid()}"
        )  # no other process writes there, nor another thread: see keep
        try:
            with open(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(content)
            beside.replace(place / name)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def _read(place: Path, name: str) -> bytes:
    """A file of the folder. OSError unless both are this user's alone, and it is a short file and nothing else."""
    within = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _require_own(os.fstat(within))
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # nobody waits at a pipe
        with open(os.open(name, flags, dir_fd=within), "rb") as file:
            found = os.fstat(file.fileno())
            _require_own(found)
            if not stat.S_ISREG(found.st_mode) or found.st_size > LONGEST:
                raise OSError("no file of ours")
            return file.read(LONGEST)
    finally:
        os.close(within)


def _require_own(found: os.stat_result) -> None:
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise OSError("others may write here")


def _forget_oldest(place: Path) -> None:
    """Keep the folder small."""
    names = [entry for entry in os.scandir(place) if entry.is_file(follow_symlinks=False)]
    if len(names) > MOST:
        for entry in sorted(names, key=lambda entry: entry.stat(follow_symlinks=False).st_mtime)[: MOST // 2]:
            Path(entry.path).unlink(missing_ok=True)


def _name(question: str) -> str:
    return hashlib.sha256(f"{counted_by()}\n{question}".encode()).hexdigest()[:40] + ".json"


@cache
def counted_by() -> str:
    """What stands for this version of the accountant: its code, and the libraries that it counts with."""
    import privacy.accounting as accountant

    code = hashlib.sha256()
    place = Path(accountant.__path__[0])
    for file in sorted(place.rglob("*.py")):
        content = file.read_bytes()
        code.update(f"{file.relative_to(place)} {len(content)}\n".encode() + content)
    return " ".join([code.hexdigest(), *(f"{name}={_version(name)}" for name in _COUNTED_BY)])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"
