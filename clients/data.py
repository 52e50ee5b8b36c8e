"""A site's files into checked tensors: CSV by the plan's columns, other data by the user's own task.

Every complaint names file, row and column and never shows a value: messages get pasted into tickets and
mails, and a cell may be a diagnosis. Nothing is guessed or repaired, since a repair that depends on other
rows (a mean, a scale, a new category) would leak past the noise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from clients.policy import SITE_ID
from clients.table import CsvTable
from federation.errors import DataError, TaskError
from federation.plan import Plan
from federation.tabular import Feature, Numeric, TabularTask, as_number
from federation.task import Dataset, Source, Task


@dataclass(frozen=True)
class SiteFiles:
    """What a folder of sites holds of one of them."""

    name: str
    train: Path
    test: Path | None = None
    site_file: Path | None = None


def read_data(path: Path, plan: Plan, task: Task) -> Dataset:
    """A site's data as the plan's task reads it. DataError; TaskError if the user's own code is at fault."""
    if isinstance(plan.task, TabularTask):
        return read_csv(path, plan.task)
    if task.data is None:
        raise TaskError(f"{task.name}: has no data function", hint="pass data=, from a Source to a Dataset")
    if not path.exists():
        raise DataError(f"{path}: there is no such file", hint="check the path")
    try:
        dataset = task.data(Source(path))
    except Exception as error:
        # The text of this exception may quote a record; its type cannot.
        hint = "see the traceback with --debug"
        raise TaskError(
            f"{task.name}: reading {path} failed with {type(error).__name__}", hint=hint
        ) from error
    return _checked(dataset, task.name)


def read_csv(path: Path, task: TabularTask) -> Dataset:
    """The rows of a CSV file: features (n, task.inputs) float32 in [-1, 1], labels (n,) int64.

    Numbers are scaled from their public range and clipped to it; values become one-hot columns.
    """
    table = CsvTable.read(path)
    cells = {name: table.column(name) for name in [f.name for f in task.features] + [task.target]}
    blocks = [_encoded(table, cells[feature.name], feature) for feature in task.features]
    labels = _codes(table, cells[task.target], task.target, task.classes)
    features = np.concatenate(blocks, axis=1).astype(np.float32)
    return Dataset(torch.from_numpy(features), torch.from_numpy(labels))


def split(dataset: Dataset, holdout: float, seed: int) -> tuple[Dataset, Dataset | None]:
    """Training part and held-out part: `holdout` of every class, rounded, chosen by a public seed.

    Within a class the records are ordered by a hash of their own content, so that the part a record falls in
    depends on the others only at the border: one record more or less moves at most one other. A class keeps
    one record at least to train on. None if nothing is held out.
    """
    ranks = _content_hashes(dataset, seed)
    held = np.zeros(len(dataset), dtype=bool)
    labels = dataset.labels.numpy()
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rows = rows[np.argsort(ranks[rows], kind="stable")]
        held[rows[: min(round(holdout * len(rows)), len(rows) - 1)]] = True
    if not held.any():
        return dataset, None
    return _part(dataset, ~held), _part(dataset, held)


def find_sites(directory: Path) -> list[SiteFiles]:
    """The sites of a folder, by name: NAME.csv, or NAME/ with train.csv (and test.csv, site.toml)."""
    if not directory.is_dir():
        raise DataError(
            f"{directory}: there is no such folder", hint="name a folder with a CSV file per site"
        )
    entries = sorted(entry for entry in directory.iterdir() if not entry.name.startswith("."))
    sites = [_site_files(entry) for entry in entries]
    if not sites:
        raise DataError(
            f"{directory}: holds no sites", hint="put NAME.csv or NAME/train.csv in it for each site"
        )
    names = [site.name for site in sites]
    for name in names:
        if names.count(name) > 1:
            raise DataError(
                f"{directory}: {name} is there twice", hint=f"keep {name}.csv or {name}/, not both"
            )
    return sorted(sites, key=lambda site: site.name)


def _site_files(entry: Path) -> SiteFiles:
    name = entry.name if entry.is_dir() else entry.stem
    if entry.suffix == ".parquet" and entry.is_file():
        raise DataError(f"{entry}: Parquet cannot be read yet", hint="save it as CSV")
    if not entry.is_dir() and entry.suffix != ".csv":
        raise DataError(f"{entry}: is no CSV file", hint="remove it, or save it as CSV")
    if not SITE_ID.fullmatch(name):
        raise DataError(
            f"{entry}: cannot be a site's name", hint="use letters, digits, dots, - and _, up to 64"
        )
    if entry.is_file():
        return SiteFiles(name, entry)
    train, test, site_file = entry / "train.csv", entry / "test.csv", entry / "site.toml"
    if not train.is_file():
        raise DataError(f"{entry}: holds no train.csv", hint="put the site's data there")
    return SiteFiles(name, train, _if_there(test), _if_there(site_file))


def _if_there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _encoded(table: CsvTable, cells: list[str], feature: Feature) -> NDArray[np.float64]:
    if isinstance(feature, Numeric):
        return _scaled(_numbers(table, cells, feature.name), feature)[:, None]
    return np.eye(len(feature.values))[_codes(table, cells, feature.name, feature.values)]


def _scaled(numbers: NDArray[np.float64], feature: Numeric) -> NDArray[np.float64]:
    """From the public range to [-1, 1]. Halves first: the difference of two finite floats may be infinite."""
    clipped = np.clip(numbers, feature.low, feature.high)
    middle, radius = feature.low / 2 + feature.high / 2, feature.high / 2 - feature.low / 2
    return np.clip((clipped - middle) / radius, -1.0, 1.0)


def _numbers(table: CsvTable, cells: list[str], column: str) -> NDArray[np.float64]:
    numbers = [as_number(cell) for cell in cells]
    if None in numbers:
        row = numbers.index(None)
        hint = "drop or fill such rows at the site, before training"
        raise table.error(row, column, "is not a finite number" if cells[row] else "is empty", hint)
    return np.array(numbers, dtype=np.float64)


def _codes(table: CsvTable, cells: list[str], column: str, values: Sequence[str]) -> NDArray[np.int64]:
    """The position of every cell in `values`, by text or by number."""
    by_text = {value: code for code, value in enumerate(values)}
    by_number = {as_number(value): code for value, code in by_text.items() if as_number(value) is not None}
    known = {cell: by_text.get(cell, by_number.get(as_number(cell))) for cell in set(cells)}
    codes = [known[cell] for cell in cells]
    if None in codes:
        row = codes.index(None)
        message = "is not one of the plan's values" if cells[row] else "is empty"
        raise table.error(row, column, message, "correct the cell, or the plan's list")
    return np.array(codes, dtype=np.int64)


def _checked(dataset: object, name: str) -> Dataset:
    """The Dataset of a user's function, or a TaskError that says what it lacks."""
    hint = "correct the task's data function"
    if not isinstance(dataset, Dataset):
        raise TaskError(f"{name}: the data is no federation.task.Dataset", hint=hint)
    rules = {
        "must have records and a label for each": 0 < len(dataset) == len(dataset.features),
        "must have int64 labels (n,)": dataset.labels.dtype == torch.int64 and dataset.labels.dim() == 1,
        "must have finite features": bool(torch.isfinite(dataset.features).all()),
    }
    for rule, holds in rules.items():
        if not holds:
            raise TaskError(f"{name}: the data {rule}", hint=hint)
    return dataset


def _content_hashes(dataset: Dataset, seed: int) -> NDArray[np.uint64]:
    key = seed.to_bytes(8, "big")
    rows = np.ascontiguousarray(dataset.features.numpy()).reshape(len(dataset), -1)
    digests = b"".join(hashlib.blake2b(row.tobytes(), digest_size=8, key=key).digest() for row in rows)
    return np.frombuffer(digests, ">u8").astype(np.uint64)


def _part(dataset: Dataset, chosen: NDArray[np.bool_]) -> Dataset:
    rows = torch.from_numpy(chosen)
    return Dataset(dataset.features[rows], dataset.labels[rows])
