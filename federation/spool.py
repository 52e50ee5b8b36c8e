"""A message of gigabytes in a file without a name: written and read in blocks, gone with whoever holds it."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from tempfile import TemporaryFile

from privacy.errors import RecordsUnavailable
from privacy.wire import Octets, Stored


class Spool:
    """Where `ClientMachine.mask_into` writes, and what `ServerMachine.receive` reads: `content`.

    Nobody else can open the file, and of a process that dies nothing stays; `close` lets go of it.
    RecordsUnavailable where the disk is full or cannot be read. `folder` is where it lies, by default the system's
    for such files.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._make_room = (
            "make room on the disk, or set TMPDIR" if folder is None else f"make room in {folder}"
        )
        try:
            self._file = TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise self._unavailable("written", error) from None
        self.close = weakref.finalize(self, self._file.close)  # at the latest when nobody holds it

    @property
    def content(self) -> Stored:
        """All that was written."""
        return self.part(0, os.fstat(self._file.fileno()).st_size)

    def write(self, start: int, data: Octets) -> None:
        """Put these bytes at this place."""
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._file.fileno(), view, start)
                view, start = view[written:], start + written
        except OSError as error:
            raise self._unavailable("written", error) from None

    def part(self, start: int, size: int) -> Stored:
        """So many bytes of what was written, where they are."""
        return Stored(self._read, size, start)

    def _read(self, start: int, size: int) -> bytes:
        try:
            found = os.pread(self._file.fileno(), size, start)
            while len(found) < size and (
                more := os.pread(self._file.fileno(), size - len(found), start + len(found))
            ):
                found += more
        except OSError as error:
            raise self._unavailable("read", error) from None
        return found

    def _unavailable(self, done: str, error: OSError) -> RecordsUnavailable:
        message = f"a masked vector cannot be {done} ({error.strerror or type(error).__name__})"
        return RecordsUnavailable(message, hint=f"{self._make_room}, then try again")
