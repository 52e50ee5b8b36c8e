"""Small runs to attack: records that say nothing about their labels, and a model that can learn them by heart."""

from __future__ import annotations

import csv
from pathlib import Path

from simulations.simulate import simulate
from tests import plans
from tests.simulations.attacking.chance import Chance

INPUTS, SITES, RECORDS = 8, 3, 40
FEATURES = {f"x{number}": {"low": -2, "high": 2} for number in range(INPUTS)}
BY_HEART: plans.Changes = {
    "name": "by-heart",
    "rounds": 60,
    "target": "y",
    "classes": ["no", "yes"],
    "model": "mlp",
    "task.features": FEATURES,
    "sample_rate": 0.5,
    "noise": "none",
    "colluders": 0,
    "dropouts": 0,
    "holdout": 0.4,
    "metrics": ["accuracy", "auc"],
}
PRIVATE: plans.Changes = {**BY_HEART, "noise": "distributed", "epsilon": 1.0, "delta": 1e-4, "rounds": 3}


def write_sites(folder: Path, patients: int | None = None, records: int = RECORDS) -> Path:
    """Records of so many patients at each site, or of nobody known."""
    folder.mkdir(parents=True)
    chance = Chance(3)
    for site in range(SITES):
        with (folder / f"s{site}.csv").open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow([*FEATURES, "y", *(["mrn"] if patients else [])])
            for number in range(records):
                who = [f"{site}-{number % patients}"] if patients else []
                values = [f"{4 * value - 2:.3f}" for value in chance.uniform(INPUTS)]
                out.writerow([*values, "yes" if chance.uniform(1)[0] < 0.5 else "no", *who])
    return folder


def run_of(folder: Path, *changes: plans.Changes) -> tuple[Path, Path]:
    """A run that is over, and its sites."""
    sites = write_sites(folder / "sites")
    simulate(plans.plan_of(*changes), sites, folder / "run", baseline=False, public=True)
    return folder / "run", sites
