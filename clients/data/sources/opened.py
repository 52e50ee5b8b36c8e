"""Opens a site's file for reading: as it is, or unpacked by gzip within bounds; and its lines as text.

A few kilobytes of gzip can unpack to terabytes. Text of records packs to a tenth or a hundredth, so a file that
unpacks to more than that is refused, as is a line that no row of a table needs.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from clients.data.sources.formats import HEAD, HOLDS_NUL, NO_NUL, SAVE, WIDE, other_format
from clients.rules.origin import Origin
from federation.errors import DataError

MAX_LINE = 1 << 25  # bytes
_MAX_RATIO = 400  # unpacked to packed
_FREE = 1 << 26  # bytes that any file may unpack to
SOURCE: Final = "check data.source (or data.test) in site.toml"
_BOM = b"\xef\xbb\xbf"


@contextmanager
def opened(path: Path, *, unpacks: bool = True) -> Iterator[IO[bytes]]:
    """A site's file, unpacked if it is called .gz. DataError if it is missing or cannot be read."""
    try:
        with path.open("rb") as file:
            if not unpacks or path.suffix.lower() != ".gz":
                yield file
            else:
                with gzip.GzipFile(fileobj=file) as unpacked:
                    yield io.BufferedReader(_Bounded(unpacked, path), 1 << 17)
    except FileNotFoundError:
        raise DataError(f"{path}: cannot be read: there is no such file", hint=SOURCE) from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        hint = "pack it again; a file that is not packed is not called .gz"
        raise DataError(f"{path}: is no gzip file, or is cut off or damaged", hint=hint) from None
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror})"
        hint = f"it has to be a file that you may read: {SOURCE}"
        raise DataError(message, hint=hint) from None


class _Bounded(io.RawIOBase):
    """What a gzip file unpacks to, as long as that is in proportion."""

    def __init__(self, unpacked: gzip.GzipFile, path: Path) -> None:
        self._unpacked, self._path, self._size = unpacked, path, path.stat().st_size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self._unpacked.read1(len(view))
        view[: len(data)] = data
        require_proportion(self._path, self._unpacked.tell(), self._size, "unpack it and look at it")
        return len(data)


def require_proportion(path: Path, unpacked: int, packed: int, cure: str) -> None:
    """DataError for a file that unpacks to many times its size."""
    if unpacked > max(_FREE, _MAX_RATIO * packed):
        message = f"{path}: unpacks to more than {_MAX_RATIO} times its size"
        raise DataError(message, hint=f"no table of records does; {cure}")


def read_bytes(path: Path) -> bytes:
    """The content of a site's file as it is. DataError if it is missing or cannot be read."""
    with opened(path, unpacks=False) as file:
        return file.read()


def format_of(place: Origin) -> tuple[str, str] | None:
    """What a file is instead of the CSV that `place` declares, and what to do; None if it may be that."""
    with opened(place.file) as file:
        return other_format(file.read(HEAD), place.separator, place.encoding)


def lines_of(place: Origin, undecoded: list[int]) -> Iterator[str]:
    """The lines of a text file, with their ends: one at a time, so that a large file is in memory once.

    `undecoded` gets the numbers of the lines that are no text in the declared encoding.
    """
    with opened(place.file) as file:
        yield from (
            _wide_lines(place, file) if place.encoding.startswith(WIDE) else _lines(place, file, undecoded)
        )


def _lines(place: Origin, file: IO[bytes], undecoded: list[int]) -> Iterator[str]:
    number, is_utf8, is_declared_otherwise = 0, False, place.encoding != "utf-8"
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise DataError(f"{place}: row {number + 1}: a line of over {MAX_LINE >> 20} MiB", hint=SAVE)
        if not number and not is_declared_otherwise:
            line = line.removeprefix(_BOM)
        if is_declared_otherwise and not line.isascii():
            is_utf8, is_declared_otherwise = _is_utf8(line), _is_utf8(line)
        try:
            text = line.decode(place.encoding)
        except UnicodeDecodeError as error:
            undecoded.append(number + 1 + line.count(b"\r", 0, error.start))
            text = line.decode(place.encoding, errors="replace")
        if "\0" in text:
            raise DataError(f"{place}: row {number + 1} {HOLDS_NUL}", hint=NO_NUL)
        for piece in io.StringIO(text, newline="") if "\r" in text[:-2] else (text,):
            number += 1
            yield piece
    if is_utf8:
        hint = 'set data.encoding = "utf-8" in site.toml, or leave it out'
        raise DataError(f"{place}: is UTF-8 text, and data.encoding says {place.encoding}", hint=hint)


def _wide_lines(place: Origin, file: IO[bytes]) -> Iterator[str]:
    """The same of UTF-16 and UTF-32; which row is none cannot be told."""
    with io.TextIOWrapper(file, place.encoding, newline="") as text:
        try:
            while line := text.readline(MAX_LINE):
                if len(line) == MAX_LINE:
                    raise DataError(
                        f"{place}: has a line of over {MAX_LINE >> 20} million characters", hint=SAVE
                    )
                if "\0" in line:
                    raise DataError(f"{place}: is a binary file", hint=SAVE)
                yield line.removeprefix("\ufeff")
        except UnicodeError:
            hint = f"set data.encoding in site.toml to what the file is, or {SAVE}"
            raise DataError(f"{place}: is not {place.encoding} text", hint=hint) from None


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
