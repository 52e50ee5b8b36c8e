"""Replaces a file as a whole: after a crash it has the old content or the new, never a part."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from federation.errors import CheckpointError, UnusableFile

_ANOTHER = "name another; no file is replaced"


def replace_file(path: Path, data: bytes, *, is_secret: bool = False) -> None:
    """Write `data` beside `path`, flush it to the disk, rename it over `path`. Makes the folder if it is missing.

    A secret is readable by its owner only, whatever the umask. OSError if the file cannot be written.
    """
    with replacing(path, is_secret=is_secret) as file:
        file.write(data)


@contextmanager
def replacing(path: Path, *, is_secret: bool = False) -> Iterator[IO[bytes]]:
    """The same for what is written piece by piece. If the body fails, `path` stays as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)  # its mode may be another, or it is a link
    # O_EXCL follows no link, and takes no file that somebody else has made or opened
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    with open(os.open(beside, flags, 0o600 if is_secret else 0o666), "wb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise
    beside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder to the disk, so that a file just linked or renamed in it is still there after a crash."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_output(path: Path, text: str, *, is_secret: bool = False) -> None:
    """Replace a file that the user named for our output, with text as UTF-8. UnusableFile if that fails."""
    try:
        replace_file(path, text.encode(), is_secret=is_secret)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UnusableFile(f"cannot be written ({reason})", hint="name another file", path=path) from None


def refuse_existing(path: Path, hint: str = _ANOTHER) -> None:
    """UnusableFile if something is at a path where a new file is to be."""
    if path.exists() or path.is_symlink():
        raise UnusableFile("exists already", hint=hint, path=path)


def write_new(path: Path, content: str | bytes, *, is_secret: bool = False, hint: str = _ANOTHER) -> None:
    """Write a file that was not there, text as UTF-8; a secret is readable by its owner only.

    UnusableFile if it is there already, whatever it is, which the `hint` is for, or cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700 if is_secret else 0o777, parents=True, exist_ok=True)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY  # O_EXCL follows no link
        descriptor = os.open(path, flags, 0o600 if is_secret else 0o666)
        try:
            with open(descriptor, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
        except BaseException:  # a full disk, an interruption: half a file is none
            path.unlink(missing_ok=True)
            raise
    except FileExistsError as error:  # of the file, or of one in the place of its folder
        raise UnusableFile("exists already", hint=hint, path=Path(error.filename)) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UnusableFile(f"cannot be written ({reason})", hint="name another", path=path) from None


@contextmanager
def taken_back(folder: Path, paths: Iterable[Path]) -> Iterator[None]:
    """If the body fails or is interrupted, remove of these paths, and then the folder, what was not there before.

    A folder goes only where it is empty.
    """
    fresh = [path for path in (*paths, folder) if not path.exists() and not path.is_symlink()]
    try:
        yield
    except BaseException:
        for path in sorted(fresh, key=lambda path: len(path.parts), reverse=True):
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        raise


@contextmanager
def kept(path: Path) -> Iterator[Path]:
    """Turn a failure to write a file of a run folder into a CheckpointError that names it: the disk may be full."""
    try:
        yield path
    except OSError as error:
        reason = error.strerror or type(error).__name__
        hint = "make room, then give the same command again: the run goes on where it was"
        raise CheckpointError(f"{path} cannot be written ({reason})", hint=hint) from None


@contextmanager
def alone_in(
    folder: Path, other: str = "", hint: str = "wait until it is done, or name another folder"
) -> Iterator[None]:
    """Be the only process at work in a run folder; CheckpointError while another one is, which `other` names.

    The kernel lets go of the lock when the process ends, however it ends. On a file system without locks two runs
    at once are refused by their journals, in worse words.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                told = other or f"another process is at work in {folder}"
                raise CheckpointError(told, hint=hint) from None
        yield
    finally:
        os.close(descriptor)
