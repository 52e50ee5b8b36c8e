"""Reads a site's files into checked tensors: CSV by the plan's columns, other data by the user's own task.

Every error names file, row and column and never shows a value: people paste messages into tickets and mails, and a
cell may be a diagnosis. We guess and repair nothing, since a repair that depends on other rows (a mean, a scale, a
new category) would leak past the noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from clients.data.csv_table import CsvTable
from clients.data.split import apart
from clients.policy import SITE_ID, Policy
from federation.errors import DataError, TaskError
from federation.model.task import Dataset, Source, Task, hashed
from federation.plan.plan import Plan, check_delta
from federation.plan.tabular import Feature, Numeric, TabularTask, as_number
from privacy.errors import PolicyViolation


@dataclass(frozen=True)
class SiteFiles:
    """The files of one site in a folder of sites."""

    name: str
    train: Path
    test: Path | None = None
    site_file: Path | None = None


def read_data(path: Path, plan: Plan, task: Task) -> Dataset:
    """A site's data as the plan's task reads it. DataError; TaskError if the user's own code is at fault."""
    data = read_csv(path, plan.task) if isinstance(plan.task, TabularTask) else _read_by(task, path)
    if plan.privacy.unit == "patient" and data.patients is None:
        hint = "give Dataset.patients, or choose another privacy.unit"
        raise TaskError(f"{task.name}: the data do not say whose each record is", hint=hint)
    if plan.is_private and _more_than(plan.privacy.records_per_patient or 1, data, plan):
        message = f"{path}: a patient has more records than privacy.records_per_patient allows"
        raise DataError(message, hint='agree on a plan with a larger one, or with privacy.unit = "patient"')
    return data


def site_data(
    source: Path, test: Path | None, plan: Plan, task: Task, policy: Policy
) -> tuple[Dataset, Dataset | None]:
    """What a site trains on, and what it keeps to evaluate on: `test`, or else a part of `source` held out.

    DataError or TaskError for the data; PolicyViolation if a patient has more records than the policy allows;
    UnsafeParameters if there are too many records, or patients, for the plan's delta.
    """
    data = read_data(source, plan, task)
    if test is None:
        training, held_out = apart(data, plan.evaluation.holdout, plan.federation.seed, plan.privacy.unit)
    else:
        training, held_out = data, read_data(test, plan, task)
    for part in (data, held_out):
        if part is not None and policy.patient is not None and _more_than(policy.patient.records, part, plan):
            raise PolicyViolation(
                "policy.patient.records: a patient has more records than it allows",
                hint="bring fewer of each patient, or have the budget changed",
            )
    if plan.privacy.unit != "client":  # a site does not know how many clients there are
        check_delta(plan, protected(plan, training))
    return training, held_out


def protected(plan: Plan, data: Dataset) -> int:
    """The number of units that the plan protects in a dataset: records or patients."""
    patients = patients_in(data) if plan.privacy.unit == "patient" else None
    return len(data) if patients is None else patients


def patients_in(data: Dataset) -> int | None:
    """The number of patients in a dataset, if known."""
    if data.patients is None or len(data) == 0:
        return None if data.patients is None else 0
    return int(data.patients.max()) + 1


def read_csv(path: Path, task: TabularTask) -> Dataset:
    """The rows of a CSV file: features (n, task.inputs) float32 in [-1, 1], labels (n,) int64.

    Numbers are scaled from their public range and clipped to it; values become one-hot columns.
    """
    table = CsvTable.read(path)
    cells = {name: table.column(name) for name in [f.name for f in task.features] + [task.target]}
    blocks = [_encoded(table, cells[feature.name], feature) for feature in task.features]
    labels = _codes(table, cells[task.target], task.target, task.classes)
    features = np.concatenate(blocks, axis=1).astype(np.float32)
    if task.patient is None:
        return Dataset(torch.from_numpy(features), torch.from_numpy(labels))
    patients, ids = torch.from_numpy(_numbered(table, task.patient)), hashed(table.column(task.patient))
    return Dataset(torch.from_numpy(features), torch.from_numpy(labels), patients, ids)


def find_sites(directory: Path) -> list[SiteFiles]:
    """The sites of a folder, by name: NAME.csv, or NAME/ with train.csv (and test.csv, site.toml)."""
    if not directory.is_dir():
        raise DataError(f"{directory}: there is no such folder", hint="name one with a CSV file per site")
    entries = sorted(entry for entry in directory.iterdir() if not entry.name.startswith("."))
    sites = [_site_files(entry) for entry in entries]
    if not sites:
        raise DataError(f"{directory}: holds no sites", hint="add NAME.csv or NAME/train.csv for each site")
    names = [site.name for site in sites]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{directory}: {name} is there twice", hint=f"keep {name}.csv or {name}/")
    return sorted(sites, key=lambda site: site.name)


def _site_files(entry: Path) -> SiteFiles:
    name = entry.name if entry.is_dir() else entry.stem
    if entry.suffix == ".parquet" and entry.is_file():
        raise DataError(f"{entry}: Parquet cannot be read yet", hint="save it as CSV")
    if not entry.is_dir() and entry.suffix != ".csv":
        raise DataError(f"{entry}: is no CSV file", hint="remove it, or save it as CSV")
    if not SITE_ID.fullmatch(name):
        raise DataError(f"{entry}: cannot be a site's name", hint="use up to 64 letters, digits, . - and _")
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
    share = (clipped / 2 - feature.low / 2) / (feature.high / 2 - feature.low / 2)
    return np.clip(2 * share - 1, -1.0, 1.0)


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


def _numbered(table: CsvTable, column: str) -> NDArray[np.int64]:
    """The patient of each row, numbered from 0 in order of appearance. Equal text means the same patient."""
    cells = table.column(column)
    if "" in cells:
        raise table.error(cells.index(""), column, "is empty", "every row needs the patient it belongs to")
    number = {cell: place for place, cell in enumerate(dict.fromkeys(cells))}
    return np.array([number[cell] for cell in cells], dtype=np.int64)


def _more_than(most: int, data: Dataset, plan: Plan) -> bool:
    """Whether a patient is known to have more than `most` records, under a plan that protects records."""
    if data.patients is None or plan.privacy.unit != "record":
        return False
    return int(torch.bincount(data.patients).max()) > most


def _read_by(task: Task, path: Path) -> Dataset:
    """What the user's own function makes of a file."""
    if task.data is None:
        raise TaskError(f"{task.name}: has no data function", hint="pass data=, from a Source to a Dataset")
    if not path.exists():
        raise DataError(f"{path}: there is no such file", hint="check the path")
    try:
        dataset = task.data(Source(path))
    except Exception as error:
        # The text of this exception may quote a record; its type cannot.
        message = f"{task.name}: reading {path} failed with {type(error).__name__}"
        raise TaskError(message, hint="see the traceback with --debug") from error
    return _checked(dataset, task.name)


def _checked(dataset: object, name: str) -> Dataset:
    """The Dataset of a user's function, or a TaskError that says what it lacks."""
    hint = "correct the task's data function"
    if not isinstance(dataset, Dataset):
        raise TaskError(f"{name}: the data is no federation.Dataset", hint=hint)
    rules = {
        "must have records and a label for each": 0 < len(dataset) == len(dataset.features),
        "must have int64 labels (n,)": dataset.labels.dtype == torch.int64 and dataset.labels.dim() == 1,
        "must have finite features": bool(torch.isfinite(dataset.features).all()),
        "must number its patients (n,) int64 from 0, without gaps": _is_numbered(dataset),
        "must give each of its patients one id (n,) int64, or none": _is_identified(dataset),
    }
    for rule, holds in rules.items():
        if not holds:
            raise TaskError(f"{name}: the data {rule}", hint=hint)
    return dataset


def _is_numbered(dataset: Dataset) -> bool:
    patients = dataset.patients
    if patients is None or not len(dataset):
        return True
    if patients.dtype != torch.int64 or patients.shape != (len(dataset),):
        return False
    numbers = torch.unique(patients)
    return torch.equal(numbers, torch.arange(len(numbers)))


def _is_identified(dataset: Dataset) -> bool:
    ids, patients = dataset.ids, dataset.patients
    if ids is None:
        return True
    if patients is None or ids.dtype != torch.int64 or ids.shape != patients.shape:
        return False
    pairs = {(int(who), int(name)) for who, name in zip(patients, ids, strict=True)}
    return len(pairs) == len(torch.unique(patients)) == len(torch.unique(ids))
