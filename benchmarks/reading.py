"""A million rows of thirty columns: what reading them as a site does takes, by each way, beside the tensor's size.

    python -m benchmarks.reading [ROWS]

Numbers, categories and flags, one cell in twenty empty where the plan allows it. Each way runs in a process of its
own, since a process never gives all memory back: seconds of the processor, and the most memory beyond that of the
libraries, in sizes of the tensor (features and labels) that comes of it. Writes benchmarks/reading.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import installed, machine
from privacy.mechanism.noise import Stream

ROWS: Final = 1_000_000
RESULTS: Final = Path(__file__).with_name("reading.md")
_NUMBERS, _CATEGORIES, _VALUES, _FLAGS = 16, 9, 6, 4

PLAN: Final = """
[federation]
name = "reading"
rounds = 50
seed = 7

[task]
kind = "tabular-classification"
model = "logistic"
target = "outcome"
classes = ["0", "1"]
{features}
[training]
optimizer = "sgd"
learning_rate = 0.5
local_steps = 1
sample_rate = 0.01

[cohort]
size = "all"
minimum = 3

[privacy]
noise = "distributed"
unit = "record"
epsilon = 2.0
delta = 1e-7
clipping_norm = 1.0

[secure_aggregation]
colluders = 1
dropouts = 0

[server]
optimizer = "adam"
learning_rate = 0.05

[evaluation]
holdout = 0.2
metrics = ["auc"]
"""


@dataclass(frozen=True)
class Measured:
    """One way: seconds of the processor and by the clock, and the most bytes held beyond what was there before."""

    seconds: float
    clock: float
    peak: int
    tensor: int


@dataclass(frozen=True)
class _Draws:
    """Made-up numbers, the same each time."""

    stream: Stream

    def uniform(self, many: int) -> NDArray[np.float64]:
        """In (0, 1]."""
        return ((self.stream.words(many) >> np.uint64(11)) + np.uint64(1)).astype(np.float64) / 2.0**53

    def normal(self, many: int) -> NDArray[np.float64]:
        """Of variance 1 (Box and Muller)."""
        found: NDArray[np.float64] = np.sqrt(-2 * np.log(self.uniform(many)))
        found *= np.cos(2 * np.pi * self.uniform(many))
        return found

    def below(self, bound: int, many: int) -> NDArray[np.int64]:
        """Whole numbers from 0 to bound - 1."""
        return np.minimum((self.uniform(many) * bound).astype(np.int64), bound - 1)


def plan_text() -> str:
    """The plan of the made-up table: TOML."""
    lines = []
    for place in range(_NUMBERS):
        rule = 'missing = "indicator"' if place % 4 == 3 else ""
        lines.append(f"[task.features.number_{place}]\nlow = -4.0\nhigh = 4.0\n{rule}\n")
    for place in range(_CATEGORIES):
        values = ", ".join(f'"code {value}"' for value in range(_VALUES))
        rule = 'missing = "category"' if place % 3 == 2 else ""
        lines.append(f"[task.features.category_{place}]\nvalues = [{values}]\n{rule}\n")
    lines += [f'[task.features.flag_{place}]\nvalues = ["0", "1"]\n' for place in range(_FLAGS)]
    return PLAN.format(features="\n".join(lines))


def write_table(path: Path, rows: int) -> None:
    """The table as CSV, a block of rows at a time."""
    generator = _Draws(Stream(bytes(32)))
    numbers = [f"number_{place}" for place in range(_NUMBERS)]
    categories = [f"category_{place}" for place in range(_CATEGORIES)]
    header = [*numbers, *categories, *(f"flag_{place}" for place in range(_FLAGS)), "outcome"]
    with path.open("w", newline="") as file:
        file.write(",".join(header) + "\n")
        for start in range(0, rows, 50_000):
            many = min(50_000, rows - start)
            columns = [_numbers(generator, place, many) for place in range(_NUMBERS)]
            columns += [_categories(generator, place, many) for place in range(_CATEGORIES)]
            columns += [generator.below(2, many).astype(str).tolist() for _ in range(_FLAGS + 1)]
            file.writelines(",".join(row) + "\n" for row in zip(*columns, strict=True))


def _numbers(generator: _Draws, place: int, many: int) -> list[str]:
    """Numbers of few and of many digits, and whole ones."""
    drawn = np.round(generator.normal(many) * 1.5, (0, 2, 4, 12)[place % 4])
    texts = list(map(repr, drawn.tolist()))
    if place % 4 == 0:
        texts = [text.removesuffix(".0") for text in texts]
    return _gapped(generator, texts) if place % 4 == 3 else texts


def _categories(generator: _Draws, place: int, many: int) -> list[str]:
    texts = [f"code {value}" for value in generator.below(_VALUES, many).tolist()]
    return _gapped(generator, texts) if place % 3 == 2 else texts


def _gapped(generator: _Draws, texts: list[str]) -> list[str]:
    gaps = (generator.uniform(len(texts)) < 0.05).tolist()
    return ["" if gap else text for text, gap in zip(texts, gaps, strict=True)]


def to_parquet(source: Path, target: Path) -> None:
    """The same table with types: numbers as doubles, flags as whole numbers, NULL for nothing."""
    csv, parquet = import_module("pyarrow.csv"), import_module("pyarrow.parquet")
    options = csv.ConvertOptions(strings_can_be_null=True)
    parquet.write_table(csv.read_csv(source, convert_options=options), target, row_group_size=100_000)


def _reads(path: Path, plan: Path) -> int:
    """A site's records; the bytes of their tensors."""
    from clients.data.load import read_data
    from federation.model.task import build_task
    from federation.plan.plan import load

    loaded = load(plan)
    data = read_data(path, loaded, build_task(loaded))
    return data.features.nbytes + data.labels.nbytes


def _joins(path: Path, plan: Path) -> int:
    """The same, and the fingerprints by which the registry of pools knows every record."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from clients.data.load import read_file
    from clients.data.populations import fingerprints
    from federation.model.task import build_task
    from federation.plan.plan import load

    loaded = load(plan)
    reading = read_file(path, loaded, build_task(loaded))
    fingerprints(reading.table or path, None, Ed25519PrivateKey.generate())
    return reading.data.features.nbytes + reading.data.labels.nbytes


def _describes(path: Path, plan: Path) -> int:
    """The figures of `federation check` for the people at the site."""
    from clients.data.sources.reading import read
    from clients.describing.described import describe
    from federation.plan.plan import load
    from federation.plan.tabular import TabularTask

    task = load(plan).task
    assert isinstance(task, TabularTask)
    table = read(path)
    describe(table, task)
    return len(table) * (4 * task.inputs + 8)


WORKS: Final[dict[str, Callable[[Path, Path], int]]] = {
    "read": _reads,
    "read, fingerprints": _joins,
    "describe": _describes,
}


def measured(work: str, path: Path, plan: Path) -> Measured:
    """One way, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.reading", "--one", work, str(path), str(plan)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def _one(work: str, path: Path, plan: Path) -> None:
    """Measure in this process; libraries and the plan are there before."""
    from federation.model.task import build_task
    from federation.plan.plan import load

    build_task(load(plan))
    if path.suffix == ".parquet":
        import_module("pyarrow.parquet")
    before, clock, start = _peak(), time.perf_counter(), time.process_time()
    tensor = WORKS[work](path, plan)
    seconds, clock = time.process_time() - start, time.perf_counter() - clock
    print(json.dumps({"seconds": seconds, "clock": clock, "peak": _peak() - before, "tensor": tensor}))


def _peak() -> int:
    """Of this program alone: what getrusage says begins with the one that started it."""
    told = Path("/proc/self/status").read_text()
    return int(told.partition("VmHWM:")[2].split()[0]) * 1024


def main(rows: int) -> None:
    """Measure all ways and write them down."""
    with tempfile.TemporaryDirectory() as folder:
        table, plan = Path(folder, "table.csv"), Path(folder, "plan.toml")
        plan.write_text(plan_text())
        write_table(table, rows)
        places = {"CSV": table}
        if installed("pyarrow"):
            places["Parquet"] = table.with_suffix(".parquet")
            to_parquet(table, places["Parquet"])
        lines = []
        for name, place in places.items():
            for work in WORKS:
                found = measured(work, place, plan)
                line = f"| {name} | {work} | {found.seconds:.1f} | {found.peak / found.tensor:.2f} |"
                lines.append(line)
                print(line, flush=True)
    head = f"{datetime.now(UTC):%Y-%m-%d}, {machine()}, pyarrow {installed('pyarrow')}"
    columns = _NUMBERS + _CATEGORIES + _FLAGS + 1
    size = f"{rows:,} rows x {columns} columns; the tensor is {found.tensor / 1e6:,.0f} MB."
    RESULTS.write_text("\n".join(("# Reading a table", "", head, "", size, "", *_TABLE, *lines, "")))


_TABLE = (
    "| file | work | seconds of the processor | peak beyond the libraries, in tensors |",
    "| --- | --- | --- | --- |",
)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        _one(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
