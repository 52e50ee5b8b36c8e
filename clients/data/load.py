"""Reads a site's records into checked tensors: tables by the plan's columns, other data by the user's own task.

Every error names file, row and column and never shows a value: people paste messages into tickets and mails, and a
cell may be a diagnosis. We guess nothing, and fill in what the plan says alone: a repair that depends on other rows
(a mean, a scale, a new category) would leak past the noise.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from clients.data.encoding.encoded import encoded
from clients.data.encoding.exact import exact
from clients.data.encoding.pictures import twice, with_contents, with_files
from clients.data.encoding.wide import require_encoders
from clients.data.faults import Fault, refuse
from clients.data.notes import FileRead, Note
from clients.data.people import people
from clients.data.series.reading import of_windows, ordered
from clients.data.sources.opened import SOURCE
from clients.data.sources.reading import examined
from clients.data.sources.table import Table
from clients.data.split import apart
from clients.data.tallied import tallied
from clients.data.targets import labels_of
from clients.policy import Policy
from clients.rules.origin import Origin, Place
from federation.errors import DataError, TaskError
from federation.model.outcomes import labels_fit
from federation.model.task import Dataset, Source, Task, hashed
from federation.plan.columns.features import Picture
from federation.plan.columns.maps import to_unit, write_crosses
from federation.plan.plan import Plan, check_delta
from federation.plan.series.tasks import Series
from federation.plan.tabular import TabularTask
from federation.plan.tallies.tasks import Curves
from privacy.errors import PolicyViolation


@dataclass(frozen=True)
class Reading:
    """A file's records, and what the people at the site should know about the file.

    `table` is what was read, where it was a table: whoever asks whose records these are asks it of the very rows.
    `contents` is the same with a digest of each image in the place of its name, where there are images.
    """

    data: Dataset
    file: FileRead
    table: Table | None = field(default=None, repr=False)
    contents: Table | None = field(default=None, repr=False)


@dataclass(frozen=True)
class SiteRecords:
    """What a site trains on and what it keeps to evaluate on, and the files that they are from.

    `tables` is each file's table, or its place where only the task's own code can read it. It has what images show
    in the place of their names: a copy under another name is the same record, and 0001.png of two hospitals is not.
    A second one has the bytes of their files there, which are the same under every plan.
    """

    training: Dataset
    held_out: Dataset | None
    files: tuple[FileRead, ...]
    tables: tuple[Table | Place, ...] = field(default=(), repr=False)


def read_file(path: Place, plan: Plan, task: Task) -> Reading:
    """A site's file as the plan's task reads it. DataError; TaskError if the user's own code is at fault."""
    reading = read_table(path, plan.task) if isinstance(plan.task, TabularTask) else _read_by(task, path)
    if plan.task_is_tally:
        reading = replace(reading, data=tallied(reading.data, plan))
    if plan.privacy.unit == "patient" and reading.data.patients is None:
        hint = "give Dataset.patients, or choose another privacy.unit"
        raise TaskError(f"{task.name}: the data do not say whose each record is", hint=hint)
    if plan.is_private and _more_than(plan.privacy.records_per_patient or 1, reading.data, plan):
        message = f"{path}: a patient has more records than privacy.records_per_patient allows"
        raise DataError(message, hint='agree on a plan with a larger one, or with privacy.unit = "patient"')
    return reading


def read_data(path: Place, plan: Plan, task: Task) -> Dataset:
    """The records of a site's file."""
    return read_file(path, plan, task).data


def site_data(
    source: Place, test: Place | None, plan: Plan, task: Task, policy: Policy, person: str | None = None
) -> SiteRecords:
    """What a site trains on, and what it keeps to evaluate on: `test`, or else a part of `source` held out.

    `person` is the column that says whose each record is, so that people may withdraw.

    DataError or TaskError for the data; PolicyViolation if a patient has more records than the policy allows;
    UnsafeParameters if there are too many records, or patients, for the plan's delta.
    """
    if test is not None and plan.evaluation.folds is not None:
        reason = f"{test}: a test file, and the plan has evaluation.folds: every record is held out once"
        raise DataError(reason, hint="remove data.test from the site file, or add its records to data.source")
    readings = [read_file(path, plan, task) for path in (source, test) if path is not None]
    if person is not None:
        readings = [replace(reading, data=with_persons(reading, person, plan)) for reading in readings]
    training, held_out = readings[0].data, None if test is None else readings[-1].data
    if test is None:
        training, held_out = apart(training, plan.evaluation.holdout, plan.federation.seed, plan.privacy.unit)
    for part in (reading.data for reading in readings):
        if policy.patient is not None and _more_than(policy.patient.records, part, plan):
            raise PolicyViolation(
                "policy.patient.records: a patient has more records than it allows",
                hint="bring fewer of each patient, or have the budget changed",
            )
    if plan.privacy.unit != "client":  # a site does not know how many clients there are
        check_delta(plan, protected(plan, training), is_told=False)
    tables = tuple(table for reading in readings for table in _known_by(reading, plan))
    return SiteRecords(training, held_out, tuple(reading.file for reading in readings), tables)


def _known_by(reading: Reading, plan: Plan) -> tuple[Table | Place, ...]:
    """What the registry of pools knows records by: what images show to this plan, and what they are to any."""
    if reading.table is None:
        return (reading.file.path,)
    if reading.contents is None or not isinstance(plan.task, TabularTask):
        return (reading.table,)
    files = reading.table
    for feature in plan.task.features:
        files = with_files(files, feature.name) if isinstance(feature, Picture) else files
    return reading.contents, files


def with_persons(reading: Reading, column: str, plan: Plan) -> Dataset:
    """The records with whose each is: by a column of their table, or by the ids that a task of one's own gives.

    DataError or TaskError where that is not said of every record, whether anybody withdrew or not.
    """
    data, table = reading.data, reading.table
    if table is None and data.ids is None:
        message = f"{reading.file.path}: data.person is set, and the task does not say whose each record is"
        hint = "have its Dataset carry `patients` and `ids`, or remove data.person: then nobody can withdraw"
        raise TaskError(message, hint=hint)
    if table is None or column == plan.patient_column:
        return replace(data, persons=data.ids)
    if isinstance(plan.task, Series):
        message = f"{reading.file.path}: data.person is another column than task.patient of the plan"
        hint = "name the patient's: a window of rows is the record of one patient, who withdraws as a whole"
        raise DataError(message, hint=hint)
    table.require([column])
    owners = people(table, column)
    refuse(table, list(owners.faults), [])
    return replace(data, persons=hashed(owners.names))


def protected(plan: Plan, data: Dataset) -> int:
    """The number of units that the plan protects in a dataset: records or patients."""
    patients = patients_in(data) if plan.privacy.unit == "patient" else None
    return len(data) if patients is None else patients


def patients_in(data: Dataset) -> int | None:
    """The number of patients in a dataset, if known."""
    if data.patients is None or len(data) == 0:
        return None if data.patients is None else 0
    return int(data.patients.max()) + 1


def read_csv(path: Place, task: TabularTask) -> Dataset:
    """The records of a table."""
    return read_table(path, task).data


def read_table(place: Place, task: TabularTask) -> Reading:
    """The rows of a table: features (n, task.inputs) float32 in [-1, 1], labels as the task's outcome has them.

    Of a series a record is a window of rows, one after the other. What a cell becomes: clients/data/encoding.
    DataError names all columns whose cells cannot be used. Columns are unpacked one at a time. OtherEncoder, before
    anything is read, where an encoder that the plan pins is not here.
    """
    require_encoders(task.features, place)
    table = examined(place)
    names = [*task.columns]
    lacking = table.lacking([*names, *([task.patient] if task.patient is not None else [])])
    there = {name for name in (*names, task.patient) if name is not None and not table.lacking([name])}
    wide = task.width if not isinstance(task, Curves) else len(task.groups)
    features, found, at = np.zeros((len(table), wide), np.float32), list[Fault](), 0
    contents, notes = table, list[Note]()
    for feature in task.features:
        width = len(feature.parts)
        if feature.name in there:
            columns = encoded(table, feature)
            columns.write(features[:, at : at + width])
            found += columns.faults
            if isinstance(feature, Picture):
                contents = with_contents(contents, feature.name, columns.vectors)
                notes += twice(contents, feature.name)
        at += width
    labels, faults = labels_of(table, task, there)
    owners = people(table, task.patient) if task.patient in there and task.patient is not None else None
    kept = ordered(table, task, owners.names, there) if isinstance(task, Series) and owners else None
    found = [*found, *faults, *(owners.faults if owners else ()), *(kept.faults if kept else ())]
    refuse(table, found, [*table.problems, *lacking])
    told = exact(features, table, task)
    mapped(features, task)
    patients = None if owners is None else torch.from_numpy(owners.numbers)
    ids = None if owners is None else hashed(owners.names)
    data = Dataset(torch.from_numpy(features), torch.from_numpy(labels), patients, ids, contents=told)
    if kept is not None and isinstance(task, Series):
        data, more = of_windows(data, table, task, kept)
        notes += more
    all_notes = (*table.twins(names), *(owners.notes if owners else ()), *notes)
    file = FileRead(table.path, len(data), table.line_count, table.blank, all_notes)
    return Reading(data, file, table, None if contents is table else contents)


def mapped(rows: NDArray[np.float32], task: TabularTask) -> None:
    """What the plan makes of rows whose features are in place: products in the columns behind, then length 1."""
    write_crosses(rows, task.features, task.cross or ())
    if task.rows == "unit":
        to_unit(rows)


def _more_than(most: int, data: Dataset, plan: Plan) -> bool:
    """Whether a patient is known to have more than `most` records, under a plan that protects records."""
    if data.patients is None or plan.privacy.unit != "record":
        return False
    return int(torch.bincount(data.patients).max()) > most


def _read_by(task: Task, place: Place) -> Reading:
    """What the user's own function makes of a file."""
    if task.data is None:
        raise TaskError(f"{task.name}: has no data function", hint="pass data=, from a Source to a Dataset")
    path = Origin.of(place).file
    if Origin.of(place).query is not None:
        hint = "name a file in data.source, such as what the query answers"
        raise DataError(f"{place}: the plan's task reads files by its own code, and no database", hint=hint)
    if not path.exists():
        raise DataError(f"{path}: there is no such file", hint=SOURCE)
    try:
        dataset = task.data(Source(path))
    except (Exception, SystemExit) as error:
        # The text of this exception may quote a record; its type cannot.
        message = f"{task.name}: reading {path} failed with {type(error).__name__}"
        raise TaskError(message, hint="see the traceback with --debug") from error
    data = checked(dataset, task)
    return Reading(data, FileRead(place, len(data)))


def checked(dataset: object, task: Task) -> Dataset:
    """The Dataset of a user's function, or a TaskError that says what it lacks."""
    hint, name = "correct the task's data function", task.name
    if not isinstance(dataset, Dataset):
        raise TaskError(f"{name}: the data is no federation.Dataset", hint=hint)
    labels = labels_fit(task.predicts, dataset.labels)
    rules = {
        "must have records and a label for each": 0 < len(dataset) == len(dataset.features),
        labels or "must have labels": not labels,
        "must have finite features": bool(torch.isfinite(dataset.features).all()),
        "must number its patients (n,) int64 from 0, without gaps": _is_numbered(dataset),
        "must give each of its patients one id (n,) int64, or none": _is_identified(dataset),
        "must have contents (n,) int64, or none": _is_told(dataset),
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
    if patients is None or ids.dtype != torch.int64 or not ids.shape == patients.shape == (len(dataset),):
        return False
    pairs = {(int(who), int(name)) for who, name in zip(patients, ids, strict=True)}
    return len(pairs) == len(torch.unique(patients)) == len(torch.unique(ids))


def _is_told(dataset: Dataset) -> bool:
    said = dataset.contents
    return said is None or (said.dtype == torch.int64 and said.shape == (len(dataset),))
