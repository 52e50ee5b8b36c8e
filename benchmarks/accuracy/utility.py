"""What each choice of a plan gains at the same epsilon, over all rounds of three federations, seed by seed.

    python -m benchmarks.accuracy.utility [SEEDS] [HEART]

The digits of scikit-learn over five sites, the hospitals of `federation demo`, and, where HEART is the folder of
the UCI heart disease files (processed.NAME.data), its four hospitals. A seed chooses which records are held out;
noise is fresh in every run. Each choice is a change of the plan and nothing else; epsilon, delta and split stay.

Every plan says `iterate_average`, and a run is scored twice: by the params of its last round, which it would have
ended with otherwise, and by their average. So both are of the same noise. Sites keep no ledgers here, which takes
half of the time. It writes benchmarks/accuracy/utility.md after each seed.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import plans
from benchmarks.accuracy.plans import Changes, changed
from benchmarks.timing import machine
from clients.data.folders import find_sites
from federation.model.params import initial_params
from federation.plan.guarantee import cost_for
from federation.plan.plan import Plan
from federation.sums.state import begin
from privacy.accounting.units import Patient
from server.run import server_stream
from simulations.populations.hospitals import hospitals
from simulations.populations.registry import scenario_for
from simulations.summary import model_of, pooled_metrics
from simulations.sums.making import adding_of
from simulations.vectorized import run_vectorized
from simulations.world import read_world

PAGE = Path(__file__).parent / "utility.md"
EPSILONS = (1.0, 3.0, 8.0)
BASE = "as it is"

DECAY = 0.95
CHOICES: Mapping[str, Changes] = {
    BASE: {},
    "`sample_rate` three times as large": {"training.sample_rate": 3.0},  # a factor
    "`colluders = 0`": {"secure_aggregation.colluders": 0},
    "`excess_levels = 0`: excess noise stays in": {"secure_aggregation.excess_levels": 0},
    '`server.optimizer = "adam"`, its rate 0.02': {
        "server.optimizer": "adam",
        "server.learning_rate": 0.02,
    },
    '`noise = "site"`': {"privacy.noise": "site"},
}
_ADAM = {"server.optimizer": "adam", "server.learning_rate": 0.02}
LARGER: Mapping[str, Changes] = {
    BASE: {},
    '`server.optimizer = "adam"`, its rate 0.02': _ADAM,
    "the same and `tau = 0.001`, once the default": {**_ADAM, "server.tau": 1e-3},
}
_HEART = """
age = { low = 20, high = 90 }
sex = { values = ["0", "1"] }
cp = { values = ["1", "2", "3", "4"] }
trestbps = { low = 80, high = 200 }
chol = { low = 0, high = 600 }
fbs = { values = ["0", "1"] }
restecg = { values = ["0", "1", "2"] }
thalach = { low = 60, high = 210 }
exang = { values = ["0", "1"] }
oldpeak = { low = -3, high = 7 }
"""
_COLUMNS = ("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak")


@dataclass(frozen=True)
class Federation:
    """A plan as it is, the folder of its sites, and what is chosen."""

    name: str
    plan: str
    sites: Path
    choices: Mapping[str, Changes] = field(default_factory=lambda: CHOICES)

    def with_changes(self, seed: int, epsilon: float, changes: Changes) -> Plan:
        """The plan of one run."""
        given = {
            "federation.seed": seed,
            "privacy.epsilon": epsilon,
            "server.iterate_average": DECAY,
            **changes,
        }
        rate = "training.sample_rate"
        if rate in changes:
            given[rate] = changes[rate] * tomllib.loads(self.plan)["training"]["sample_rate"]
        return changed(self.plan, given)


def federations(folder: Path, heart: Path | None) -> list[Federation]:
    """The federations, with the files of their sites in `folder`."""
    plain = scenario_for("hospitals").read_text("utf-8")
    digits = Federation("digits", plans.digits(), _digits(folder / "digits"))
    larger = digits.plan.replace('"logistic"', '"mlp"')
    found = [
        digits,
        Federation("digits, by a network of 4,810 params", larger, digits.sites, LARGER),
        Federation("hospitals of the demo", plain, _one_file(hospitals(folder / "hospitals"))),
    ]
    if heart is not None:
        plan = plans.text_of("heart disease", "num", 2, _HEART, 4)
        found.append(Federation("heart disease", plan, _heart(folder / "heart", heart)))
    return found


def _digits(folder: Path) -> Path:
    """The digits, dealt to five sites in turn."""
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    header = [*plans.PIXELS, "digit"]
    for site in range(5):
        rows = ([*values[row].astype(int), labels[row]] for row in range(site, len(labels), 5))
        _write(folder / f"site-{site}.csv", header, rows)
    return folder


def _one_file(folder: Path) -> Path:
    """Test files become part of the records, so that each seed holds out others."""
    for place in folder.iterdir():
        train, test = ((place / f"{part}.csv").read_text("utf-8").splitlines() for part in ("train", "test"))
        (place / "train.csv").write_text("\n".join([*train, *test[1:]]) + "\n", "utf-8")
        (place / "test.csv").unlink()
    return folder


def _heart(folder: Path, source: Path) -> Path:
    """The records that lack nothing in the first ten columns: 303, 261, 46 and 130."""
    for path in sorted(source.glob("processed.*.data")):
        lines = [line.split(",") for line in path.read_text("utf-8").splitlines()]
        rows = ([*map(_plain, line[:10]), int(line[13] != "0")] for line in lines if "?" not in line[:10])
        _write(folder / f"{path.name.split('.')[1]}.csv", [*_COLUMNS, "num"], rows)
    return folder


def _plain(cell: str) -> str:
    return f"{float(cell):g}"


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def scores(federation: Federation, seed: int, epsilon: float, changes: Changes) -> tuple[float, float]:
    """Pooled accuracy of one run: of the last round's params, and of their average."""
    plan = federation.with_changes(seed, epsilon, changes)
    assert cost_for(plan, plan.privacy.unit, Patient()).together <= epsilon, "no choice may cost more"
    world = read_world(plan, find_sites(federation.sites).sites)
    state = begin(plan, bytes(16), initial_params(world.task.model, seed))
    *_, (state, _) = run_vectorized(plan, state, world.members, adding_of(plan, world), server_stream)
    last, average = (
        pooled_metrics(world, model_of(world, params))["accuracy"] for params in (state.params, state.model)
    )
    return float(last or 0.0), float(average or 0.0)


Found = dict[tuple[str, str, float], list[tuple[float, float]]]


def main(seeds: int = 10, heart: str = "") -> None:
    """Run everything, one seed after another, and write the page after each."""
    found: Found = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        places = federations(Path(name), Path(heart) if heart else None)
        for seed in range(seeds):
            for place in places:
                for choice, changes in place.choices.items():
                    for epsilon in EPSILONS:
                        both = scores(place, seed, epsilon, changes)
                        found[place.name, choice, epsilon].append(both)
                        print(seed, place.name, choice, epsilon, *(f"{one:.4f}" for one in both), flush=True)
            PAGE.write_text("\n".join(_page(places, found, seed + 1)), "utf-8")


def _page(places: Iterable[Federation], found: Found, seeds: int) -> Iterator[str]:
    yield "# What each choice gains at the same epsilon"
    yield ""
    yield f"Written by `python -m benchmarks.accuracy.utility` on {datetime.now(UTC):%Y-%m-%d}."
    yield f"{machine()}."
    yield ""
    yield (
        f"Pooled accuracy on a fifth of the records, {seeds} splits: the mean, and in brackets the gain, split by "
        f'split, with its standard error. A choice is compared with "{BASE}", and the average of the iterates '
        f"(`iterate_average = {DECAY:g}`) with the last params of the same runs. Noise is fresh in each run, so "
        "most of the error of a choice is of the noise. Nothing was tuned."
    )
    for place in places:
        name = place.name
        yield ""
        yield f"## {name[0].upper()}{name[1:]}"
        yield ""
        heads = (f"epsilon {epsilon:g} | averaged" for epsilon in EPSILONS)
        yield f"| choice | {' | '.join(heads)} |"
        yield f"| --- |{' ---: |' * 2 * len(EPSILONS)}"
        for choice in place.choices:
            cells = (
                _cells(found[name, choice, epsilon], found[name, BASE, epsilon], is_base=choice == BASE)
                for epsilon in EPSILONS
            )
            yield f"| {choice} | {' | '.join(cells)} |"
    yield ""


def _cells(
    scores: Sequence[tuple[float, float]], base: Sequence[tuple[float, float]], *, is_base: bool
) -> str:
    """The last params beside those of the plan as it is, and the average beside the last params."""
    last, average = np.array(scores).T
    mean = f"{last.mean():.3f}"
    first = f"{mean} ± {_error(last)}" if is_base else f"{mean} {_gain(last - np.array(base)[:, 0])}"
    return f"{first} | {average.mean():.3f} {_gain(average - last)}"


def _gain(gains: NDArray[np.float64]) -> str:
    return f"({gains.mean():+.3f} ± {_error(gains)})"


def _error(values: NDArray[np.float64]) -> str:
    return f"{values.std(ddof=1) / len(values) ** 0.5:.3f}" if len(values) > 1 else "n/a"


if __name__ == "__main__":
    main(*(int(each) if each.isdigit() else each for each in sys.argv[1:]))  # type: ignore[arg-type]
