"""DICOM files become pixels in the modality's own unit; nothing is decoded but what is stored as it is."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from clients.data.images.dicom import read_dicom
from clients.data.images.form import Form, NoImage
from federation.errors import DataError
from tests.adversary.endurance.mutations import mutated
from tests.scale import scaled

STORED = (np.arange(48, dtype=np.uint16) * 40).reshape(6, 8)
CT = Form(height=6, width=8, channels=1, low=-1000, high=400)


def dicom(syntax: str = "ExplicitVRLittleEndian", **changes: object) -> bytes:
    """A CT slice with so much changed."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    file = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    known = {
        "PatientName": "Smith^Mary",
        "Rows": 6,
        "Columns": 8,
        "SamplesPerPixel": 1,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "RescaleSlope": 1,
        "RescaleIntercept": -1000,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelData": STORED.tobytes(),
    }
    for key, value in {**known, **changes}.items():
        if value is not None:
            setattr(file, key, value)
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, file, enforce_file_format=True)
    return stream.getvalue()


def read(folder: Path, content: bytes, form: Form = CT) -> np.ndarray:
    path = folder / "slice.dcm"
    path.write_bytes(content)
    return read_dicom(path, form)


@pytest.mark.extras
def test_the_window_is_on_the_values_that_the_modality_means(tmp_path: Path) -> None:
    pixels = read(tmp_path, dicom())
    assert pixels.shape == (1, 6, 8)
    assert np.allclose(pixels[0], np.clip((STORED - 1000.0 + 300) / 700, -1, 1), atol=1e-6)
    plain = read(tmp_path, dicom(RescaleSlope=None, RescaleIntercept=None), Form(6, 8, 1, 0, 2000))
    assert np.allclose(plain[0], STORED / 1000 - 1, atol=1e-6)


@pytest.mark.extras
def test_black_is_black_in_every_file(tmp_path: Path) -> None:
    assert np.array_equal(
        read(tmp_path, dicom(PhotometricInterpretation="MONOCHROME1")), -read(tmp_path, dicom())
    )


@pytest.mark.extras
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"Rows": 8, "Columns": 6}, "is not of 8 x 6 pixels"),
        ({"Rows": 60000, "Columns": 60000}, "is not of 8 x 6 pixels"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "is neither gray nor RGB"),
        ({"NumberOfFrames": 2, "PixelData": STORED.tobytes() * 2}, "has several frames"),
        ({"PixelData": STORED.tobytes()[:40]}, "is cut off or damaged"),
        ({"RescaleSlope": None, "RescaleIntercept": "1e400"}, "has a pixel that is not a finite"),
    ],
)
def test_what_is_no_slice_of_the_plan_is_told(tmp_path: Path, changes: dict[str, object], told: str) -> None:
    with pytest.raises(NoImage) as wrong:
        read(tmp_path, dicom(**changes))
    assert wrong.value.said.startswith(told)


@pytest.mark.extras
@pytest.mark.parametrize(
    "syntax", ["DeflatedExplicitVRLittleEndian", "JPEGBaseline8Bit", "ExplicitVRBigEndian"]
)
def test_codecs_are_refused_before_anything_is_unpacked(
    tmp_path: Path, syntax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pydicom = pytest.importorskip("pydicom")
    pixels = STORED.tobytes()
    if syntax.startswith("JPEG"):
        pixels = pydicom.encaps.encapsulate([b"\xff\xd8\xff"])
    content = dicom(syntax, PixelData=pixels)

    def unpacked(*_: object, **__: object) -> None:
        raise AssertionError("the file was read")

    monkeypatch.setattr(pydicom, "dcmread", unpacked)
    with pytest.raises(NoImage, match="is compressed, or big-endian"):
        read(tmp_path, content)


@pytest.mark.extras
def test_a_file_that_is_cut_off_is_told_and_nothing_of_it_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = dicom()
    for end in range(0, len(content) - 1, 29):
        with pytest.raises(NoImage) as wrong:
            read(tmp_path, content[:end])
        assert "Smith" not in str(wrong.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.extras
def test_bytes_that_nobody_made_are_an_image_or_none(tmp_path: Path) -> None:
    content = dicom()
    for data in mutated("dicom", [content], [content], scaled(200)):
        try:
            pixels = read(tmp_path, data)
        except NoImage:
            continue
        assert pixels.shape == (1, 6, 8)
        assert np.isfinite(pixels).all()


def test_without_the_library_the_command_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr("federation.extras.import_module", without)
    with pytest.raises(DataError, match=r"private-federation\[dicom\]"):
        read_dicom(tmp_path / "a.dcm", CT)
