"""Where the image of a cell is: a file beside the table that names it, or an entry of an array of the same archive.

A row names a file in the folder of its table, in no other: a path that leads out of it, by .. or by a link, is
refused, since a table may come from elsewhere. A file's name may be a patient's, so no message shows it.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clients.data.images.dicom import SUFFIX as DICOM
from clients.data.images.dicom import read_dicom
from clients.data.images.form import Form, NoImage, Pixels
from clients.data.images.picture import read_picture, resized
from clients.data.sources.archive import array_of
from clients.rules.origin import Origin, Place

Opener = Callable[[str, Form], Pixels]
"""A cell to its image. NoImage if it is not what the form asks for."""

_LARGEST: Final = 1 << 28  # bytes of a file of one image
_NAMED = "name each file as it is seen from the folder of the table"


def opener(place: Place, column: str) -> Opener:
    """What finds the images of a column of the table at a place. DataError for an archive that cannot be read."""
    origin = Origin.of(place)
    if origin.kind == "npz":
        return partial(_entry, array_of(origin.file, column))
    if origin.server is not None:
        return _nowhere
    return partial(_file, origin.file.parent)


def stored(place: Place, column: str) -> Callable[[str], bytes]:
    """What finds the bytes in which the images of a column are kept: no plan has a say in them."""
    origin = Origin.of(place)
    if origin.kind == "npz":
        entries = array_of(origin.file, column)
        return lambda cell: repr(entries.shape[1:]).encode() + entries[int(cell)].tobytes()
    return lambda cell: inside(origin.file.parent, cell).read_bytes()


def _nowhere(cell: str, form: Form) -> Pixels:
    del cell, form
    raise NoImage(
        "names a file, and a database has none beside it", "export the table to a file in their folder"
    )


def _entry(pixels: NDArray[Any], cell: str, form: Form) -> Pixels:
    """An entry of an array: (height, width) or (height, width, channels)."""
    picture = pixels[int(cell)]
    if picture.ndim not in (2, 3):
        raise NoImage("is no image", "the array must be (n, height, width) or (n, height, width, channels)")
    planes = picture[None] if picture.ndim == 2 else np.moveaxis(picture, 2, 0)
    form.check_size(planes.shape[2], planes.shape[1])
    form.check_channels(len(planes))
    return form.scaled(resized(planes, form))


def _file(folder: Path, cell: str, form: Form) -> Pixels:
    path = inside(folder, cell)
    return read_dicom(path, form) if path.suffix.lower() == DICOM else read_picture(path, form)


def inside(folder: Path, name: str) -> Path:
    """The file of a name, which has to be a plain file in the folder. NoImage otherwise."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or not name.isprintable():
        raise NoImage("leads out of the table's folder, or is no plain path", _NAMED)
    try:
        path = (folder / pure).resolve(strict=True)
        about = path.stat()
    except (OSError, RuntimeError, ValueError):
        raise NoImage("names a file that is not there, or may not be read", _NAMED) from None
    if not path.is_relative_to(folder.resolve()):
        raise NoImage("is a link that leads out of the table's folder", "copy the file into the folder")
    if not stat.S_ISREG(about.st_mode):
        raise NoImage("names no file", _NAMED)
    if about.st_size > _LARGEST:
        raise NoImage(f"is larger than {_LARGEST >> 20} MiB", "look at the file")
    return path
