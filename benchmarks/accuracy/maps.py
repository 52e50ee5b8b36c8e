"""What public feature maps gain at the same epsilon, on two public tables, through whole plans and rounds.

    python -m benchmarks.accuracy.maps FOLDER [SEEDS]

FOLDER holds `census/adult.data` and `credit-default/UCI_Credit_Card.csv` as the UCI repository has them. Records
are dealt to five sites; a seed chooses the fifth that is tested on, the same for every choice. Noise is fresh in
every run. Each choice is a change of the plan and nothing else. Ranges are public: of the codebooks, and round
numbers for money. It writes benchmarks/accuracy/maps.md after each seed.

Beside it: how wide a curve's band of noise is (federation/sums/drift.py) against how far curves lie apart that were
trained again on the same records.
"""

from __future__ import annotations

import csv
import hashlib
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.timing import machine
from clients.data.folders import find_sites
from federation.model.curves import curves
from federation.model.params import initial_params
from federation.plan.plan import Plan, parse
from federation.plan.tabular import TabularTask
from federation.sums.drift import Taken, deviation
from federation.sums.state import begin
from privacy.mechanism.noise import Stream
from server.run import server_stream
from simulations.summary import model_of, pooled_metrics
from simulations.sums.making import adding_of
from simulations.vectorized import run_vectorized
from simulations.world import World, read_world

PAGE = Path(__file__).parent / "maps.md"
EPSILONS = (1.0,)
SITES = 5
AGAIN = 8
SPLITS = 12

RULES = """
[federation]
name = "{name}"
rounds = 200
seed = {seed}
[task]
kind = "tabular-classification"
target = "{target}"
classes = ["0", "1"]
model = "{model}"
{more}
[task.features]
{features}
[cohort]
size = "all"
minimum = 5
[training]
optimizer = "sgd"
learning_rate = 1.0
local_steps = 1
sample_rate = 0.2
[privacy]
unit = "record"
{privacy}
[secure_aggregation]
colluders = 0
dropouts = 0
[server]
optimizer = "adam"
learning_rate = {rate}
iterate_average = 0.95
[evaluation]
holdout = 0
metrics = ["auc"]
"""

CENSUS = (
    "age", "workclass", "weight", "education", "years", "marital", "occupation", "relationship", "race", "sex",
    "gain", "loss", "hours", "country", "rich",
)  # fmt: skip
_WORK = "Private Self-emp-not-inc Self-emp-inc Federal-gov Local-gov State-gov Without-pay Never-worked"
_LEARNED = (
    "Preschool 1st-4th 5th-6th 7th-8th 9th 10th 11th 12th HS-grad Some-college Assoc-voc Assoc-acdm Bachelors"
    " Masters Prof-school Doctorate"
)
_MARRIED = (
    "Married-civ-spouse Divorced Never-married Separated Widowed Married-spouse-absent Married-AF-spouse"
)
_DOES = (
    "Tech-support Craft-repair Other-service Sales Exec-managerial Prof-specialty Handlers-cleaners"
    " Machine-op-inspct Adm-clerical Farming-fishing Transport-moving Priv-house-serv Protective-serv Armed-Forces"
)
_LIVES = "Wife Own-child Husband Not-in-family Other-relative Unmarried"
_RACE = "White Asian-Pac-Islander Amer-Indian-Eskimo Other Black"


def _values(text: str, rest: str = "") -> str:
    return f"{{ values = [{', '.join(f'{chr(34)}{value}{chr(34)}' for value in text.split())}]{rest} }}"


@dataclass(frozen=True)
class Table:
    """A public table: its columns as a plan has them, with and without a logarithm of money."""

    name: str
    target: str
    features: Mapping[str, str]
    money: tuple[str, ...]
    cross: str
    sites: Path

    def plan(self, choice: str, seed: int, epsilon: float | None) -> Plan:
        """The plan of one run."""
        model, scale, more = CHOICES[choice]
        written = {
            name: text.replace(" }", f', scale = "{scale}" }}') if scale and name in self.money else text
            for name, text in self.features.items()
        }
        private = f'noise = "distributed"\nepsilon = {epsilon}\ndelta = 1e-5\nclipping_norm = 1.0'
        rules = {
            "name": self.name,
            "target": self.target,
            "seed": seed,
            "model": model,
            "rate": RATES[self.name],
            "more": more.replace("CROSS", self.cross),
            "features": "\n".join(f"{name} = {text}" for name, text in written.items()),
            "privacy": 'noise = "none"' if epsilon is None else private,
        }
        return parse(RULES.format(**rules))


# model, scale of money, other keys of the task
CHOICES: Mapping[str, tuple[str, str, str]] = {
    '`model = "logistic"`': ("logistic", "", ""),
    'the same, money with `scale = "log"`': ("logistic", "log", ""),
    '`model = "additive"`, `scale = "log"`': ("additive", "log", ""),
    "the same and one cross": ("additive", "log", "cross = [CROSS]"),
    '`model = "logistic"`, `scale = "log"`, `rows = "unit"`': ("logistic", "log", 'rows = "unit"'),
}
RATES = {"census income": 0.05, "card default": 0.02}
ADDITIVE = '`model = "additive"`, `scale = "log"`'


def tables(source: Path, folder: Path) -> list[Table]:
    """The tables, with the files of their sites in `folder`."""
    census = {
        "age": "{ low = 17, high = 90 }",
        "workclass": _values(_WORK, ', missing = "category"'),
        "education": _values(_LEARNED),
        "marital": _values(_MARRIED),
        "occupation": _values(_DOES, ', missing = "category"'),
        "relationship": _values(_LIVES),
        "race": _values(_RACE),
        "sex": _values("Female Male"),
        "gain": "{ low = 1000, high = 100000 }",
        "loss": "{ low = 1000, high = 5000 }",
        "hours": "{ low = 1, high = 99 }",
    }
    money = [f"{kind}_AMT{month}" for kind in ("BILL", "PAY") for month in range(1, 7)]
    late = ["PAY_0", *(f"PAY_{month}" for month in range(2, 7))]
    card = {
        "LIMIT_BAL": "{ low = 10000, high = 1000000 }",
        "SEX": _values("1 2"),
        "EDUCATION": _values("0 1 2 3 4 5 6"),
        "MARRIAGE": _values("0 1 2 3"),
        "AGE": "{ low = 20, high = 80 }",
        **dict.fromkeys(late, _values("-2 -1 0 1 2 3 4 5 6 7 8")),
        **dict.fromkeys(money, "{ low = 100, high = 1000000 }"),
    }
    return [
        Table("census income", "rich", census, ("gain", "loss"), '["age", "relationship"]',
              _deal(folder / "census", CENSUS, _census(source / "census" / "adult.data"))),
        Table("card default", "default.payment.next.month", card, ("LIMIT_BAL", *money), '["PAY_0", "LIMIT_BAL"]',
              _deal(folder / "card", *_card(source / "credit-default" / "UCI_Credit_Card.csv"))),
    ]  # fmt: skip


def _census(path: Path) -> Iterator[list[str]]:
    for row in csv.reader(path.read_text("utf-8").splitlines(), skipinitialspace=True):
        if row:
            yield [*row[:-1], str(int(row[-1] == ">50K"))]


def _card(path: Path) -> tuple[list[str], list[list[str]]]:
    header, *rows = csv.reader(path.read_text("utf-8").splitlines())
    return header, rows


def _deal(folder: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    found = list(rows)
    for seed in range(SPLITS):
        lots = np.argsort(Stream(hashlib.sha256(f"maps/{seed}".encode()).digest()).words(len(found)))
        for part, places in (("test", lots[: len(lots) // 5]), ("train", lots[len(lots) // 5 :])):
            for site in range(SITES):
                place = folder / str(seed) / f"site-{site}"
                place.mkdir(parents=True, exist_ok=True)
                with (place / f"{part}.csv").open("w", newline="", encoding="utf-8") as file:
                    own = (found[row] for row in places[site::SITES])
                    csv.writer(file, lineterminator="\n").writerows([header, *own])
    return folder


def trained(table: Table, plan: Plan) -> tuple[World, list[float], float]:
    """The world of a run, its params, and the AUC of all held-out records."""
    world = read_world(plan, find_sites(table.sites / str(plan.federation.seed)).sites)
    state = begin(plan, bytes(16), initial_params(world.task.model, plan.federation.seed))
    *_, (state, _) = run_vectorized(plan, state, world.members, adding_of(plan, world), server_stream)
    auc = pooled_metrics(world, model_of(world, state.model))["auc"]
    return world, state.model.tolist(), float(auc or 0.0)


def band(table: Table) -> tuple[float, float]:
    """Over all points of all curves: the median and the largest share of the band that trainings differ by."""
    plan, shown = table.plan(ADDITIVE, 0, 1.0), []
    assert isinstance(plan.task, TabularTask)
    for _ in range(AGAIN):
        world, params, _ = trained(table, plan)
        shown.append(np.concatenate([curve.effect for curve in curves(plan.task, params, None)]))
    sizes = {member.site: member.size for member in world.members}
    noise = deviation(plan, [Taken(sizes, tuple(sizes))] * plan.rounds, len(params))
    bands = np.concatenate([curve.noise or () for curve in curves(plan.task, params, noise)])
    shares = np.std(shown, axis=0, ddof=1) / bands
    return float(np.median(shares)), float(np.sqrt(np.mean(np.sort(shares**2)[-len(shares) // 10 :])))


Found = dict[tuple[str, str, float | None], list[float]]


def main(folder: str, seeds: int = 4) -> None:
    """Run everything, one seed after another, and write the page after each."""
    found: Found = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        places = tables(Path(folder), Path(name))
        for seed in range(seeds):
            for place in places:
                for choice in CHOICES:
                    for epsilon in (*EPSILONS, None):
                        auc = trained(place, place.plan(choice, seed, epsilon))[2]
                        found[place.name, choice, epsilon].append(auc)
                        print(seed, place.name, choice, epsilon, f"{auc:.4f}", flush=True)
            PAGE.write_text("\n".join(_page(places, found, seed + 1, {})), "utf-8")
        bands = {place.name: band(place) for place in places}
        print(bands, flush=True)
        PAGE.write_text("\n".join(_page(places, found, seeds, bands)), "utf-8")


def _page(
    places: Sequence[Table], found: Found, seeds: int, bands: Mapping[str, tuple[float, float]]
) -> Iterator[str]:
    yield "# What public feature maps gain at the same epsilon"
    yield ""
    yield f"Written by `python -m benchmarks.accuracy.maps` on {datetime.now(UTC):%Y-%m-%d}."
    yield f"{machine()}."
    yield ""
    yield (
        f"AUC on a fifth of the records, {seeds} splits: the mean, and its standard error over the splits, most of "
        "which is of the split and the same in every line. Five sites, 200 rounds, sample rate .2, clipping norm "
        "1, distributed noise, delta 1e-5, Adam with averaged iterates. Its rates, .05 and .02, were chosen on "
        "these tables, among four. Without privacy it is the same training with neither noise nor clipping."
    )
    for place in places:
        yield from ("", f"## {place.name[0].upper()}{place.name[1:]}", "")
        yield "| choice | inputs | epsilon 1 | without privacy |"
        yield "| --- | ---: | ---: | ---: |"
        for choice in CHOICES:
            task = place.plan(choice, 0, None).task
            assert isinstance(task, TabularTask)
            cells = (_cell(found[place.name, choice, epsilon]) for epsilon in (*EPSILONS, None))
            yield f"| {choice} | {task.inputs} | {' | '.join(cells)} |"
    if bands:
        yield from ("", "## The band of a curve", "")
        yield (
            f"An additive model at epsilon 1, trained {AGAIN} times on the same records, with fresh noise and "
            "batches. How far its curves lie apart, as a share of the band of noise that each would be shown with:"
        )
        yield from ("", "| table | median of all points | largest tenth of points |", "| --- | ---: | ---: |")
        for name, (median, largest) in bands.items():
            yield f"| {name} | {median:.2f} | {largest:.2f} |"
    yield ""


def _cell(values: Sequence[float]) -> str:
    error = f" ± {np.std(values, ddof=1) / len(values) ** 0.5:.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{error}"


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
