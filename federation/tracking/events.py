"""A run as TensorBoard's event file: one scalar for each figure and round, digests and settings as text.

The file is written as a whole and its name follows from the run, so writing it twice leaves one. The library's
usual writer would put the name of this machine into the file's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from federation.errors import UnusableFile
from federation.files import replace_file
from federation.tracking.library import library
from federation.tracking.told import Tracked

LIBRARY: Final = "tensorboardX"


def write_events(run: Tracked, folder: Path) -> Path:
    """Write the run into a folder of its own under `folder`; the path of the file. UnusableFile if it cannot be."""
    path = folder / run.folder / f"events.out.tfevents.{int(run.ended)}.federation"
    try:
        with TemporaryDirectory(prefix="federation-") as scratch:
            beside = Path(scratch) / "events"  # an absolute path: the library takes s3:... for a server
            writer = library(LIBRARY, "record_writer").RecordWriter(str(beside))
            for event in _events(run):
                writer.write(event.SerializeToString())
            writer.close()
            replace_file(path, beside.read_bytes())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UnusableFile(f"cannot be written ({reason})", hint="name another", path=path) from None
    return path


def _events(run: Tracked) -> Iterator[Any]:
    event, summary = library(LIBRARY, "proto.event_pb2").Event, library(LIBRARY, "summary")
    yield event(wall_time=run.begun, file_version="brain.Event:2")
    for one in sorted(run.scalars, key=lambda one: one.round):
        if math.isfinite(one.value):
            at = run.times.get(one.round, run.ended)
            yield event(wall_time=at, step=one.round, summary=summary.scalar(one.name, one.value))
    for tag, rows in (("digests", run.tags), ("settings", run.settings)):
        yield event(wall_time=run.ended, summary=summary.text(tag, _table(rows)))


def _table(rows: Mapping[str, str]) -> str:
    """In Markdown, as TensorBoard shows text."""
    lines = (f"| {name} | {value.replace('|', ' ')} |" for name, value in rows.items())
    return "\n".join(["| | |", "|---|---|", *lines])
