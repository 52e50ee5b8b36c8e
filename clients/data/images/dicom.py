"""One DICOM file into pixels, by pydicom (the extra `dicom`). What the file says of its values is taken as said.

A plan's window is on the values that the modality means (Hounsfield units of a CT), not on those that are stored.
Only files whose pixels are stored as they are, are read: every codec would be one more decoder to trust.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clients.data.images.form import REDUCED_AT_MOST, Form, NoImage, Pixels
from clients.data.images.picture import resized
from federation import extras
from federation.errors import DataError

SUFFIX: Final = ".dcm"
_PLAIN: Final = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")  # little-endian, implicit and explicit
_EXPORT: Final = "export it again"


def pydicom() -> Any:
    """The library. DataError with the command that installs it."""
    library = extras.library("pydicom", "dicom", "DICOM is read by pydicom, which is not here", DataError)
    logging.getLogger("pydicom").disabled = True  # its lines quote what is in the file
    return library


def read_dicom(path: Path, form: Form) -> Pixels:
    """The pixels of a DICOM file, (channels, height, width) in [-1, 1]. NoImage if it is none for the plan.

    MONOCHROME1, where low is white, is turned around, so that -1 is black in every file.
    """
    library = pydicom()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # their texts quote what is in the file
            return _read(library, path, form)
    except NoImage:
        raise
    except library.errors.InvalidDicomError:
        raise NoImage("is no DICOM file", _EXPORT) from None
    except Exception:  # of a library that meets whatever a file says
        raise NoImage("is cut off or damaged", _EXPORT) from None


def form_of_dicom(path: Path) -> Form:
    """What a plan would have to say that takes this file. NoImage if it is no DICOM file with an image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = pydicom().dcmread(path, stop_before_pixels=True)
            form = Form.of_any_value(int(file.Rows), int(file.Columns), _channels(file))
    except DataError:
        raise
    except Exception:  # of a library that meets whatever a file says
        raise NoImage("is no DICOM file with an image", _EXPORT) from None
    if not 0 < form.height * form.width <= REDUCED_AT_MOST:
        raise NoImage("is of no size, or far too large to be a picture", "look at the file")
    return form


def _channels(file: Any) -> int:
    return {"MONOCHROME1": 1, "MONOCHROME2": 1, "RGB": 3}.get(str(file.PhotometricInterpretation), 0)


def _read(library: Any, path: Path, form: Form) -> Pixels:
    syntax = str(library.filereader.read_file_meta_info(path).get("TransferSyntaxUID", ""))
    if syntax not in _PLAIN:
        raise NoImage("is compressed, or big-endian", "save it with plain pixels (Explicit VR Little Endian)")
    file = library.dcmread(path)
    _check(file, form)
    pixels = form.scaled(resized(_values(file), form))
    return -pixels if file.PhotometricInterpretation == "MONOCHROME1" else pixels


def _check(file: Any, form: Form) -> None:
    form.check_size(int(file.Columns), int(file.Rows))
    channels = _channels(file)
    form.check_channels(channels)
    if int(file.get("NumberOfFrames") or 1) != 1 or int(file.SamplesPerPixel) != channels:
        raise NoImage("has several frames, or samples that it does not explain", "keep one image in a file")


def _values(file: Any) -> NDArray[np.float64]:
    """(channels, height, width) in the modality's own unit."""
    if "ModalityLUTSequence" in file:
        raise NoImage("maps its values by a table", "export it with a rescale slope and intercept")
    stored = np.asarray(file.pixel_array, np.float64)
    planes = stored[None] if stored.ndim == 2 else np.moveaxis(stored, 2, 0)
    slope, intercept = file.get("RescaleSlope"), file.get("RescaleIntercept")
    return planes * float(1 if slope is None else slope) + float(0 if intercept is None else intercept)
