"""An NPZ file: arrays `images`, `labels` and, where it has them, `patients`. Nothing in it is ever unpickled.

The header of an array is compared with what the archive says its size is, and that with the size of the file,
before a byte is unpacked: a few kilobytes can claim terabytes.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from clients.data.sources.opened import SOURCE, require_proportion
from federation.errors import DataError

SUFFIX: Final = ".npz"
IMAGES, LABELS, PATIENTS = "images", "labels", "patients"
_KINDS: Final = {IMAGES: "uif", LABELS: "uibU", PATIENTS: "uiU"}  # of NumPy's dtypes
_BROKEN: Final = (
    *(zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, struct.error, KeyError, TypeError),
    *(NotImplementedError, RuntimeError, OverflowError, MemoryError, SyntaxError, IndexError, RecursionError),
)
_HINT: Final = "write it again, with numpy.savez"


def read_archive(path: Path, names: Sequence[str]) -> Mapping[str, NDArray[Any]]:
    """The arrays of these names, all of one length. DataError if one is not there, or is not what it should be."""
    with _opened(path) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        found = {}
        for name in names:
            info = entries.get(f"{name}.npy")
            if info is None:
                raise DataError(f'{path}: has no array "{name}"', hint="write it with numpy.savez(FILE, images=...)")
            with archive.open(info) as member:
                found[name] = _array(path, name, member, info.file_size)
    lengths = {len(array) for array in found.values()}
    if lengths == {0} or len(lengths) != 1:
        raise DataError(f"{path}: holds no records, or arrays of several lengths", hint=_HINT)
    return found


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
            require_proportion(path, unpacked, path.stat().st_size, "look at what is in it")
            yield archive
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file", hint=SOURCE) from None
    except DataError:
        raise
    except _BROKEN:
        raise DataError(f"{path}: is no NPZ file, or is cut off or damaged", hint=_HINT) from None


def _array(path: Path, name: str, member: IO[bytes], size: int) -> NDArray[Any]:
    """An array, once its header says that it is one of this archive's size, and of numbers or texts."""
    version = npy.read_magic(member)
    if version not in ((1, 0), (2, 0)):
        raise DataError(f'{path}: "{name}" is of a form that is not read', hint=_HINT)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read(member)
    if dtype.kind not in _KINDS[name] or dtype.hasobject:
        raise DataError(f'{path}: "{name}" holds objects or the like: it must be numbers or texts', hint=_HINT)
    count, left = prod(shape), size - member.tell()
    if is_fortran or len(shape) == 0 or min(shape) < 0 or count * dtype.itemsize != left:
        raise DataError(f'{path}: "{name}" is not as large as it says', hint=_HINT)
    data = member.read(left)
    if len(data) != left:
        raise DataError(f'{path}: "{name}" is cut off', hint=_HINT)
    return np.frombuffer(data, dtype, count).reshape(shape)
