"""Made-up images as PNG files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from federation.files import write_new
from federation.plan.made_up.mock_pictures import Drawing


def write_pictures(folder: Path, pictures: Mapping[str, Drawing]) -> None:
    """Write each under its name, as seen from the folder. UnusableFile if one is there already."""
    for name, drawing in pictures.items():
        stream = io.BytesIO()
        Image.fromarray(drawing).save(stream, "PNG")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_new(path, stream.getvalue())
