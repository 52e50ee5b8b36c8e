"""NPZ files as tables: an array of numbers or texts is a column, an array of images a column that counts them.

Nothing in it is ever unpickled. The header of an array is compared with what the archive says its size is, and that
with the size of the file, before a byte is unpacked: a few kilobytes can claim terabytes.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from clients.data.sources.opened import SOURCE, require_proportion
from clients.data.sources.packed import Cells
from clients.data.sources.table import Table
from clients.data.sources.values import written
from clients.rules.origin import Origin
from federation.errors import DataError
from federation.plan.identifiers import cleaned

_KINDS: Final = "uifbU"  # of NumPy's dtypes
_MEMBER: Final = ".npy"
_BROKEN: Final = (
    *(zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, struct.error, KeyError, TypeError),
    *(NotImplementedError, RuntimeError, OverflowError, MemoryError, SyntaxError, IndexError),
)
_HINT: Final = "write it again, with numpy.savez"


@dataclass(frozen=True)
class _Header:
    """What an array says it is."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def read_npz(place: Origin) -> Table:
    """The arrays of a file as a table; row i is entry i, from 0. DataError if it is none, or may not be read."""
    path = place.file
    names, columns, lengths = list[str](), list[Cells](), set[int]()
    with _opened(path) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(_MEMBER)
            with archive.open(info) as member:
                header = _header(path, info, member)
                lengths.add(header.shape[0])
                if len(lengths) > 1 or not header.shape[0]:
                    raise DataError(f"{path}: holds no records, or arrays of several lengths", hint=_HINT)
                is_column = len(header.shape) == 1
                values = _entries(path, member, header).tolist() if is_column else range(header.shape[0])
                columns.append(_cells(path, map(written, values)))
                names.append(cleaned(name))
    if not names:
        raise DataError(f"{path}: holds no arrays", hint=_HINT)
    return Table(place, tuple(names), tuple(columns), range(next(iter(lengths))))


def array_of(path: Path, name: str) -> NDArray[Any]:
    """The array whose name is the column's. DataError if it is not there, or has one axis."""
    with _member(path, name) as (info, member):
        header = _header(path, info, member)
        if len(header.shape) == 1 or header.dtype.kind == "U":
            raise DataError(
                f'{path}: array "{name}" holds no images', hint="images have a height and a width"
            )
        return _entries(path, member, header)


def shape_of(path: Path, name: str) -> tuple[int, ...]:
    """The shape of that array, of which nothing else is unpacked: (n,) of a column of cells."""
    with _member(path, name) as (info, member):
        return _header(path, info, member).shape


@contextmanager
def _member(path: Path, name: str) -> Iterator[tuple[zipfile.ZipInfo, IO[bytes]]]:
    with _opened(path) as archive:
        found = [
            info
            for info in archive.infolist()
            if cleaned(info.filename.removesuffix(_MEMBER)) == cleaned(name)
        ]
        if len(found) != 1:
            raise DataError(
                f'{path}: has no array "{name}"', hint="write it with numpy.savez(FILE, NAME=images)"
            )
        with archive.open(found[0]) as member:
            yield found[0], member


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


def _header(path: Path, info: zipfile.ZipInfo, member: IO[bytes]) -> _Header:
    """What an array says it is, once that fits what the archive says."""
    version = npy.read_magic(member)
    if version not in ((1, 0), (2, 0)):
        raise DataError(f"{path}: holds an array of a form that is not read", hint=_HINT)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read(member)
    if dtype.hasobject or dtype.kind not in _KINDS:
        hint = "arrays must be of numbers or texts: nothing is unpickled here"
        raise DataError(f"{path}: holds an array of objects or the like", hint=hint)
    left = info.file_size - member.tell()
    if left == 0:  # entries of no size: any number of them fits into a few bytes
        raise DataError(f"{path}: holds no records, or records without a value", hint=_HINT)
    if not shape or min(shape) < 0 or is_fortran or prod(shape) * dtype.itemsize != left:
        hint = "write it again, in C order: numpy.savez(FILE, NAME=numpy.ascontiguousarray(images))"
        raise DataError(
            f"{path}: holds an array that is not as large as it says, or in Fortran order", hint=hint
        )
    return _Header(shape, dtype)


def _entries(path: Path, member: IO[bytes], header: _Header) -> NDArray[Any]:
    size = prod(header.shape) * header.dtype.itemsize
    data = member.read(size)
    if len(data) != size:
        raise DataError(f"{path}: is cut off", hint=_HINT)
    return np.frombuffer(data, header.dtype, prod(header.shape)).reshape(header.shape)


def _cells(path: Path, texts: Iterator[str]) -> Cells:
    try:
        return Cells.of(list(texts))
    except ValueError:
        raise DataError(f"{path}: holds a text with a NUL in it", hint=_HINT) from None
