"""Writes rows to many files at once, whatever their number: no more of them is in memory than a few megabytes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from federation.errors import UnusableFile

_WAITING = 1 << 24  # characters


class Parts:
    """Files that begin with the same header. A file is open only while something is written to it."""

    def __init__(self, paths: Sequence[Path], header: str) -> None:
        self._paths = paths
        self._texts: list[list[str]] = [[header] for _ in paths]
        self._waiting = len(header) * len(paths)

    def add(self, part: int, line: str) -> None:
        """Add a line, with its end, to a file."""
        self._texts[part].append(line)
        self._waiting += len(line)
        if self._waiting > _WAITING:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        for path, texts in zip(self._paths, self._texts, strict=True):
            if texts:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("a", encoding="utf-8", newline="") as file:
                    file.writelines(texts)
                texts.clear()
        self._waiting = 0


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which is at `path` as a whole when the body is done, and never in part.

    UnusableFile if something is there that is no empty folder, or if it cannot be written.
    """
    path = path.absolute()
    if path.is_symlink() or (path.exists() and not (path.is_dir() and not any(path.iterdir()))):
        raise UnusableFile("is there and not empty", hint="name another; no file is replaced", path=path)
    beside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.mkdir()
    except FileExistsError:
        hint = f"another split writes there, or one was killed: then remove {beside}"
        raise UnusableFile("exists already", hint=hint, path=beside) from None
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        yield beside
        beside.rename(path)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise _unwritable(path, error) from None
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _unwritable(path: Path, error: OSError) -> UnusableFile:
    reason = error.strerror or type(error).__name__
    return UnusableFile(f"cannot be written ({reason})", hint="name another folder, or make room", path=path)
