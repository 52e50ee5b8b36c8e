"""No product of a round makes BLAS start threads: on a busy machine each waits for a core of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SITES, RECORDS, FEATURES = 20, 50, 30

_WATCHED = """
import json, threading, time
from contextlib import suppress
from pathlib import Path
import numpy as np
import torch
import simulations.accounts.run as accounts
from simulations.cohort.quick import product
from simulations.simulate import simulate

class Played(BaseException):
    pass  # all rounds: what comes after them is not watched

def spent():  # nanoseconds of threads that are not Python's own
    own = {str(thread.native_id) for thread in threading.enumerate()}
    tasks = [task for task in Path("/proc/self/task").iterdir() if task.name not in own]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)

def settled():  # a thread of BLAS turns for a while before it sleeps
    last, end = -1, time.monotonic() + 20
    while (now := spent()) != last and time.monotonic() < end:
        last = now
        time.sleep(.2)
    return now

played, found = accounts.run_vectorized, {}

def watched(*given):
    before = None
    for each in played(*given):
        yield each
        if before is None:  # the first round also chooses how to train
            before = settled()
    found[noise] = spent() - before
    raise Played

accounts.run_vectorized = watched
for noise in ("none", "distributed"):
    with suppress(Played):
        simulate(f"{noise}.toml", "sites", Path("run") / noise, baseline=False)
before = settled()
for rows, inner, columns in SHAPES:  # on both sides of what is small
    product(torch.ones(2, rows, inner), torch.ones(2, inner, columns))
    product(torch.ones(2, rows, inner).double(), torch.ones(2, inner, columns).double())
found["products"] = spent() - before
before = settled()
np.matmul(np.ones((600, 600)), np.ones((600, 600)))
found["control"] = settled() - before
print(json.dumps(found))
"""


_SHAPES = (
    (1, 90, 90),
    (90, 90, 1),
    (1, 8192, 1),
    (1, 1000, 1000),
    (500, 500, 1),
    (40, 40, 40),
    (4, 128, 128),
    (300, 300, 300),
)


def _plan(noise: str) -> str:
    features = "\n".join(f"f{number} = {{ low = -1, high = 1 }}" for number in range(FEATURES))
    claim = "" if noise == "none" else "epsilon = 3.0\ndelta = 1e-5\nclipping_norm = 1.0\n"
    return f"""
[federation]
name = "threads"
rounds = 4
seed = 7
[task]
kind = "tabular-classification"
target = "y"
classes = ["0", "1"]
model = "mlp"
[task.features]
{features}
[cohort]
size = "all"
minimum = 3
weights = "uniform"
deadline_seconds = 60
[training]
optimizer = "sgd"
learning_rate = 0.5
local_steps = 1
sample_rate = 0.2
[privacy]
unit = "record"
noise = "{noise}"
{claim}[secure_aggregation]
colluders = 1
dropouts = 0
[server]
optimizer = "average"
learning_rate = 1.0
[evaluation]
metrics = ["accuracy"]
"""


def _written(folder: Path) -> None:
    sites, numbers = folder / "sites", np.arange(RECORDS * FEATURES).reshape(RECORDS, FEATURES)
    sites.mkdir()
    head = ",".join([*(f"f{number}" for number in range(FEATURES)), "y"])
    for site in range(SITES):
        values = np.sin(numbers * (site + 1.3))
        rows = (",".join([*(f"{value:.3f}" for value in row), str(int(row[0] > 0))]) for row in values)
        (sites / f"s{site:02d}.csv").write_text("\n".join([head, *rows]) + "\n")
    for noise in ("none", "distributed"):
        (folder / f"{noise}.toml").write_text(_plan(noise))


@pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="threads are watched by Linux's own figures"
)
def test_no_product_of_a_round_is_worked_out_by_threads_of_blas(tmp_path: Path) -> None:
    _written(tmp_path)
    root = Path(__file__).parents[2]
    bare = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", f"SHAPES = {_SHAPES}\n{_WATCHED}"],
        cwd=tmp_path,
        env=bare | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    if found.pop("control") == 0:
        pytest.skip("BLAS has one thread here")
    assert found == {"none": 0, "distributed": 0, "products": 0}
