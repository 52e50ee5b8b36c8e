"""What layers of each site's own are worth where sites mean different things: `python -m benchmarks.kept`.

Digits at ten sites, each of which has another order of the ten labels. One model cannot serve two of them; what
the first layer sees is the same for all. Run by hand; docs/personal.md has what it printed.
"""

from __future__ import annotations

import csv
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from benchmarks.accuracy.plans import PIXELS, Changes, changed, digits
from clients.data.folders import find_sites
from federation import simulate
from federation.model.params import initial_params
from simulations.comparing.personal import personal_models
from simulations.world import read_world

SITES, SEEDS, STEPS, HEAD = 10, 2, 100, 650
RULES: Changes = {
    "federation.name": "digits that mean something else at each site",
    "federation.rounds": 60,
    "task.model": "mlp",
    "cohort.minimum": 3,
    "training.local_steps": 5,
    "training.sample_rate": 0.2,
}
PRIVACY: Mapping[str, Changes] = {
    "none": {
        "privacy.noise": "none",
        "privacy.epsilon": None,
        "privacy.delta": None,
        "privacy.clipping_norm": None,
    },
    "records, noise at the site, epsilon 8": {"privacy.noise": "site", "privacy.epsilon": 8.0},
}
AFTER = f'[personal]\nsteps = {STEPS}\nlearning_rate = 0.1\nlayers = ["2"]\n'
ALONE = f"[personal]\nsteps = {300 + STEPS}\nlearning_rate = 0.5\n"  # as many steps as in a federation
PERSONAL: Mapping[str, str] = {
    "one model": "",
    "its last layer made each site's own after the last round": AFTER,
    "the same layer each site's own from the first round on": f"{AFTER}kept = {HEAD}\n",
}


def write_sites(folder: Path, seed: int) -> Path:
    """Ten files, each with a tenth of the digits and an order of labels of its own."""
    folder.mkdir()
    records, chance = load_digits(), np.random.Generator(np.random.PCG64(seed))  # noqa: TID251 - no privacy in it
    order = chance.permutation(len(records.target))
    for number in range(SITES):
        names, rows = chance.permutation(10), order[number::SITES]
        with (folder / f"site-{number}.csv").open("w", newline="") as file:
            lines = csv.writer(file)
            lines.writerow([*PIXELS, "digit"])
            lines.writerows([*map(int, records.data[row]), names[records.target[row]]] for row in rows)
    return folder


def mean(found: Mapping[str, Mapping[str, float | None]]) -> float:
    """Over the sites."""
    return statistics.fmean(one["accuracy"] or 0.0 for one in found.values())


def row(claim: str, name: str, found: Sequence[float]) -> str:
    """Mean and standard deviation over the seeds."""
    return f"| {claim} | {name} | {statistics.fmean(found):.3f} | {statistics.stdev(found):.3f} |"


def main() -> None:
    """Print a row for each choice."""
    print(
        row("none", "each site by itself", [made(seed, PRIVACY["none"], ALONE) for seed in range(SEEDS)]),
        flush=True,
    )
    for claim, privacy in PRIVACY.items():
        for name, table in PERSONAL.items():
            print(row(claim, name, [made(seed, privacy, table) for seed in range(SEEDS)]), flush=True)


def made(seed: int, privacy: Changes, table: str) -> float:
    """The mean accuracy of sites with this seed, under this claim and table."""
    with tempfile.TemporaryDirectory() as folder:
        sites = write_sites(Path(folder, "sites"), seed)
        plan = changed(digits() + table, {**RULES, **privacy, "federation.seed": seed})
        if table == ALONE:  # from the same start
            world = read_world(plan, find_sites(sites).sites)
            return mean(personal_models(world, initial_params(world.task.model, seed), {}).own)
        told = simulate(plan, sites, Path(folder, "run"), baseline=False, public=True).evaluation
        return mean(told.personal) if table else mean(told.sites)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
