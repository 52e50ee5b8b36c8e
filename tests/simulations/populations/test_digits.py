"""The scanners: every bundled image once, each as its scanner sees it, and digits that are shared out unevenly."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from simulations.populations.digits import SCANNERS, WHITE, digits, scanned


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits(tmp_path_factory.mktemp("sites"))


def images(sites: Path, scanner: str) -> list[tuple[str, ...]]:
    found = []
    for path in sorted((sites / scanner).glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            found += [tuple(row) for row in csv.reader(file)][1:]
    return found


def test_every_image_lies_at_one_scanner_as_that_scanner_sees_it(sites: Path) -> None:
    bunch = load_digits()
    left = Counter((*row.tolist(), label) for row, label in zip(bunch.data, bunch.target, strict=True))
    assert sum(len(images(sites, name)) for name in SCANNERS) == left.total()
    for name, scanner in SCANNERS.items():
        seen = scanned(bunch.data, scanner)
        possible = Counter(
            (*row.tolist(), float(label)) for row, label in zip(seen, bunch.target, strict=True)
        )
        own = Counter(tuple(map(float, row)) for row in images(sites, name))
        assert own <= possible


def test_scanners_differ_in_what_they_see_and_in_which_digits_they_have(sites: Path) -> None:
    pixels = {name: np.array([row[:-1] for row in images(sites, name)], float) for name in SCANNERS}
    assert all(seen.min() >= 0 and seen.max() <= WHITE for seen in pixels.values())
    means = [seen.mean() for seen in pixels.values()]
    assert max(means) > 1.3 * min(means)
    counts = np.array([np.bincount([int(row[-1]) for row in images(sites, name)]) for name in SCANNERS])
    shares = counts / counts.sum(axis=1, keepdims=True)
    assert counts.min() >= 5
    assert np.median(shares.max(axis=0) / shares.min(axis=0)) > 2
