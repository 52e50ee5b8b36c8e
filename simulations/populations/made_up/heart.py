"""Four hospitals and their patients with chest pain: whose arteries are narrow. Made up, with a well-known layout.

The columns are those of the UCI heart disease files (Detrano et al. 1989), with a header, and what is unknown is
a `?` as in them: outside of the first hospital the last three measurements are hardly ever made, and one hospital
has no cholesterol. Nothing of those files is in here: `heart` says how each column is drawn. What decides most of
them is how narrow the arteries are, which no column says. Hospitals differ in size, in whom they send on and in
what they measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from simulations.populations.drawing import Draws, Floats
from simulations.populations.made_up.dealing import (
    TEST_SHARE,
    decimal,
    graded,
    lost,
    named,
    odds,
    whole,
    write_sites,
)

SITES = ("harcourt", "bellamy", "lindqvist", "okafor")
PATIENTS = 1600
_SHARES = [0.34, 0.3, 0.14, 0.22]
_SICKER = np.array([0.0, -0.4, 1.3, 0.9])
# The share of cells that are not known, by hospital.
_UNKNOWN: Mapping[str, tuple[float, float, float, float]] = {
    "trestbps": (0.0, 0.0, 0.02, 0.28),
    "chol": (0.0, 0.08, 1.0, 0.04),
    "fbs": (0.0, 0.03, 0.6, 0.04),
    "thalach": (0.0, 0.0, 0.01, 0.27),
    "exang": (0.0, 0.0, 0.01, 0.27),
    "oldpeak": (0.0, 0.0, 0.05, 0.28),
    "slope": (0.0, 0.65, 0.14, 0.51),
    "ca": (0.02, 0.99, 0.96, 0.99),
    "thal": (0.01, 0.9, 0.42, 0.83),
}


def heart(directory: Path, seed: int = 0) -> Path:
    """Write `directory`/HOSPITAL/train.csv and test.csv for four hospitals; returns `directory`."""
    draws = Draws("heart", seed)
    where = draws.choices(_SHARES, PATIENTS)
    narrow = draws.normal(PATIENTS) + 0.6 * _SICKER[where]
    columns = _measured(draws, narrow)
    for name, shares in _UNKNOWN.items():
        columns[name] = lost(draws, columns[name], np.array(shares)[where])
    is_sick = draws.is_true(odds(2.4 * narrow - 0.1))
    columns["num"] = named(is_sick.astype(np.int64), ("0", "1"))
    return write_sites(directory, SITES, columns, where, draws.uniform(PATIENTS) < TEST_SHARE)


def _measured(draws: Draws, narrow: Floats) -> dict[str, list[str]]:
    """All that is measured of each patient, in the order of the files."""
    count = len(narrow)
    age = np.clip(53 + 2.5 * narrow + 9 * draws.normal(count), 28, 79)
    beats = np.clip(147 - 8 * narrow - 0.7 * (age - 53) + 17 * draws.normal(count), 65, 205)
    return {
        "age": whole(age),
        "sex": named(draws.is_true(odds(1.0 + 0.6 * narrow)).astype(np.int64), ("0", "1")),
        "cp": named(graded(draws, 1.1 * narrow, (-1.9, -0.9, 0.05)), ("1", "2", "3", "4")),
        "trestbps": whole(np.clip(131 + 2.5 * narrow + 17 * draws.normal(count), 90, 199)),
        "chol": whole(np.clip(240 + 8 * narrow + 50 * draws.normal(count), 100, 560)),
        "fbs": named(draws.is_true(odds(-1.7 + 0.25 * narrow)).astype(np.int64), ("0", "1")),
        "restecg": named(graded(draws, 0.25 * narrow, (0.1, 1.2)), ("0", "1", "2")),
        "thalach": whole(beats),
        "exang": named(draws.is_true(odds(-0.7 + 1.2 * narrow)).astype(np.int64), ("0", "1")),
        "oldpeak": decimal(np.clip(0.75 + 0.6 * narrow + 0.9 * draws.normal(count), -2, 6)),
        "slope": named(graded(draws, 0.8 * narrow, (-0.1, 1.9)), ("1", "2", "3")),
        "ca": named(graded(draws, 0.9 * narrow, (0.4, 1.2, 1.9)), ("0", "1", "2", "3")),
        "thal": named(graded(draws, 1.1 * narrow, (0.1, 0.35)), ("3", "6", "7")),
    }
