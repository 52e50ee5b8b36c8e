"""What a first run reaches with proposed settings, beside the best of a grid: is there anything left to tune?

    python -m benchmarks.accuracy.proposals [SEEDS] [HEART] [DATA]

The rule is federation/plan/settings.py, by which `federation plan new` writes plans. A grid of clipping norms,
learning rates and sample rates is run for each epsilon, and the settings with the best mean AUC over all seeds are
"the best of the grid": chosen on the very records that they are judged on, which no one could do with private ones.
So the gap is at least what tuning would gain. A seed chooses which records are held out; noise is new in every run.

HEART is the folder of the UCI heart disease files. DATA is one with census/adult.data and
credit-default/UCI_Credit_Card.csv, as published; each is cut into five sites. It writes
benchmarks/accuracy/proposals.md.
"""

from __future__ import annotations

import csv
import math
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.utility import EPSILONS, Federation, federations
from benchmarks.timing import machine
from clients.data.folders import find_sites
from clients.data.sources.reading import read
from clients.drafting.plans import propose
from clients.drafting.sources import Reading
from federation.config.toml import write
from federation.model.params import initial_params
from federation.model.shape import known_dimension
from federation.plan.plan import Plan, parse
from federation.plan.settings import Settings, settings_for
from federation.plan.tabular import TabularTask
from federation.sums.state import begin
from server.run import server_stream
from simulations.populations.bank import bank
from simulations.populations.registry import scenario_for
from simulations.summary import model_of, pooled_metrics
from simulations.sums.making import adding_of
from simulations.vectorized import run_vectorized
from simulations.world import World, read_world

PAGE = Path(__file__).parent / "proposals.md"
CLIPS = (0.25, 0.5, 1.0, 2.0)  # in first gradients
RATES = (0.005, 0.01, 0.02, 0.05, 0.1)  # of Adam
SAMPLES = (0.1, 0.3)
_SITES = 5


@dataclass(frozen=True)
class Place:
    """A federation whose plan says everything but the settings, and the seeds' worlds as they are read."""

    name: str
    tables: Mapping[str, Any]
    sites: Path

    def plan(self, seed: int, epsilon: float, found: Settings) -> Plan:
        """The plan of one run."""
        tables = {name: dict(table) for name, table in self.tables.items()}
        tables["federation"] |= {"seed": seed, "rounds": found.rounds}
        tables["training"] |= {"sample_rate": found.sample_rate, "learning_rate": 1.0}
        tables["privacy"] |= {"epsilon": epsilon, "clipping_norm": found.clipping_norm}
        tables["server"] = {"optimizer": "adam", "learning_rate": found.learning_rate}
        tables["evaluation"] |= {"metrics": ["auc"]}
        return parse(write(tables))


def places(folder: Path, heart: Path | None, data: Path | None) -> Iterator[Place]:
    """The federations, with the files of their sites in `folder`."""
    for each in federations(folder, heart):
        yield _place(each)
    yield Place(
        "bank of the demo", tomllib.loads(scenario_for("bank").read_text("utf-8")), bank(folder / "bank")
    )
    if data is not None:
        yield _public(folder / "census", _census(data / "census" / "adult.data"), "income")
        yield _public(
            folder / "default", _default(data / "credit-default" / "UCI_Credit_Card.csv"), "default"
        )


def _place(each: Federation) -> Place:
    return Place(each.name, tomllib.loads(each.plan), each.sites)


def _census(path: Path) -> list[list[str]]:
    """The rows, with a header; what is marked as unknown is a value like others."""
    names = "age,work,weight,education,years,marital,job,role,race,sex,gain,loss,hours,country,income"
    lines = path.read_text("utf-8").splitlines()
    return [names.split(","), *(line.split(", ") for line in lines if line.strip())]


def _default(path: Path) -> list[list[str]]:
    rows = list(csv.reader(path.read_text("utf-8").splitlines()))
    return [[*rows[0][1:-1], "default"], *([*row[1:-1], row[-1]] for row in rows[1:])]


def _public(folder: Path, rows: list[list[str]], target: str) -> Place:
    """A public table as `federation plan new` reads it, dealt to sites in turn."""
    folder.mkdir()
    for name, part in (("all", rows[1:]), *((f"sites/{n}", rows[1 + n :: _SITES]) for n in range(_SITES))):
        path = folder / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([rows[0], *part])
    found = propose(read(Reading(str(folder / "all.csv")).origin()), target, folder.name)
    tables = tomllib.loads(found.text)
    tables["task"]["model"] = "logistic"  # of all federations here, so that their gaps are of settings alone
    return Place(folder.name, tables, folder / "sites")


def auc(plan: Plan, world: World) -> float:
    """Of the last params, on the records held out at all sites."""
    state = begin(plan, bytes(16), initial_params(world.task.model, plan.federation.seed))
    *_, (state, _) = run_vectorized(plan, state, world.members, adding_of(plan, world), server_stream)
    return float(pooled_metrics(world, model_of(world, state.params))["auc"] or 0.0)


def grid(rule: Settings) -> Iterator[Settings]:
    """What is tried beside the rule."""
    for clip, rate, sample in product(CLIPS, RATES, SAMPLES):
        norm = float(f"{clip * rule.gradient:.2g}")
        yield Settings(rule.records, rule.rounds, sample, norm, rate, rule.gradient, math.nan)


Found = dict[tuple[str, float, Settings], list[float]]


def main(seeds: int = 3, heart: str = "", data: str = "") -> None:
    """Run everything, seed by seed, and write the page after each."""
    found: Found = defaultdict(list)
    rules: dict[tuple[str, float], Settings] = {}
    with tempfile.TemporaryDirectory() as name:
        known = list(places(Path(name), *(Path(each) if each else None for each in (heart, data))))
        for seed in range(seeds):
            for place in known:
                _run(place, seed, rules, found)
            PAGE.write_text("\n".join(_page(known, rules, found, seed + 1)), "utf-8")


def _run(place: Place, seed: int, rules: dict[tuple[str, float], Settings], found: Found) -> None:
    world: World | None = None
    for epsilon in EPSILONS:
        base = parse(write({name: dict(table) for name, table in place.tables.items()}))
        assert isinstance(base.task, TabularTask)
        rule = rules.get((place.name, epsilon))
        if rule is None:
            records = sum(1 for each in find_sites(place.sites).sites for _ in each.train.open()) * 4 // 5
            delta, params = base.privacy.delta or 1e-5, known_dimension(base) or 0
            rule = rules[place.name, epsilon] = settings_for(base.task, params, records, epsilon, delta)
        for settings in (rule, *grid(rule)):
            plan = place.plan(seed, epsilon, settings)
            world = world or read_world(plan, find_sites(place.sites).sites)
            found[place.name, epsilon, settings].append(auc(plan, world))
        print(seed, place.name, epsilon, f"{found[place.name, epsilon, rule][-1]:.4f}", flush=True)


def _page(
    known: Iterable[Place], rules: Mapping[tuple[str, float], Settings], found: Found, seeds: int
) -> Iterator[str]:
    yield "# Proposed settings beside the best of a grid"
    yield ""
    yield f"Written by `python -m benchmarks.accuracy.proposals` on {datetime.now(UTC):%Y-%m-%d}. {machine()}."
    yield ""
    tried = len(CLIPS) * len(RATES) * len(SAMPLES)
    yield (
        f"AUC on held-out records, the mean of {seeds} splits. The best of {tried} settings was chosen on the same "
        "records, so the gap is what the best luck gains, too: the settings beside it are within its error. "
        "Clipping norms are in first gradients; rounds are 100, the optimizer is Adam."
    )
    yield ""
    yield "| federation | epsilon | proposed: clip, sample rate | AUC | best: clip, sample rate, rate | AUC | gap |"
    yield "| --- | ---: | --- | ---: | --- | ---: | ---: |"
    for place, epsilon in product(known, EPSILONS):
        rule = rules[place.name, epsilon]
        ours = found[place.name, epsilon, rule]
        best = max(grid(rule), key=lambda each: np.mean(found[place.name, epsilon, each]))
        theirs = found[place.name, epsilon, best]
        told = f"{rule.clipping_norm / rule.gradient:.2g}, {rule.sample_rate:g}"
        other = f"{best.clipping_norm / best.gradient:.2g}, {best.sample_rate:g}, {best.learning_rate:g}"
        judged = f"{told} | {_mean(ours)} | {other} | {_mean(theirs)} | {_gap(ours, theirs)}"
        yield f"| {place.name} | {epsilon:g} | {judged} |"
    yield ""


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f}"


def _gap(ours: Sequence[float], theirs: Sequence[float]) -> str:
    gaps = np.array(theirs) - np.array(ours)
    error = f" ± {gaps.std(ddof=1) / len(gaps) ** 0.5:.3f}" if len(gaps) > 1 else ""
    return f"{gaps.mean():+.3f}{error}"


if __name__ == "__main__":
    main(*(int(each) if each.isdigit() else each for each in sys.argv[1:]))  # type: ignore[arg-type]
