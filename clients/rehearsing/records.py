"""Made-up records of a plan, as a site's task would read its own: from the plan or the task's code, and no data.

A plan of tables has all that is needed (`federation.plan.made_up.mock`). Of a user's own task only its author knows
what a record is: `Task(..., mock=...)` makes some.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from clients.data.images.png import write_pictures
from clients.data.load import checked, read_data
from clients.rules.origin import Origin
from federation.errors import CodeError, NoMock
from federation.model.builtin import said
from federation.model.task import Dataset, Task
from federation.plan.made_up.mock import mock_table, rows_for
from federation.plan.plan import Plan
from federation.plan.tabular import TabularTask

NO_MOCK = "pass mock=, a function from a number to a Dataset of so many made-up records"


def made_records(plan: Plan, task: Task, site: str, count: int, encoders: tuple[Path, ...] = ()) -> Dataset:
    """So many made-up records for a site, whose `encoders` read their texts.

    CodeError if the task is the user's own and makes none.
    """
    if isinstance(plan.task, TabularTask):
        with TemporaryDirectory(prefix="federation-") as folder:
            path = Path(folder) / "mock.csv"
            table = mock_table(plan, site, rows_for(plan.task, count))
            path.write_text(table.csv, "utf-8")
            write_pictures(path.parent, table.pictures)
            data = read_data(replace(Origin.of(path), encoders=encoders), plan, task)
        if len(data) > count:
            data = data.at(torch.arange(count)).renumbered()
    else:
        data = made_by(task, count)
    if plan.privacy.unit == "patient" and data.patients is None:
        return replace(data, patients=torch.arange(len(data)))
    return data


def made_by(task: Task, count: int) -> Dataset:
    """What a task's own `mock` makes. It has seen no data, so what it raises may be shown."""
    if task.mock is None:
        raise NoMock(f"{task.name}: the task makes no mock records", hint=NO_MOCK)
    try:
        with torch.random.fork_rng(devices=[]):
            found = task.mock(count)
    except (Exception, SystemExit) as error:
        message = f"{task.name}: mock({count}) failed with {said(error)}"
        raise CodeError(message, hint="call it by hand") from error
    data = checked(found, task)
    if len(data) != count:
        message = f"{task.name}: mock({count}) makes {len(data)} records"
        raise CodeError(message, hint="make as many as are asked for")
    return data
