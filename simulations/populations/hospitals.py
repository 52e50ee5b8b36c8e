"""Five hospitals, made from bundled data.

They hold the 569 records of the Wisconsin Diagnostic Breast Cancer data set (Wolberg, Street, Mangasarian
1995; bundled with scikit-learn): thirty measurements of cell nuclei and the diagnosis of a real biopsy each. Which
hospital a record lies in is synthetic: sizes are uneven, and the share of malignant cases runs from 0.20 to 0.60.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.utils import shuffle

from simulations.populations.writing import write_table

# Benign and malignant records of each hospital: together all 357 and 212 of the data set.
HOSPITALS: Mapping[str, tuple[int, int]] = {
    "harbor": (88, 22),
    "hillside": (51, 28),
    "lakeview": (56, 84),
    "riverside": (135, 45),
    "summit": (27, 33),
}
DIAGNOSES = ("benign", "malignant")
TEST_EVERY = 5  # one record in five of each diagnosis is kept for the test
_TESTED = slice(None, None, TEST_EVERY)

Indices = NDArray[np.int64]


def hospitals(directory: Path, seed: int = 0) -> Path:
    """Write `directory`/HOSPITAL/train.csv and test.csv for five hospitals; returns `directory`.

    Every hospital has both diagnoses in both files. The same seed deals the same records to the same hospitals.
    """
    bunch = load_breast_cancer()
    header = [*(name.replace(" ", "_") for name in bunch.feature_names), "diagnosis"]
    labels = 1 - bunch.target  # the bundled data call malignant 0
    hands = zip(*(_deal(np.flatnonzero(labels == c), c, seed) for c in range(len(DIAGNOSES))), strict=True)
    for hospital, hand in zip(HOSPITALS, hands, strict=True):
        train = np.sort(np.concatenate([np.delete(records, _TESTED) for records in hand]))
        test = np.sort(np.concatenate([records[_TESTED] for records in hand]))
        for name, records in (("train", train), ("test", test)):
            rows = [[*map(repr, bunch.data[i].tolist()), DIAGNOSES[labels[i]]] for i in records]
            write_table(directory / hospital / f"{name}.csv", header, rows)
    return directory


def _deal(records: Indices, diagnosis: int, seed: int) -> list[Indices]:
    """The records of one diagnosis, shuffled and cut into one hand for each hospital."""
    ends = np.cumsum([counts[diagnosis] for counts in HOSPITALS.values()])
    return np.split(shuffle(records, random_state=seed), ends[:-1])
