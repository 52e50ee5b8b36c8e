"""Five hospitals and the people with diabetes whom they discharge: who is back within thirty days. Made up.

The columns are some of those of "Diabetes 130-US hospitals" (Strack et al. 2014). Nothing of that table is in
here: `readmission` says how each is drawn. A row is a stay, and a person has one to eight, so `patient_nbr` is
the column that says whose a row is; one in eight has stays at a second hospital, too, and is the same person
there.

About one stay in nine is followed by another within thirty days. What makes that likely, in log-odds: stays and
emergencies in the year before, a long stay, many drugs, a diagnosis of the circulation, a frailty that no column
says. A long-term sugar (A1C) is measured in one stay of five: `none` says that it was not. Hospitals differ in
whom they admit and in what follows a discharge. `race` is in the files and in no plan.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simulations.populations.drawing import Draws, Floats, Places
from simulations.populations.made_up.dealing import TEST_SHARE, graded, named, odds, whole, write_sites

SITES = ("abbey", "brook", "cliff", "downs", "elm")
PATIENTS = 8000
ACROSS = 0.125  # of the people, who go to a second hospital for their later stays
AGES = tuple(f"[{ten}-{ten + 10})" for ten in range(20, 100, 10))
DIAGNOSES = ("circulation", "respiration", "digestion", "diabetes", "injury", "other")
SUGARS = ("none", "normal", ">7", ">8")
_SHARES = [0.3, 0.25, 0.2, 0.15, 0.1]
_OLDER = np.array([0.0, 5.0, -6.0, 2.0, 0.0])
_WORSE = np.array([0.0, 0.15, -0.25, 0.0, 0.35])
_RISKS = np.array([0.3, 0.1, 0.0, 0.2, -0.2, 0.0])


def readmission(directory: Path, seed: int = 0) -> Path:
    """Write `directory`/HOSPITAL/train.csv and test.csv for five hospitals; returns `directory`.

    A person is in the test at every hospital, or in the training at every hospital.
    """
    draws = Draws("readmission", seed)
    home, frail = draws.choices(_SHARES, PATIENTS), draws.normal(PATIENTS)
    age = np.clip(66 + _OLDER[home] + 14 * draws.normal(PATIENTS), 20, 99)
    stays = 1 + np.floor(np.minimum(-0.75 * np.exp(0.35 * frail) * np.log(draws.uniform(PATIENTS)), 7))
    person = np.repeat(np.arange(PATIENTS), stays.astype(np.int64))
    number = np.arange(len(person)) - np.searchsorted(person, person)
    where = _where(draws, home, person, number)
    columns, score = _stays(draws, frail[person], age[person], number)
    score = score + _WORSE[where]
    ids = {"patient_nbr": [f"P{each:05}" for each in (person + 1).tolist()]}
    race = draws.choices([0.7, 0.2, 0.1], PATIENTS)[person]
    found = draws.is_true(odds(score)).astype(np.int64)
    named_columns = ids | {"race": named(race, ("Caucasian", "AfricanAmerican", "Other"))} | columns
    tested = (draws.uniform(PATIENTS) < TEST_SHARE)[person]
    return write_sites(
        directory, SITES, named_columns | {"readmitted": named(found, ("no", "<30"))}, where, tested
    )


def _where(draws: Draws, home: Places, person: Places, number: Places) -> Places:
    """The hospital of each stay: some go to another from their second stay on."""
    goes = draws.uniform(PATIENTS) < ACROSS
    other = (home + 1 + draws.choices([1.0] * (len(SITES) - 1), PATIENTS)) % len(SITES)
    return np.where(goes[person] & (number > 0), other[person], home[person]).astype(np.int64)


def _stays(draws: Draws, frail: Floats, age: Floats, number: Places) -> tuple[dict[str, list[str]], Floats]:
    """What is written down of each stay, and the log-odds of another within thirty days."""
    count = len(frail)
    days = np.clip(np.floor(1 + np.exp(1.1 + 0.3 * frail + 0.55 * draws.normal(count))), 1, 14)
    before = np.floor(
        np.minimum(-0.55 * np.exp(0.5 * frail) * np.log(draws.uniform(count)), 12)
    ) + number.astype(np.float64)
    emergencies = np.floor(np.minimum(-0.45 * np.exp(0.5 * frail) * np.log(draws.uniform(count)), 12))
    drugs = np.clip(np.round(15 + 2.5 * frail + 0.9 * (days - 4) + 6 * draws.normal(count)), 1, 60)
    diagnosis = draws.choices([0.3, 0.14, 0.09, 0.09, 0.07, 0.31], count)
    sugar = np.where(draws.uniform(count) < 0.2, 1 + graded(draws, 0.2 * frail, (-0.4, 0.3)), 0)
    score: Floats = -3.1 + 0.42 * np.minimum(before, 6) + 0.3 * np.minimum(emergencies, 5) + 0.05 * (days - 4)
    score = score + 0.015 * (drugs - 15) + 0.012 * (age - 66) + _RISKS[diagnosis] + 0.25 * frail
    score = score - 0.15 * (sugar > 0)
    columns = {
        "age": named(np.floor(age / 10).astype(np.int64) - 2, AGES),
        "admission": named(graded(draws, 0.3 * frail, (-0.4, 0.4)), ("elective", "urgent", "emergency")),
        "time_in_hospital": whole(days),
        "num_medications": whole(drugs),
        "number_inpatient": whole(before),
        "number_emergency": whole(emergencies),
        "diagnosis": named(diagnosis, DIAGNOSES),
        "A1Cresult": named(sugar.astype(np.int64), SUGARS),
        "insulin": named(graded(draws, 0.3 * frail, (0.0, 0.9, 1.5)), ("No", "Steady", "Up", "Down")),
    }
    return columns, score
