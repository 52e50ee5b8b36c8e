"""What one or two bad sites of 25 do to a model, with one sum and with groups: writes benchmarks/poison.md.

    python -m benchmarks.poison

The digits of scikit-learn, split over 25 sites by chance, a fifth of each held out; a logistic model, 30 rounds. A
bad site flips the sign of what it sends, sends ten times that (-10 x), or trains on false labels (y becomes 9 - y).
All of it by the same kinds, noise and grid as a run, without journals and messages. Accuracy is over the held-out
records of all sites, with true labels: the mean of SEEDS splits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from clients.training.work import Trainer, contribution, site_stream
from federation.log import LOGGER
from federation.model.params import Layout, initial_params
from federation.model.task import Dataset, Task, cross_entropy
from federation.plan.plan import Plan, parse
from federation.round.groups import noise_factor
from federation.round.messages import Member
from federation.round.parts import Sum
from federation.round.terms import Terms
from federation.sums.state import begin
from privacy.mechanism.encoding import RingVector
from privacy.mechanism.noise import Stream
from privacy.secagg.graph import permutation
from privacy.wire import digest
from simulations.vectorized import run_vectorized

SITES, GROUPS, SEEDS = 25, 5, 2
PLAN = """
task = "benchmarks.poison:task"
[federation]
name = "digits"
rounds = 30
seed = {seed}
[cohort]
size = "all"
minimum = {sites}
[training]
optimizer = "sgd"
learning_rate = 0.5
local_steps = 1
sample_rate = 0.5
[privacy]
unit = "record"
noise = "{noise}"
{claim}
[secure_aggregation]
colluders = 1
dropouts = 1
{groups}
[server]
optimizer = "momentum"
learning_rate = 1.0
unlikely_sum = "report"
{combine}
"""
CLAIM = "epsilon = 8.0\ndelta = 1e-4\nclipping_norm = 1.0"
COMBINED = (None, "mean", "trimmed-mean", "median")
ATTACKS: Mapping[str, tuple[float, bool]] = {
    "none": (1.0, False),
    "sign flip": (-1.0, False),
    "-10 x": (-10.0, False),
    "false labels": (1.0, True),
}

task = Task(
    "digits", model=lambda: nn.Linear(64, 10), loss=cross_entropy, data=lambda _: Dataset(*_digits(0, 0)[0])
)


@dataclass(frozen=True)
class Outcome:
    """Accuracy on held-out records, and in how many rounds the sum was one that honest sites do not make."""

    accuracy: float
    noticed: int


def main() -> None:
    """Play all of it, and write the page."""
    LOGGER.setLevel("ERROR")
    torch.set_num_threads(1)
    lines = [_heading()]
    for noise in ("none", "distributed"):
        lines += [f'\n## noise = "{noise}"{"" if noise == "none" else ", epsilon 8"}\n', *_table(noise)]
    Path(__file__).with_name("poison.md").write_text("\n".join(lines) + "\n", "utf-8")


def _heading() -> str:
    today = datetime.now(UTC).date().isoformat()
    text = (__doc__ or "").split("\n\n", 2)[2].strip().replace("\n", " ").replace("SEEDS", str(SEEDS))
    return (
        f"# Poison\n\nMade on {today} by `python -m benchmarks.poison`.\n\n{text}\n\n"
        f'"one sum" is the whole cohort, the others {GROUPS} groups of {SITES // GROUPS}. '
        "Colluders 1, dropouts 1. In brackets: in how many of 30 rounds a sum was found to be none that honest "
        "sites make (`unlikely_sum`; by default the first of them ends the run)."
    )


def _table(noise: str) -> list[str]:
    plan = plan_of(noise, "median", 0)
    factor = noise_factor(plan, SITES) if plan.is_private else 1.0
    names = ["one sum", *(f"{how} of groups" for how in COMBINED if how)]
    rows = [
        f"Noise on the mean of groups over that on one mean: {factor:.2f}.\n",
        "| attack | bad sites | " + " | ".join(names) + " |",
        "|---|---|" + "---|" * len(names),
    ]
    for attack in ATTACKS:
        for bad in (0,) if attack == "none" else (1, 2):
            cells = [_cell(noise, how, attack, bad) for how in COMBINED]
            rows.append(f"| {attack} | {bad} | " + " | ".join(cells) + " |")
            print(noise, rows[-1], flush=True)
    return rows


def _cell(noise: str, how: str | None, attack: str, bad: int) -> str:
    found = [play(plan_of(noise, how, seed), attack, bad) for seed in range(SEEDS)]
    noticed = round(fmean(one.noticed for one in found))
    return f"{fmean(one.accuracy for one in found):.3f}" + (f" ({noticed})" if noticed else "")


def plan_of(noise: str, how: str | None, seed: int) -> Plan:
    """The plan of one run; `how` is None for one sum."""
    groups, combine = ("", "") if how is None else (f"groups = {GROUPS}", f'combine = "{how}"')
    claim = "" if noise == "none" else CLAIM
    return parse(
        PLAN.format(seed=seed, sites=SITES, noise=noise, claim=claim, groups=groups, combine=combine)
    )


def play(plan: Plan, attack: str, bad: int) -> Outcome:
    """One run, in which the first `bad` sites attack."""
    factor, lies = ATTACKS[attack]
    seed, names = plan.federation.seed, [f"s{number:02d}" for number in range(SITES)]
    parts, test = zip(*(_digits(seed, number) for number in range(SITES)), strict=True)
    trainers = {
        name: Trainer(task, _data(part, lies and number < bad), _streams(plan, name))
        for number, (name, part) in enumerate(zip(names, parts, strict=True))
    }
    culprits = set(names[:bad])

    def sent(terms: Terms, site: str, params: Tensor) -> RingVector:
        vector = contribution(terms, site, params, trainers[site])
        if factor == 1.0 or site not in culprits:
            return vector
        return terms.codec.to_ring(np.rint(terms.codec.from_ring(vector) * factor).astype(np.int64))

    def summed(terms: Terms, params: Tensor) -> Sum:
        members = terms.parameters.members
        total = sum(sent(terms, site, params) for site in members)
        return Sum(terms, total & np.uint64((1 << terms.codec.ring_bits) - 1), members)

    members = tuple(Member(name, len(part[1])) for name, part in zip(names, parts, strict=True))
    state, noticed = begin(plan, bytes(16), initial_params(task.model, seed)), 0
    for after, receipt in run_vectorized(plan, state, members, summed, lambda _: Stream(os.urandom(32))):
        state, noticed = after, noticed + (receipt.unlikely is not None)
    model = task.model()
    Layout.of(model).load(model, state.params)
    features, labels = (torch.cat(each) for each in zip(*test, strict=True))
    with torch.no_grad():
        return Outcome(float((model(features).argmax(dim=1) == labels).double().mean()), noticed)


def _streams(plan: Plan, site: str) -> Callable[[int], Stream]:
    return partial(site_stream, plan, site)


def _data(part: tuple[Tensor, Tensor], lies: bool) -> Dataset:
    features, labels = part
    return Dataset(features, 9 - labels if lies else labels)


def _digits(seed: int, site: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """A site's records to train on, and those held out."""
    pixels, labels = load_digits(return_X_y=True)
    order = list(permutation(len(labels), digest("benchmarks/poison", bytes([seed]))))[site::SITES]
    features, truth = torch.from_numpy(pixels[order] / 16).float(), torch.from_numpy(labels[order]).long()
    cut = len(order) // 5
    return (features[cut:], truth[cut:]), (features[:cut], truth[:cut])


if __name__ == "__main__":
    main()
