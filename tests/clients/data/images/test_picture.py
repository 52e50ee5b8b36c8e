"""PNG and JPEG files become pixels as the plan says, and a file that is none of its kind is told by name."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clients.data.images.form import Form, NoImage
from clients.data.images.picture import read_picture

GRAY = Form(height=6, width=8, channels=1, low=0, high=255)
COLOR = Form(height=6, width=8, channels=3, low=0, high=255)
VALUES = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def png(array: np.ndarray, mode: str | None = None, kind: str = "PNG", **options: object) -> bytes:
    image, stream = Image.fromarray(array), io.BytesIO()
    (image if mode is None else image.convert(mode)).save(stream, kind, **options)
    return stream.getvalue()


def at(folder: Path, content: bytes, name: str = "scan.png") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def said(folder: Path, content: bytes, form: Form = GRAY) -> str:
    with pytest.raises(NoImage) as wrong:
        read_picture(at(folder, content), form)
    return wrong.value.said


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def handmade(width: int, height: int, depth: int, color: int, rows: bytes, *more: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    parts = chunk(b"IHDR", head), *more, chunk(b"IDAT", zlib.compress(rows, 9)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_pixels_are_scaled_from_the_public_range(tmp_path: Path) -> None:
    pixels = read_picture(at(tmp_path, png(VALUES)), GRAY)
    assert pixels.shape == (1, 6, 8)
    assert pixels.dtype == np.float32
    assert np.allclose(pixels[0], VALUES / 127.5 - 1, atol=1e-6)


def test_what_is_beyond_the_range_is_cut(tmp_path: Path) -> None:
    narrow = Form(6, 8, 1, low=50, high=100)
    pixels = read_picture(at(tmp_path, png(VALUES)), narrow)
    assert pixels.min() == -1
    assert pixels.max() == 1
    assert np.allclose(pixels[0], np.clip((VALUES.astype(float) - 75) / 25, -1, 1))


def test_color_jpegs_are_read(tmp_path: Path) -> None:
    flat = np.full((6, 8, 3), (200, 100, 50), np.uint8)
    pixels = read_picture(at(tmp_path, png(flat, kind="JPEG", quality=95), "a.jpg"), COLOR)
    assert np.allclose(pixels.mean((1, 2)), np.array([200, 100, 50]) / 127.5 - 1, atol=0.02)


def test_16_bits_of_gray_are_kept(tmp_path: Path) -> None:
    wide = Form(6, 8, 1, low=0, high=65535)
    values = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000 + 7
    pixels = read_picture(at(tmp_path, png(values)), wide)
    assert np.allclose(pixels[0], values / 32767.5 - 1, atol=1e-6)


def test_16_bits_of_color_are_refused_and_never_cut_to_8(tmp_path: Path) -> None:
    rows = (b"\0" + b"\x12\x34" * 24) * 6
    assert said(tmp_path, handmade(8, 6, 16, 2, rows), COLOR) == "has 16 bits for each color"


def test_an_image_is_turned_as_its_file_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rows are columns
    content = png(VALUES.T.copy()[::-1].copy(), exif=exif)
    turned = read_picture(at(tmp_path, content), GRAY)
    plain = read_picture(at(tmp_path, png(VALUES), "plain.png"), GRAY)
    assert np.array_equal(np.sort(turned, None), np.sort(plain, None))
    assert turned.shape == plain.shape


def test_another_size_is_refused_unless_the_plan_resizes(tmp_path: Path) -> None:
    large = np.kron(VALUES, np.ones((4, 4), np.uint8))
    assert said(tmp_path, png(large)) == "is not of 8 x 6 pixels"
    assert said(tmp_path, png(VALUES.T.copy())) == "is not of 8 x 6 pixels"
    resizing = Form(6, 8, 1, 0, 255, resize=True)
    small = read_picture(at(tmp_path, png(large)), resizing)
    assert np.abs(small[0] - (VALUES / 127.5 - 1)).mean() < 0.05


@pytest.mark.parametrize(
    ("array", "mode", "form", "told"),
    [
        (VALUES, "RGB", GRAY, "is in color"),
        (VALUES, None, COLOR, "is gray"),
        (VALUES, "P", COLOR, "has a palette"),
        (VALUES, "1", GRAY, "has one bit"),
        (VALUES, "LA", GRAY, "may be transparent"),
        (VALUES, "RGBA", COLOR, "may be transparent"),
    ],
)
def test_nobody_guesses_a_color(
    tmp_path: Path, array: np.ndarray, mode: str | None, form: Form, told: str
) -> None:
    assert said(tmp_path, png(array, mode), form).startswith(told)


def test_a_transparent_color_is_refused(tmp_path: Path) -> None:
    rows = (b"\0" + bytes(8)) * 6
    assert said(tmp_path, handmade(8, 6, 8, 0, rows, chunk(b"tRNS", b"\0\0"))) == "may be transparent"


def test_several_frames_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(VALUES), Image.fromarray(255 - VALUES)]
    stream = io.BytesIO()
    frames[0].save(stream, "PNG", save_all=True, append_images=frames[1:])
    assert said(tmp_path, stream.getvalue()) == "has several frames"


def test_a_file_is_opened_by_what_it_is_and_as_nothing_else(tmp_path: Path) -> None:
    for kind in ("BMP", "GIF", "TIFF"):
        assert said(tmp_path, png(VALUES, kind=kind)) == "is no PNG or JPEG file"
    assert said(tmp_path, b"") == "is no PNG or JPEG file"
    assert said(tmp_path, b"%!PS-Adobe-3.0 EPSF-3.0\n") == "is no PNG or JPEG file"


@pytest.mark.parametrize("resize", [False, True])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, resize: bool) -> None:
    """A hundred kilobytes that claim, and would unpack to, gigabytes."""
    form = Form(6, 8, 1, 0, 255, resize=resize)
    content = handmade(60_000, 60_000, 8, 0, bytes(1 << 20))
    assert "pixels" in said(tmp_path, content, form) or "too large" in said(tmp_path, content, form)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_file_that_is_cut_off_is_told_wherever_it_is_cut(tmp_path: Path, kind: str) -> None:
    noise = (VALUES.astype(np.int64) * 7919 % 251).astype(np.uint8)
    content = png(noise, kind=kind)
    for end in range(0, len(content) - 40, 13):
        assert said(tmp_path, content[:end]) in ("is no PNG or JPEG file", "is cut off or damaged")


def test_pixels_that_are_not_finite_are_refused() -> None:
    with pytest.raises(NoImage, match="not a finite number"):
        GRAY.scaled(np.full((1, 6, 8), np.nan))
