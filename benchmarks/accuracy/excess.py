"""What excess noise costs in accuracy: the digits of scikit-learn over five sites, whole runs at epsilon 1.

    python -m benchmarks.accuracy.excess [SEEDS] [ENGINE]

Each seed is another split, with other noise. It writes benchmarks/accuracy/excess.md.
"""

from __future__ import annotations

import csv
import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.plans import PIXELS, changed, digits
from benchmarks.timing import machine
from federation import Plan, simulate
from privacy.mechanism.noise import Stream

PAGE = Path(__file__).parent / "excess.md"
SITES, TESTED = 5, 360
# Colluders, dropouts, levels.
SETTINGS = ((1, 1, 3), (0, 1, 3), (1, 1, 0), (0, 1, 0))


def plan_of(seed: int, colluders: int, dropouts: int, levels: int) -> Plan:
    """The plan of one run."""
    rules = {"colluders": colluders, "dropouts": dropouts, "excess_levels": levels}
    given = {f"secure_aggregation.{key}": value for key, value in rules.items()}
    return changed(digits(), {"federation.seed": seed, **given})


def write_sites(folder: Path, seed: int) -> None:
    """The records in another order for each seed, dealt to the sites in turn."""
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    order = np.argsort(Stream(seed.to_bytes(32, "big")).words(len(labels)))
    for part, chosen in (("test", order[:TESTED]), ("train", order[TESTED:])):
        for site, rows in enumerate(np.array_split(chosen, SITES)):
            place = folder / f"site-{site}"
            place.mkdir(parents=True, exist_ok=True)
            _write(place / f"{part}.csv", ([*values[row].astype(int), labels[row]] for row in rows))


def _write(path: Path, rows: Iterable[list[Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*PIXELS, "digit"])
        writer.writerows(rows)


def accuracy(setting: tuple[int, int, int], seed: int, engine: Any) -> tuple[float, float]:
    """Pooled accuracy of one run, and the noise in its rounds over what epsilon needs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sites(folder / "sites", seed)
        plan = plan_of(seed + 1, *setting)
        report = simulate(plan, folder / "sites", folder / "run", engine=engine, baseline=False, public=True)
    found, factor = report.evaluation.pooled["accuracy"], report.privacy.noise_excess
    return float(found or 0.0), float(factor or 0.0)


def main(seeds: int = 10, engine: str = "vectorized") -> None:
    """Run all settings, one seed after another, and write the page after each."""
    found: dict[tuple[int, int, int], list[tuple[float, float]]] = {setting: [] for setting in SETTINGS}
    for seed in range(seeds):
        for setting in SETTINGS:
            found[setting].append(accuracy(setting, seed, engine))
            print(seed, setting, *found[setting][-1], flush=True)
        PAGE.write_text(_page(list(_rows(found)), seed + 1, engine), "utf-8")


def _rows(found: Mapping[tuple[int, int, int], Sequence[tuple[float, float]]]) -> Iterator[str]:
    for (colluders, dropouts, levels), values in found.items():
        scores = [score for score, _ in values]
        error = statistics.stdev(scores) / len(scores) ** 0.5 if len(scores) > 1 else float("nan")
        cells = f"{colluders} | {dropouts} | {levels} | {values[0][1]:.2f}"
        yield f"| {cells} | {statistics.mean(scores):.3f} | {error:.3f} |"


def _page(rows: list[str], seeds: int, engine: str) -> str:
    return "\n".join(
        [
            "# Excess noise",
            "",
            f"Written by `python -m benchmarks.accuracy.excess` on {datetime.now(UTC):%Y-%m-%d}, engine {engine}.",
            "",
            machine(),
            "",
            f"Digits over {SITES} sites, softmax regression, epsilon 1, delta 1e-5, clipping norm 1, sample rate "
            f".1, 200 rounds in which nobody is lost. Accuracy on {TESTED} held-out records; {seeds} splits, each "
            "with noise of its own.",
            "",
            "| colluders | dropouts | excess_levels | noise over what epsilon needs | accuracy | standard error |",
            "| ---: | ---: | ---: | ---: | ---: | ---: |",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    main(*(int(each) if each.isdigit() else each for each in sys.argv[1:]))  # type: ignore[arg-type]
