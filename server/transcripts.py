"""The transcripts of a run, as the coordinator writes them: rounds/NNNN.transcript in its run folder.

Masked vectors go to a file without a name as they come, so the server holds one vector, its running sum, and a
process that dies leaves nothing of a round that was not opened. Once the sum is opened, what is in it is written
beside its place, flushed to the disk and renamed; then the receipt follows, which names its digest. Vectors that
are in no sum, late ones, shares, deliveries and reveals go nowhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from federation.files import kept, sync_folder
from federation.sums.transcript.record import FOLDER, SUFFIX, Content, path_of, transcripts_of, write
from privacy.roster import SignedRoster
from privacy.secagg.messages import wraps_bytes
from privacy.secagg.opened import Upload
from privacy.wire import blocks

_UNDONE = ".new"
_CHUNK = 1 << 20


class Uploads:
    """The masked vectors of one attempt, on disk without a name. CheckpointError where the disk is full."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._places: dict[int, tuple[int, int]] = {}

    def keep(self, upload: Upload) -> None:
        """Take what a site sent as its masked vector."""
        with kept(self._folder):
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._file = TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed with the attempt
            start = self._file.seek(0, os.SEEK_END)
            self._file.write(wraps_bytes(upload.wraps))
            self._file.writelines(blocks(upload.packed))
            self._places[upload.slot] = start, self._file.tell() - start

    def parts(self, slots: Iterable[int]) -> Iterator[bytes]:
        """What these sites sent, wraps and packed vector, by slot, in parts."""
        if self._file is None:
            return
        for slot in sorted(slots):
            start, size = self._places[slot]
            self._file.seek(start)
            for at in range(0, size, _CHUNK):
                yield self._file.read(min(_CHUNK, size - at))

    def close(self) -> None:
        """The attempt is over: what came is gone."""
        if self._file is not None:
            self._file.close()
        self._file = None
        self._places.clear()


@dataclass(frozen=True)
class Transcripts:
    """Where and under which roster the rounds of a run are kept."""

    run: Path
    roster: SignedRoster

    def uploads(self) -> Uploads:
        """A place for the vectors of one attempt."""
        return Uploads(self.run / FOLDER)

    def keep(self, content: Content) -> str:
        """Make the transcript of an opened round durable; its digest, in hex. CheckpointError if it cannot be."""
        path = path_of(self.run, content.heading.round)
        beside = path.with_name(path.name + _UNDONE)
        with kept(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                digest = write(file, content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            sync_folder(path.parent)
        return digest


def clean(run: Path, known: Mapping[int, str]) -> None:
    """Remove what a killed process left of rounds that have no receipt. `known`: digests by round."""
    folder = run / FOLDER
    with kept(folder):
        for path in folder.glob(f"*{SUFFIX}{_UNDONE}"):
            path.unlink()
        for path in set(transcripts_of(run)) - {path_of(run, number) for number in known}:
            path.unlink()
