"""A workload as a plan and a folder of sites, for `simulate` and for what it is made of."""

from __future__ import annotations

import csv
from pathlib import Path

from benchmarks.simulation.workloads import Workload
from federation.plan.plan import Plan, parse
from federation.round.messages import Member
from federation.round.terms import Terms

TABLE = """
kind = "tabular-classification"
target = "label"
classes = ["0", "1"]
model = "{model}"
[task.features]
{features}
"""
TEXT = """{own}
[federation]
name = "{name}"
rounds = {rounds}
seed = 7
{table}
[cohort]
size = "all"
minimum = 3
[training]
optimizer = "sgd"
learning_rate = {rate}
local_steps = {steps}
sample_rate = {share}
[privacy]
unit = "{unit}"
noise = "{noise}"
{claim}
[secure_aggregation]
colluders = 1
dropouts = 1
[server]
optimizer = "average"
learning_rate = {server}
[evaluation]
holdout = 0.0
metrics = ["accuracy"]
"""
CLAIM = "epsilon = 8.0\ndelta = 1e-5\nclipping_norm = 1.0"
STILL = 1e-6
NOISES = ("none", "distributed", "site")


def plan_of(work: Workload, noise: str, rounds: int = 6, *, own: bool = False, server: float = STILL) -> Plan:
    """The plan of a workload. DP-SGD in local steps is noised at the site; a sum of updates as the plan says.

    Records of a table come from CSV files, unless `own`; all others from a task of the user's own. The server's
    rate is so small that params stay where they are: noise on a million params would have the next round diverge,
    and a round that diverges takes another time.
    """
    is_table = len(work.shape) == 1 and not own
    model = "logistic" if "logistic" in work.name else "mlp"
    features = "\n".join(f"x{column:02d} = {{ low = -1, high = 1 }}" for column in range(work.shape[0]))
    given = {
        "own": "" if is_table else f'task = "benchmarks.simulation.tasks:{work.name.replace("-", "_")}"',
        "table": f"[task]{TABLE.format(model=model, features=features)}" if is_table else "",
        "unit": work.unit if noise == "site" or not work.privately else "client",
        "claim": "" if noise == "none" else CLAIM,
        "share": work.batch / work.records,
        "name": work.name,
        "rate": work.rate,
        "steps": work.steps,
        "server": server,
    }
    return parse(TEXT.format(noise=noise, rounds=rounds, **given))


def members_of(work: Workload) -> tuple[Member, ...]:
    """The clients as sites."""
    return tuple(Member(name_of(client), work.records) for client in range(work.clients))


def terms_of(plan: Plan, work: Workload, dimension: int) -> Terms:
    """The terms of the first round."""
    return Terms(plan, bytes(16), 1, 1, members_of(work), dimension)


def name_of(client: int) -> str:
    """The id of a client's site; in the order of their numbers."""
    return f"c{client:06d}"


def write_sites(folder: Path, work: Workload, *, own: bool = False) -> Path:
    """A folder of sites, each with its records to train on; one record of each is held out."""
    for client in range(work.clients):
        place = folder / name_of(client)
        place.mkdir(parents=True, exist_ok=True)
        if len(work.shape) == 1 and not own:
            features, labels = work.records_of(client)
            rows = [
                [*map(repr, row), label]
                for row, label in zip(features.tolist(), labels.tolist(), strict=True)
            ]
            _write(place / "train.csv", rows)
            _write(place / "test.csv", rows[:1])
        else:
            (place / "train.txt").write_text(str(client))
            (place / "test.txt").write_text(f"{client} 1")
    return folder


def _write(path: Path, rows: list[list[object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"x{column:02d}" for column in range(len(rows[0]) - 1)), "label"])
        writer.writerows(rows)
