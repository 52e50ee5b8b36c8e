"""Deletes what a run folder holds of people's data, and leaves a record that it did.

What the parts of a run folder hold, and so when they may go:

    proofs    rounds/ holds what opened every sum, checkpoint/ the params of a run that is not over (of a simulation
              also its made-up identities, and fingerprints of the data), link/ what the SuperLink said.
              They prove and resume; a run that is over works without them.
    model     the params, and what was computed with them: report.json, report.html.
    figures   of a simulation: receipts and journals, whose figures are exact; a journal also holds the last vector
              while its run is not over. Receipts of a real run hold none of data (digests, heads of ledgers, names)
              but for figures that were published and paid for.
    record    plan, rosters, consents, and of a real run its receipts: who took part, under what, and what it cost.
              They stay: whoever deletes has to be able to show later what there was and that it is gone.

`forgotten.json` is written first, and each file that it names is deleted then: a process that is killed in between
leaves a folder in which the same command goes on. No run is resumed or begun in such a folder. The record is not
signed and proves nothing: an audit tells what it says, and finds what is missing all the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal

from federation.errors import UnusableFile
from federation.files import kept, replace_file, sync_folder
from federation.round.plays import folds_in
from federation.sums.transcript.record import FOLDER

RECORD: Final = "forgotten.json"
LINK: Final = "link"
"""What a SuperLink keeps; its coordinator is the only one at work in it."""
SCHEMA: Final = "federation.forgotten/1"
Part = Literal["proofs", "model", "figures"]

_PROOFS: Final = (FOLDER, "checkpoint", LINK)
_MODEL: Final = ("params.safetensors", "report.json", "report.html")
_FIGURES: Final = ("receipts.jsonl", "journals")
_OTHERS: Final = (
    "plan.toml",
    "roster.toml",
    "rosters",
    "consents.jsonl",
    "receipts.jsonl",
    "journals",
    "rehearsals",
    RECORD,
)
_STATE: Final = Path("checkpoint") / "state.safetensors"
_UNDONE: Final = ".new"  # left beside a file by a process that was killed


@dataclass(frozen=True)
class Found:
    """What a run folder holds: files to delete, by part; what stays; and names of what is none of ours."""

    folder: Path
    is_over: bool
    parts: Mapping[Part, tuple[Path, ...]]
    stays: tuple[str, ...]
    strange: tuple[str, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """All that would be deleted."""
        return tuple(chain.from_iterable(self.parts.values()))

    def with_fold(self, fold: Found) -> Found:
        """With what the folder of a fold holds."""
        name = fold.folder.name
        return Found(
            self.folder,
            self.is_over,
            {
                part: (*self.parts.get(part, ()), *fold.parts.get(part, ()))
                for part in (*self.parts, *fold.parts)
            },
            (*self.stays, *(f"{name}/{each}" for each in fold.stays)),
            (*(each for each in self.strange if each != name), *(f"{name}/{each}" for each in fold.strange)),
        )

    def bytes_of(self, part: Part) -> int:
        """How much there is of it."""
        return sum(path.lstat().st_size for path in self.parts[part])


def examine(folder: Path, *, with_model: bool) -> Found:
    """What `forget` would delete; nothing is changed. UnusableFile if `folder` holds no run."""
    if not (folder / "plan.toml").is_file():
        raise UnusableFile(
            "holds no run: there is no plan.toml", hint="name the folder of a run", path=folder
        )
    found = _examined(folder, with_model=with_model, is_simulation=(folder / "journals").is_dir())
    for fold in folds_in(folder):  # a part of a plan with folds, and a run folder as well
        if (fold / "plan.toml").exists():
            is_simulation = (folder / "journals").is_dir()
            found = found.with_fold(_examined(fold, with_model=with_model, is_simulation=is_simulation))
    return found


def _examined(folder: Path, *, with_model: bool, is_simulation: bool) -> Found:
    is_over = not (folder / _STATE).exists()
    parts: dict[Part, tuple[Path, ...]] = {"proofs": tuple(_files(folder, _PROOFS))}
    if with_model:
        parts["model"] = tuple(_files(folder, _MODEL))
    if is_simulation and (with_model or not is_over):
        parts["figures"] = tuple(_files(folder, _FIGURES))
    known = {*_PROOFS, *_MODEL, *_OTHERS}
    there = sorted(entry.name for entry in folder.iterdir())
    gone = {path.relative_to(folder).parts[0] for paths in parts.values() for path in paths}
    stays = tuple(name for name in there if name in known - gone)
    strange = tuple(name for name in there if name.removesuffix(_UNDONE) not in known)
    return Found(folder, is_over, parts, stays, strange)


def forget(found: Found) -> None:
    """Delete all that was found, the record of it first. CheckpointError where the folder cannot be written."""
    with kept(found.folder / RECORD) as record:
        replace_file(record, json.dumps(_told(found), indent=1).encode())
    with kept(found.folder):
        for path in found.files:
            path.unlink(missing_ok=True)
        for folder in {path.relative_to(found.folder).parts[0] for path in found.files}:
            for inside in _folders(found.folder / folder):
                if not any(inside.iterdir()):
                    inside.rmdir()
        sync_folder(found.folder)


def is_forgotten(folder: Path) -> bool:
    """Whether something of the run in this folder was deleted on purpose."""
    return (folder / RECORD).exists()


def _files(folder: Path, names: tuple[str, ...]) -> Iterator[Path]:
    """The files of these names, those in folders of these names, and what was left half written beside them.

    A link is deleted as a link; what it leads to is not ours.
    """
    for name in names:
        for path in (folder / name, folder / f"{name}{_UNDONE}"):
            if path.is_symlink() or path.is_file():
                yield path
            for inside, folders, files in os.walk(path):  # into no link
                links = [each for each in folders if (Path(inside) / each).is_symlink()]
                yield from (Path(inside) / each for each in sorted([*files, *links]))


def _folders(folder: Path) -> list[Path]:
    """Those that may be empty now, the innermost first."""
    return [Path(inside) for inside, _, _ in os.walk(folder, topdown=False) if not Path(inside).is_symlink()]


def _told(found: Found) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    deletion = {
        "time": now,
        "version": version("private-federation"),
        "parts": [part for part, files in found.parts.items() if files],
        "files": [path.relative_to(found.folder).as_posix() for path in found.files],
    }
    return {"schema": SCHEMA, "deletions": [*_earlier(found.folder / RECORD), deletion]}


def _earlier(record: Path) -> list[Any]:
    """What was deleted before; a record that cannot be read is begun anew."""
    try:
        before = json.loads(record.read_text("utf-8"))["deletions"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    return before if isinstance(before, list) else []
