"""What a public map of images gains at the same epsilon: the digits of scikit-learn at five sites, by real plans.

    python -m benchmarks.accuracy.images [SEEDS]

A fifth of the images is the test, the same in every run, and nothing was chosen by it: the map's own details and
the learning rates were, on eight splits of the other images. Noise, batches and first params are fresh in every
run, and accuracy is of the average of the iterates, as the plan ends with. It takes some minutes and writes
benchmarks/accuracy/images.md.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from benchmarks.accuracy.plans import changed, digits
from benchmarks.timing import machine
from clients.data.folders import find_sites
from federation.model.params import initial_params
from federation.plan.guarantee import cost_for
from federation.plan.plan import Plan
from federation.sums.state import begin
from privacy.accounting.units import Patient
from server.run import server_stream
from simulations.summary import model_of, pooled_metrics
from simulations.sums.making import adding_of
from simulations.vectorized import run_vectorized
from simulations.world import read_world

PAGE = Path(__file__).parent / "images.md"
SITES, TEST = 5, 360
HOG = '{ image = "hog", height = 8, width = 8, channels = 1, low = 0, high = 16, cell = 2 }'
PIXELS = '{ image = "pixels", height = 8, width = 8, channels = 1, low = 0, high = 16 }'
WAYS: Mapping[str, tuple[str, str, Mapping[float, float]]] = {
    "pixels, softmax regression": (PIXELS, "logistic", {1.0: 2.0, 3.0: 4.0, 8.0: 4.0}),
    '`"hog"`, softmax regression': (HOG, "logistic", {1.0: 2.0, 3.0: 3.0, 8.0: 3.0}),
}


def write_sites(folder: Path) -> Path:
    """The digits as archives of training and test, one of each for a site."""
    bunch = load_digits()
    order = torch.randperm(len(bunch.target), generator=torch.Generator().manual_seed(123)).numpy()
    for part, rows in (("test", order[:TEST]), ("train", order[TEST:])):
        for site in range(SITES):
            own = rows[site::SITES]
            place = folder / f"site-{site}" / f"{part}.npz"
            place.parent.mkdir(parents=True, exist_ok=True)
            np.savez(place, scan=bunch.images[own], digit=bunch.target[own])
    return folder


def accuracy(plan: Plan, folder: Path) -> float:
    """Of one run, on the test images of all sites."""
    assert cost_for(plan, plan.privacy.unit, Patient()).together <= (plan.privacy.epsilon or 0)
    world = read_world(plan, find_sites(folder).sites)
    state = begin(plan, bytes(16), initial_params(world.task.model, plan.federation.seed))
    *_, (state, _) = run_vectorized(plan, state, world.members, adding_of(plan, world), server_stream)
    return float(pooled_metrics(world, model_of(world, state.model))["accuracy"] or 0.0)


def main(seeds: int = 8) -> None:
    """Run everything and write the page."""
    with tempfile.TemporaryDirectory() as name:
        folder = write_sites(Path(name))
        PAGE.write_text("\n".join(_page(folder, seeds)), "utf-8")


def _page(folder: Path, seeds: int) -> Iterator[str]:
    yield "# What a public map of images gains at the same epsilon"
    yield ""
    yield f"Written by `python -m benchmarks.accuracy.images` on {datetime.now(UTC):%Y-%m-%d}."
    yield f"{machine()}."
    yield ""
    yield (
        f"Accuracy on {TEST} of the 1,797 digits of scikit-learn, by which nothing was chosen; the others are at "
        f"{SITES} sites. 200 rounds, sample rate .1, clipping norm 1, averaging, distributed noise with one "
        f"colluder and one dropout allowed for, delta 1e-5, `iterate_average = 0.95`. The mean of {seeds} runs "
        "with its standard error, which is of the noise alone (of the choice of test images it is about .01), and "
        "the least of them. In brackets the learning rate: it, and the details of the map, were chosen on eight "
        "splits of the images that are trained on."
    )
    yield ""
    yield "| | epsilon 1 | epsilon 3 | epsilon 8 |"
    yield "| --- | --- | --- | --- |"
    for way, (scan, model, rates) in WAYS.items():
        cells = list[str]()
        for epsilon, rate in rates.items():
            begun = time.process_time()
            given = {"task.model": model, "training.learning_rate": rate, "privacy.epsilon": epsilon}
            given |= {"server.iterate_average": 0.95}
            text = digits(f"scan = {scan}")
            plans = (changed(text, {"federation.seed": seed, **given}) for seed in range(seeds))
            found = np.array([accuracy(plan, folder) for plan in plans])
            error = found.std(ddof=1) / seeds**0.5
            cells.append(f"{found.mean():.3f} ± {error:.3f}, least {found.min():.3f} ({rate:g})")
            print(way, cells[-1], f"{time.process_time() - begun:.0f} s of the processor", flush=True)
        yield f"| {way} | {' | '.join(cells)} |"
    yield ""


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
