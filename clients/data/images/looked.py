"""What an image is, where no plan says so yet: its size, its channels, its darkest and its brightest value.

For images of a table that is public (`federation plan new`). A file is read by the same readers as in a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clients.data.images.dicom import SUFFIX as DICOM
from clients.data.images.dicom import form_of_dicom, read_dicom
from clients.data.images.form import WIDEST, NoImage
from clients.data.images.opened import inside
from clients.data.images.picture import form_of_picture, read_picture


@dataclass(frozen=True)
class Seen:
    """An image of a file: its pixels and channels; its least and greatest value, if it was unpacked."""

    width: int
    height: int
    channels: int
    ends: tuple[float, float] | None = None


def look(folder: Path, cell: str, *, unpacks: bool) -> Seen:
    """The image that a cell of a table in `folder` names. NoImage if no plan could take it."""
    path = inside(folder, cell)
    is_scan = path.suffix.lower() == DICOM
    form = form_of_dicom(path) if is_scan else form_of_picture(path)
    if form.channels not in (1, 3):
        raise NoImage("is neither gray nor RGB", "save it as one of these")
    ends = None
    if unpacks:
        values = (read_dicom if is_scan else read_picture)(path, form) * WIDEST
        ends = float(values.min()), float(values.max())
    return Seen(form.width, form.height, form.channels, ends)
