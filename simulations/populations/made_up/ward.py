"""Four hospitals and the hourly observations of their wards: who needs intensive care within six hours. Made up.

A row is an hour of a stay: what a nurse or a monitor writes down. A patient has one stay of one or two days, so
A row is an hour of a stay: what a nurse or a monitor writes down. A patient has one stay of a day or two, so

Every patient has a level of their own for each sign, so a single reading says little and its course says more. Two
things move the signs, and no column tells them apart:

    an illness    from some hour on it rises: pulse and breath go up, pressure and saturation go down
    an episode    of pain or fever, some hours long: pulse, breath, pressure and temperature go up, and it passes

Oxygen is given where the saturation falls below a limit of the hospital and brings it up again, so that saturation
alone misleads. The higher an illness, the likelier is intensive care in the next hour; the stay ends there. `worse`
is 1 in the six hours before. Hospitals differ in whom they have and in how soon they give oxygen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulations.populations.drawing import Draws, Floats, Places
from simulations.populations.made_up.dealing import TEST_SHARE, decimal, named, odds, whole, write_sites

SITES = ("alder", "birch", "cedar", "dogwood")
PATIENTS = 2400
HOURS = 48
AHEAD = 6  # hours before intensive care in which `worse` is 1
_SHARES = [0.35, 0.3, 0.2, 0.15]
_ILL = np.array([0.34, 0.28, 0.42, 0.3])  # the share of patients who fall ill
_LIMIT = np.array([92.0, 91.0, 92.0, 93.0])  # the saturation below which oxygen is given

Truths = NDArray[np.bool_]


@dataclass(frozen=True)
class _Stays:
    """Of each patient and hour (patients, hours): what was observed; of each patient, hours, and how it ended."""

    signs: dict[str, Floats]
    oxygen: Truths
    hours: Places
    needs_care: Truths


def ward(directory: Path, seed: int = 0) -> Path:
    """Write `directory`/HOSPITAL/train.csv and test.csv for four hospitals; returns `directory`.

    A patient is in the test with the whole stay, or in the training.
    """
    draws = Draws("ward", seed)
    home = draws.choices(_SHARES, PATIENTS)
    stays = _stays(draws, home)
    patient, hour = np.nonzero(np.arange(HOURS) < stays.hours[:, None])
    worse = stays.needs_care[patient] & (hour >= stays.hours[patient] - AHEAD)
    signs = {name: values[patient, hour] for name, values in stays.signs.items()}
    columns = {
        "patient": [f"W{each:04}" for each in (patient + 1).tolist()],
        "hour": [str(each) for each in hour.tolist()],
        **{name: decimal(each) if name == "temperature" else whole(each) for name, each in signs.items()},
        "oxygen": named(stays.oxygen[patient, hour].astype(np.int64), ("no", "yes")),
        "worse": named(worse.astype(np.int64), ("0", "1")),
    }
    tested = draws.uniform(PATIENTS) < TEST_SHARE
    return write_sites(directory, SITES, columns, home[patient], tested[patient])


def _stays(draws: Draws, home: Places) -> _Stays:
    illness, episode = _illness(draws, home), _episode(draws)
    levels = {
        "pulse": 82 + 12 * draws.normal(PATIENTS, 1) + 9 * illness + 12 * episode,
        "breath": 17 + 2.5 * draws.normal(PATIENTS, 1) + 2.4 * illness + 2.5 * episode,
        "pressure": 128 + 15 * draws.normal(PATIENTS, 1) - 9 * illness + 9 * episode,
        "saturation": 96.5 + 1.2 * draws.normal(PATIENTS, 1) - 1.5 * illness,
        "temperature": 36.9 + 0.25 * draws.normal(PATIENTS, 1) + 0.2 * illness + 0.5 * episode,
    }
    spread = {"pulse": 5.0, "breath": 1.6, "pressure": 7.0, "saturation": 1.0, "temperature": 0.2}
    signs = {name: level + spread[name] * draws.normal(PATIENTS, HOURS) for name, level in levels.items()}
    oxygen = np.maximum.accumulate(signs["saturation"] < _LIMIT[home][:, None], axis=1)
    signs["saturation"] = np.minimum(signs["saturation"] + np.where(oxygen, 4.0, 0.0), 100)
    planned = 24 + np.floor(draws.uniform(PATIENTS) * (HOURS - 23)).astype(np.int64)
    happens = draws.is_true(odds(2.4 * (illness - 4.2))) & (illness > 0)
    first = np.where(happens.any(axis=1), happens.argmax(axis=1) + 1, HOURS + 1)
    return _Stays(signs, oxygen, np.minimum(first, planned), first <= planned)


def _illness(draws: Draws, home: Places) -> Floats:
    """How far an illness is, (patients, hours): 0, and from some hour on a rise with steps of chance in it."""
    is_ill = draws.uniform(PATIENTS) < _ILL[home]
    begins = draws.uniform(PATIENTS) * HOURS
    pace = 0.3 + 0.25 * draws.uniform(PATIENTS)
    hours = np.maximum(np.arange(HOURS) - begins[:, None], 0)
    shaken = np.cumsum(0.22 * draws.normal(PATIENTS, HOURS), axis=1) * (hours > 0)
    found: Floats = np.maximum(pace[:, None] * hours + shaken, 0) * is_ill[:, None]
    return found


def _episode(draws: Draws) -> Floats:
    """How far an episode is, (patients, hours): up and down again within some hours, of six patients in ten."""
    middle = draws.uniform(PATIENTS, 1) * HOURS
    width = 3 + 5 * draws.uniform(PATIENTS, 1)
    has_one = draws.uniform(PATIENTS, 1) < 0.6
    found: Floats = np.exp(-(((np.arange(HOURS) - middle) / width) ** 2)) * has_one * 1.5
    return found
