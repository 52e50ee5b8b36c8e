"""A file replaced as a whole: after a crash it has the old content or the new, never a part."""

from __future__ import annotations

import os
from pathlib import Path

from federation.errors import UnusableFile


def replace_file(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, flush it to the disk, rename it over `path`. Makes the folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_output(path: Path, text: str) -> None:
    """Replace a file that somebody named for our output. UnusableFile if it cannot be written."""
    try:
        replace_file(path, text.encode())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UnusableFile(f"cannot be written ({reason})", hint="name another file", path=path) from None
