"""The table of the workloads, from what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.results import Rows, table
from benchmarks.simulation.ours import Rounds
from benchmarks.simulation.workloads import WORKLOADS, Workload

TARGETS = {"mlp": 40.0, "logistic": 80.0, "cnn": 1.3, "dp-mlp": 6.0}
"""Of the cohort's training, as times the raw loop's speed."""
ON_TWO_CORES = 2.4  # of the CNN
AGAINST_OPACUS = {"dp-cnn": 2.0}
KEPT = 0.6  # of the training loop's speed, in a whole round


@dataclass
class Measured:
    """Of one workload: milliseconds by work, whole rounds by noise, and why there are none for another."""

    work: Workload
    times: Mapping[str, float]
    rounds: dict[str, Rounds] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def training(self) -> float:
        """Milliseconds of the quickest way to train all clients of a round."""
        return min(spent for name, spent in self.times.items() if name not in ("raw", "opacus"))


def trained(found: Mapping[str, Measured]) -> str:
    """How fast a round's clients are trained."""
    rows: Rows = {}
    for name, one in found.items():
        raw, times = one.times["raw"], one.times
        opacus = times.get("opacus")
        beside = "" if opacus is None else f"{opacus / one.training:.1f}x (raw: {opacus / raw:.1f}x)"
        rows[f"{name}, {one.work.clients} clients"] = [
            f"{raw:.1f} ms",
            _times(raw, times["site by site"]),
            _times(raw, times["cohort"]),
            _times(raw, times["all cores"]) if one.work.cores else "",
            beside,
            _met(name, one),
        ]
    head = [
        "training alone",
        "raw loop",
        "site by site",
        "cohort",
        "on all cores",
        "against Opacus hooks",
        "aim",
    ]
    return table(head, rows)


def _met(name: str, one: Measured) -> str:
    if (aim := TARGETS.get(name)) is not None:
        reached = [one.times["raw"] / one.times[way] for way in ("cohort", "all cores") if way in one.times]
        aims = (aim, ON_TWO_CORES)[: len(reached)]
        told = ("met" if got >= asked else "missed" for got, asked in zip(reached, aims, strict=True))
        return ", ".join(f"{asked:g}x: {word}" for asked, word in zip(aims, told, strict=True))
    aim = AGAINST_OPACUS[name]
    return f"{aim:g}x Opacus: {'met' if one.times['opacus'] / one.training >= aim else 'missed'}"


def simulated(found: Mapping[str, Measured]) -> str:
    """How fast whole rounds are, and how much of the training's speed they keep."""
    rows: Rows = {}
    for name, one in found.items():
        cells = [_whole(one, noise) for noise in ("none", "distributed", "site")]
        rows[f"{name}, {one.work.clients} clients"] = [*cells, _rate(one)]
    head = [
        "whole round, by noise",
        "none",
        "distributed",
        "site",
        "clients a second, none / distributed / site",
    ]
    return table(head, rows)


def _whole(one: Measured, noise: str) -> str:
    rounds = one.rounds.get(noise)
    if rounds is None:
        return one.refused.get(noise, "")
    spent = rounds.clocked if one.work.cores else rounds.spent
    return f"{spent:.1f} ms, {_times(one.times['raw'], spent)}, {one.training / spent:.0%} of the training"


def _rate(one: Measured) -> str:
    known = [one.rounds.get(noise) for noise in ("none", "distributed", "site")]
    return " / ".join("" if each is None else f"{each.clients_a_second:,.0f}" for each in known)


def _times(raw: float, spent: float) -> str:
    return f"{raw / spent:.3g}x"


def order(names: list[str]) -> list[Workload]:
    """The workloads of these names, in the order of the table; all where none is named."""
    return [work for name, work in WORKLOADS.items() if not names or name in names]
