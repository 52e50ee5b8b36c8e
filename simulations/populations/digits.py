"""Six scanners, made from bundled images of handwritten digits.

They hold the 1,797 images of the UCI test set of handwritten digits (Alpaydin, Kaynak 1998; bundled with
scikit-learn): 8 x 8 pixels from 0 to 16, and the digit. The images are real; which scanner took them is made up,
and so is what a scanner does to them:

    label skew      each digit is dealt to the scanners in shares of its own (Dirichlet, alpha 1 times the size)
    feature shift   a pixel p leaves a scanner as gain * p + offset, cut to 0 .. 16 and rounded to quarters

Both come from the seed, gain and offset from the table below. It stands for any imaging data of several devices:
one model has to serve all of them, and no site can see the others' images to correct its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from federation.plan.numerals import as_text
from simulations.populations.drawing import Draws, Floats, Places
from simulations.populations.writing import write_table


@dataclass(frozen=True)
class Scanner:
    """A device: about its share of all images, and what it makes of a pixel."""

    share: float
    gain: float
    offset: float


SCANNERS: Mapping[str, Scanner] = {
    "campus": Scanner(0.25, 1.0, 0.0),
    "clinic": Scanner(0.20, 0.85, 0.0),
    "county": Scanner(0.20, 1.2, 0.0),
    "harbor": Scanner(0.15, 0.7, 2.0),
    "mobile": Scanner(0.10, 1.0, 3.0),
    "ward": Scanner(0.10, 1.3, -1.5),
}
WHITE = 16.0
_CONCENTRATION = 6.0  # of all scanners together, as many as there are: alpha 1 each, on average
_TEST_EVERY = 5  # one image in five of each digit and scanner is kept for the test
_LEAST = 5  # images of each digit at each scanner, so that all can be tested everywhere
_STEPS = 4  # of a grey


def digits(directory: Path, seed: int = 0) -> Path:
    """Write `directory`/SCANNER/train.csv and test.csv for six scanners; returns `directory`.

    Every image lies in one file, and every scanner has every digit in both files.
    """
    header = [*load_digits().feature_names, "digit"]
    for name, part, pixels, labels in dealt(seed):
        rows = [
            [*map(as_text, image), str(label)] for image, label in zip(pixels.tolist(), labels, strict=True)
        ]
        write_table(directory / name / f"{part}.csv", header, rows)
    return directory


def dealt(seed: int) -> Iterator[tuple[str, str, Floats, list[int]]]:
    """Each scanner's "train" and "test": its pixels (n, 64), from 0 to WHITE, and the digits."""
    bunch, draws = load_digits(), Draws("digits", seed)
    hands = [_dealt(np.flatnonzero(bunch.target == digit), draws) for digit in range(10)]
    for place, (name, scanner) in enumerate(SCANNERS.items()):
        images = scanned(bunch.data, scanner)
        own = [hand[place] for hand in hands]
        parts = {
            "train": np.concatenate([np.delete(hand, slice(None, None, _TEST_EVERY)) for hand in own]),
            "test": np.concatenate([hand[::_TEST_EVERY] for hand in own]),
        }
        for part, chosen in parts.items():
            rows = np.sort(chosen)
            yield name, part, images[rows], bunch.target[rows].tolist()


def scanned(pixels: Floats, scanner: Scanner) -> Floats:
    """What a scanner makes of pixels."""
    seen = np.clip(scanner.gain * pixels + scanner.offset, 0.0, WHITE)
    rounded: Floats = np.round(seen * _STEPS) / _STEPS
    return rounded


def _dealt(images: Places, draws: Draws) -> list[Places]:
    """The images of one digit, shuffled and cut into one hand for each scanner, none of them empty."""
    shares = draws.dirichlet_of([_CONCENTRATION * scanner.share for scanner in SCANNERS.values()])
    left = len(images) - _LEAST * len(SCANNERS)
    ends = np.round(np.cumsum(shares) * left).astype(np.int64)
    ends += _LEAST * np.arange(1, len(SCANNERS) + 1)
    return np.split(images[draws.order(len(images))], ends[:-1])
