"""The digits of six scanners (simulations/populations/digits.py) as hospitals keep scans: files and a table.

A pixel of 0 to 16, in quarters, is a gray of 0 to 64 in the file, so nothing is lost.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clients.data.images.png import write_pictures
from simulations.populations.digits import dealt
from simulations.populations.writing import write_table

_SIDE = 8
_GRAYS = 4  # of a file, for one of the scanner


def images(directory: Path, seed: int = 0) -> Path:
    """Write `directory`/SCANNER/train.csv, test.csv and images/ for six scanners; returns `directory`."""
    for name, part, pixels, labels in dealt(seed):
        grays = np.rint(pixels * _GRAYS).astype(np.uint8).reshape(-1, _SIDE, _SIDE)
        names = [f"images/{part}-{number:04}.png" for number in range(1, len(grays) + 1)]
        rows = [[file, str(label)] for file, label in zip(names, labels, strict=True)]
        write_table(directory / name / f"{part}.csv", ["scan", "digit"], rows)
        write_pictures(directory / name, dict(zip(names, grays, strict=True)))
    return directory
