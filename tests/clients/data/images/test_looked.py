"""An image is looked at before a plan says what it is, by the reader of a run: what no plan takes is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clients.data.images.form import NoImage
from clients.data.images.looked import Seen, look
from tests.clients.data.images.test_dicom import dicom
from tests.clients.data.images.test_picture import VALUES, at, png

COLORS = np.stack([VALUES] * 3, axis=2)
DEEP = VALUES.astype(np.uint16) * 257


@pytest.mark.parametrize(
    ("name", "content", "seen"),
    [
        ("a.png", png(VALUES), Seen(8, 6, 1, (0.0, 235.0))),
        ("A.PNG", png(COLORS), Seen(8, 6, 3, (0.0, 235.0))),
        ("deep.png", png(DEEP), Seen(8, 6, 1, (0.0, 235.0 * 257))),
    ],
    ids=["gray", "color", "16 bits"],
)
def test_size_color_and_values_are_those_of_the_file(
    tmp_path: Path, name: str, content: bytes, seen: Seen
) -> None:
    at(tmp_path, content, name)
    assert look(tmp_path, name, unpacks=True) == seen
    assert look(tmp_path, name, unpacks=False) == Seen(seen.width, seen.height, seen.channels)


@pytest.mark.extras
def test_a_scan_is_in_the_unit_of_its_modality(tmp_path: Path) -> None:
    at(tmp_path, dicom(), "ct.DCM")
    assert look(tmp_path, "ct.DCM", unpacks=True) == Seen(8, 6, 1, (-1000.0, 880.0))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (png(VALUES, "RGBA"), "transparent"),
        (png(VALUES, "P"), "palette"),
        (b"no image", "no PNG or JPEG"),
        (png(VALUES)[:50], "cut off"),
    ],
    ids=["transparent", "palette", "text", "cut off"],
)
def test_what_no_plan_takes_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    at(tmp_path, content)
    with pytest.raises(NoImage, match=said):
        look(tmp_path, "scan.png", unpacks=True)
    with pytest.raises(NoImage, match="leads out"):
        look(tmp_path, "../scan.png", unpacks=False)
