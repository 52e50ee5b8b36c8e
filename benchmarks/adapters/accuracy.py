"""Words, a frozen encoder with a head, and LoRA, at the same epsilon: the moderation scenario, by real plans."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from benchmarks.adapters.texts import Last
from clients.data.folders import find_sites
from federation.model.base import base_digest
from federation.model.params import initial_params
from federation.plan.plan import Plan, parse
from federation.sums.state import begin
from server.run import server_stream
from simulations.populations.made_up.moderation import moderation
from simulations.populations.registry import scenario_for
from simulations.summary import model_of, pooled_metrics
from simulations.sums.making import adding_of
from simulations.vectorized import run_vectorized
from simulations.world import World, read_world

EPSILONS = (1.0, 3.0, 8.0)
LORA_ROUNDS, LORA_RATE = 20, 0.05  # what a core computes in a minute
HEAD = "| AUC, accuracy (runs) | trained | epsilon 1 | epsilon 3 | epsilon 8 | a run, s |"
ENCODER = (
    '{ text = "encoder", digest = "sha256:0720ee4c02736381b1a8cdd3080921b53dc365be94d858960a54d79829e3c79d", '
    'tokens = 32, width = 384, trained_on = "sentences from the web" }'
)


@dataclass(frozen=True)
class Figure:
    """Of one run: figures of all held-out posts, how many numbers were trained, seconds of the processor."""

    way: str
    epsilon: float
    auc: float
    accuracy: float
    size: int
    seconds: float


def _changed(text: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        if text.count(old) != 1:
            raise ValueError(f"the scenario's plan does not say {old} once")
        text = text.replace(old, new)
    return text


def _table(text: str) -> str:
    """A plan's task replaced by one of its own code."""
    start, end = text.index("[task]"), text.index("[cohort]")
    task = 'task = "benchmarks.adapters.texts:task"\n'
    base = f'[base]\ndigest = "{base_digest(Last())}"\ntrained_on = "sentences from the web"\n'
    return task + text[:start] + text[end:] + base


def plans() -> dict[str, str]:
    """The text of each way's plan, at epsilon 3."""
    text = scenario_for("moderation").read_text("utf-8")
    few = {
        "rounds = 100": f"rounds = {LORA_ROUNDS}",
        "sample_rate = 0.4": f"sample_rate = {LORA_RATE}",
        "clipping_norm = 0.96": "clipping_norm = 1.0",
        "learning_rate = 0.02": "learning_rate = 0.01",
    }
    return {
        "words, 512 inputs, and a head": text,
        "MiniLM, frozen, and a head": _changed(text, {'{ text = "words", width = 512 }': ENCODER}),
        "LoRA in MiniLM's last layer, and a head": _changed(_table(text), few),
    }


def figures(ways: Mapping[str, str], runs: int) -> Iterator[Figure]:
    """One after the other: of every way and epsilon a first run, then a second one."""
    with tempfile.TemporaryDirectory() as place:
        sites = find_sites(moderation(Path(place), 0), any_format=True).sites
        for run in range(runs):
            for name, text in ways.items():
                for epsilon in EPSILONS:
                    plan = parse(_changed(text, {"epsilon = 3.0": f"epsilon = {epsilon}"}), Path("plan.toml"))
                    world, start = read_world(plan, sites), time.process_time()
                    yield Figure(name, epsilon, *reached(plan, world, run), time.process_time() - start)


def row(name: str, found: Sequence[Figure]) -> str:
    """A way's line: means over its runs."""
    mine = [one for one in found if one.way == name]
    cells = []
    for epsilon in EPSILONS:
        some = [one for one in mine if one.epsilon == epsilon]
        pair = (mean(one.auc for one in some), mean(one.accuracy for one in some)) if some else (0.0, 0.0)
        cells.append(f"{pair[0]:.2f}, {pair[1]:.2f} ({len(some)})" if some else "")
    return f"| {name} | {mine[0].size:,} | {' | '.join(cells)} | {mean(one.seconds for one in mine):.0f} |"


def reached(plan: Plan, world: World, run: int) -> tuple[float, float, int]:
    """AUC and accuracy of all held-out posts, and how many numbers are trained."""
    state = begin(plan, bytes([run]) * 16, initial_params(world.task.model, run))
    *_, (state, _) = run_vectorized(plan, state, world.members, adding_of(plan, world), server_stream)
    model = model_of(world, state.params)
    found = pooled_metrics(world, model)
    size = sum(each.numel() for each in model.parameters() if each.requires_grad)
    return found["auc"] or 0.0, found["accuracy"] or 0.0, size
