"""The images of a site with what is said of each: a folder with labels.csv, a CSV file beside its images, or an NPZ.

A row of the table names a file in the folder of that table, in no other: a path that leads out of it, by .. or by a
link, is refused, since a table may come from elsewhere. A file's name may be a patient's, so no message shows it.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clients.data.images.archive import IMAGES, LABELS, PATIENTS, SUFFIX, read_archive
from clients.data.images.dicom import SUFFIX as DICOM
from clients.data.images.dicom import read_dicom
from clients.data.images.form import Form, NoImage, Pixels
from clients.data.images.picture import read_picture
from clients.data.notes import Note
from clients.data.sources.packed import Cells
from clients.data.sources.reading import examined
from clients.data.sources.table import Table
from clients.data.sources.values import written
from clients.rules.origin import Origin, Place
from federation.words import many

TABLE: Final = "labels.csv"
COLUMN: Final = "image"
"""Of a table: the file of each row's image, as seen from the table's folder."""
_LARGEST: Final = 1 << 28  # bytes of a file of one image
_SUFFIXES: Final = (".png", ".jpg", ".jpeg", DICOM)
_NAMED = "name each file as it is seen from the folder of the table"


@dataclass(frozen=True)
class Listed:
    """A row for each image: its label and its patient are in `table`, whose columns `names` says."""

    table: Table
    names: Mapping[str, str]
    folder: Path | None = None
    pixels: NDArray[Any] | None = field(default=None, repr=False)

    def pictures(self, form: Form) -> Iterator[Pixels | NoImage]:
        """Every row's image in turn, or what is wrong with it."""
        if self.pixels is not None:
            for picture in self.pixels:
                yield _tried(lambda picture=picture: _plain(picture, form))  # type: ignore[misc]
            return
        assert self.folder is not None  # noqa: S101  # a table beside its images
        for name in self.table.column(COLUMN):
            yield _tried(lambda name=name: _opened(self.folder, name, form))  # type: ignore[misc]

    @property
    def notes(self) -> tuple[Note, ...]:
        """What looks odd about the files: some that no row names, some that several do."""
        if self.folder is None:
            return ()
        names = [str(PurePosixPath(name)) for name in self.table.column(COLUMN)]
        there = {
            path.relative_to(self.folder).as_posix()
            for path in self.folder.rglob("*")
            if path.suffix.lower() in _SUFFIXES and path.is_file()
        }
        found = []
        if left := len(there - set(names)):
            said = f"{many(left, 'image')} in its folder have no row"
            found.append(Note(self.table.path, said, "add them, or take no notice"))
        if twice := len(names) - len(set(names)):
            said = f"{many(twice, 'row')} name an image that an earlier row names"
            found.append(Note(self.table.path, said, "each counts as a record of its own: keep one of them"))
        return tuple(found)


def listed(place: Place, target: str, patient: str | None) -> Listed:
    """The images at a place. DataError if there are none. Of an NPZ the columns are its own arrays."""
    origin = Origin.of(place)
    if origin.server is None and origin.file.suffix.lower() == SUFFIX:
        return _of_archive(origin.file, patient is not None)
    if origin.server is None and origin.file.is_dir():
        origin = replace(origin, kind="csv", file=origin.file / TABLE)
    names = {target: target} | ({patient: patient} if patient is not None else {})
    return Listed(examined(origin), names, origin.file.parent)


def _of_archive(path: Path, has_patients: bool) -> Listed:
    kept = (LABELS, PATIENTS) if has_patients else (LABELS,)
    found = read_archive(path, (IMAGES, *kept))
    cells = tuple(Cells.of([written(value) for value in found[name].tolist()]) for name in kept)
    table = Table(path, kept, cells, range(len(found[IMAGES])))
    return Listed(table, dict.fromkeys(kept), None, found[IMAGES])


def _tried(read: Any) -> Pixels | NoImage:
    try:
        found: Pixels = read()
    except NoImage as wrong:
        return wrong
    return found


def _plain(picture: NDArray[Any], form: Form) -> Pixels:
    """An entry of an array: (height, width) or (height, width, channels)."""
    if picture.ndim not in (2, 3):
        raise NoImage("is no image", "the array must be (n, height, width) or (n, height, width, channels)")
    planes = picture[None] if picture.ndim == 2 else np.moveaxis(picture, 2, 0)
    form.check_size(planes.shape[2], planes.shape[1])
    form.check_channels(len(planes))
    return form.scaled(resized(planes, form))


def _opened(folder: Path, name: str, form: Form) -> Pixels:
    path = _inside(folder, name)
    return read_dicom(path, form) if path.suffix.lower() == DICOM else read_picture(path, form)


def _inside(folder: Path, name: str) -> Path:
    """The file of a name, which has to be a plain file in the folder. NoImage otherwise."""
    if not name:
        raise NoImage("names no file", _NAMED)
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or not name.isprintable():
        raise NoImage("leads out of the folder, or is no plain path", _NAMED)
    try:
        path = (folder / pure).resolve(strict=True)
        about = path.stat()
    except (OSError, RuntimeError, ValueError):
        raise NoImage("names a file that is not there, or may not be read", _NAMED) from None
    if not path.is_relative_to(folder.resolve()):
        raise NoImage("is a link that leads out of the folder", "copy the file into the folder")
    if not stat.S_ISREG(about.st_mode):
        raise NoImage("is no file", _NAMED)
    if about.st_size > _LARGEST:
        raise NoImage(f"is larger than {_LARGEST >> 20} MiB", "look at the file")
    return path
