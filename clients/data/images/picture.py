"""One PNG or JPEG file into pixels, by Pillow. A file is no friend: its size is looked at before it is unpacked.

No other format is opened, whatever a file is called: Pillow knows many, and each decoder more is one more to trust.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from clients.data.images.form import REDUCED_AT_MOST, Form, NoImage, Pixels

FORMATS: Final = ("PNG", "JPEG")
_CHANNELS: Final = {"L": 1, "I;16": 1, "I;16B": 1, "I;16L": 1, "I": 1, "RGB": 3}
_ODD: Final = {
    "P": ("has a palette", "save it as gray or RGB"),
    "1": ("has one bit for a pixel", "save it as gray of 8 bits"),
    "LA": ("may be transparent", "save it without an alpha channel"),
    "RGBA": ("may be transparent", "save it without an alpha channel"),
    "PA": ("may be transparent", "save it without an alpha channel"),
    "CMYK": ("is in colors for print (CMYK)", "save it as RGB"),
}
_TURNED: Final = 0x0112  # the tag that says how the camera was held; from 5 on, rows are columns
_BROKEN: Final = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    zlib.error,
    KeyError,
    TypeError,
    IndexError,
)
"""What Pillow says of files that are cut off or damaged."""


def read_picture(path: Path, form: Form) -> Pixels:
    """The pixels of a file, (channels, height, width) in [-1, 1]. NoImage if it is no PNG or JPEG for the plan."""
    with _opened(path) as image:
        _check(image, form)
        values = _values(image, form)
    return form.scaled(values)


def form_of_picture(path: Path) -> Form:
    """What a plan would have to say that takes this file. NoImage if none can."""
    with _opened(path) as image:
        if min(image.size) < 1 or image.width * image.height > REDUCED_AT_MOST:
            raise NoImage("is of no size, or far too large to be a picture", "look at the file")
        channels, (width, height) = _channels(image), _shown_size(image)
    return Form.of_any_value(height, width, channels)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """A file that Pillow takes for a PNG or JPEG. What it says of a damaged one becomes NoImage."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # their texts are about what is in the file
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                yield image
    except NoImage:
        raise
    except UnidentifiedImageError:
        raise NoImage("is no PNG or JPEG file", "save it as one of these") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise NoImage("is far too large to be a picture", "look at the file") from None
    except (*_BROKEN, MemoryError):
        raise NoImage("is cut off or damaged", "export it again") from None


def _check(image: Image.Image, form: Form) -> None:
    """All that can be told before it is unpacked; to find out how it is turned may unpack a PNG."""
    form.check_area(*image.size)
    form.check_channels(_channels(image))
    form.check_size(*_shown_size(image))


def _channels(image: Image.Image) -> int:
    """1 or 3. NoImage for what is neither plainly gray nor RGB, or no single image."""
    if image.mode in _ODD:
        raise NoImage(*_ODD[image.mode])
    if "transparency" in image.info:
        raise NoImage(*_ODD["RGBA"])
    if image.mode == "RGB" and any("16" in str(tile[3]) for tile in getattr(image, "tile", ())):
        raise NoImage("has 16 bits for each color", "save it with 8")  # of which Pillow would keep 8
    if getattr(image, "n_frames", 1) != 1:
        raise NoImage("has several frames", "keep one image in a file")
    return _CHANNELS.get(image.mode, 0)


def _shown_size(image: Image.Image) -> tuple[int, int]:
    """Width and height once it is turned as the file says."""
    width, height = image.size
    return (height, width) if image.getexif().get(_TURNED, 1) in (5, 6, 7, 8) else (width, height)


def _values(image: Image.Image, form: Form) -> NDArray[Any]:
    """(channels, height, width), turned as the file says."""
    image.load()
    turned = ImageOps.exif_transpose(image)
    values = np.asarray(turned)
    planes = values[None] if values.ndim == 2 else np.moveaxis(values, 2, 0)
    return resized(planes, form)


def resized(planes: NDArray[Any], form: Form) -> NDArray[Any]:
    """Planes (channels, height, width) at the plan's size: means of what a new pixel covers, or linear between."""
    if planes.shape[1:] == (form.height, form.width):
        return planes
    size = (form.width, form.height)
    floats = (Image.fromarray(plane.astype(np.float32)) for plane in planes)
    return np.stack([np.asarray(plane.resize(size, Image.Resampling.BILINEAR)) for plane in floats])
