"""An NPZ is a table whose columns are arrays; nothing in it is unpickled, and nothing unpacks to too much."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from clients.data.sources.archive import array_of, read_npz, shape_of
from clients.rules.origin import Origin
from federation.errors import DataError

IMAGES = np.arange(3 * 6 * 8, dtype=np.uint8).reshape(3, 6, 8)


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def test_arrays_of_one_axis_are_columns_and_images_are_counted(tmp_path: Path) -> None:
    ids = np.array(["p-1", "p-2", "p-2"])
    path = saved(
        tmp_path / "a.npz", scan=IMAGES, label=np.array([0, 1, 1]), age=np.array([1.5, 2, 3]), who=ids
    )
    table = read_npz(Origin.of(path))
    assert table.header == ("scan", "label", "age", "who")
    assert table.column("label") == ["0", "1", "1"]
    assert table.column("age") == ["1.5", "2.0", "3.0"]
    assert table.column("who") == ["p-1", "p-2", "p-2"]
    assert table.column("scan") == ["0", "1", "2"]
    assert np.array_equal(array_of(path, "scan"), IMAGES)
    assert (shape_of(path, "scan"), shape_of(path, "who")) == (IMAGES.shape, (3,))


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "sprung",))  # type: ignore[return-value]

    path = saved(tmp_path / "a.npz", scan=IMAGES, label=np.array([Trap(), 1, 1], dtype=object))
    with pytest.raises(DataError, match="array of objects"):
        read_npz(Origin.of(path))
    assert not (tmp_path / "sprung").exists()


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, scan=np.zeros((1, 10_000, 10_000), np.uint8), label=np.zeros(1, np.int64))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(DataError, match="times its size"):
        read_npz(Origin.of(path))


@pytest.mark.parametrize("shape", ["(10000000000, 6, 8)", "(-1, 6, 8)", "()", "(3, 6, 9)", "(3, 6)"])
def test_a_header_that_claims_another_size_is_refused(tmp_path: Path, shape: str) -> None:
    stream = io.BytesIO()
    np.save(stream, IMAGES)
    claimed = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    head = stream.getvalue()[:10]
    content = head + claimed.ljust(117).encode() + b"\n" + IMAGES.tobytes()
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("scan.npy", content)
    with pytest.raises(DataError, match=r"not as large as it says|damaged"):
        read_npz(Origin.of(tmp_path / "a.npz"))


@pytest.mark.parametrize(("descr", "shape"), [("|u1", "(1000000000000, 0)"), ("<U0", "(1000000000000, 2)")])
def test_a_few_bytes_do_not_claim_a_trillion_records_of_no_size(
    tmp_path: Path, descr: str, shape: str
) -> None:
    path, header = tmp_path / "a.npz", f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("scan.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
    with pytest.raises(DataError, match="without a value"):
        read_npz(Origin.of(path))


def test_arrays_of_several_lengths_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", scan=IMAGES, label=np.array([0, 1]))
    with pytest.raises(DataError, match="several lengths"):
        read_npz(Origin.of(path))
    with pytest.raises(DataError, match="no records"):
        read_npz(Origin.of(saved(tmp_path / "b.npz", label=np.zeros(0))))


def test_a_file_that_is_cut_off_is_told_wherever_it_is_cut(tmp_path: Path) -> None:
    content = saved(tmp_path / "a.npz", scan=IMAGES, label=np.array([0, 1, 1])).read_bytes()
    for end in range(0, len(content), 17):
        (tmp_path / "b.npz").write_bytes(content[:end])
        with pytest.raises(DataError, match="no NPZ file"):
            read_npz(Origin.of(tmp_path / "b.npz"))


def test_a_damaged_byte_is_found(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", scan=IMAGES)
    content = bytearray(path.read_bytes())
    content[content.index(IMAGES.tobytes()) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        array_of(path, "scan")


def test_what_is_no_array_of_images_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", label=np.array([0, 1, 1]))
    with pytest.raises(DataError, match='no array "scan"'):
        array_of(path, "scan")
    with pytest.raises(DataError, match="holds no images"):
        array_of(path, "label")
    with pytest.raises(DataError, match="no such file"):
        read_npz(Origin.of(tmp_path / "absent.npz"))
