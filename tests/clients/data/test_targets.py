"""Labels of every outcome: what a cell becomes, and that a bad one is named by its place and never shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from clients.data.load import read_csv
from clients.data.sources.reading import read as read_table
from clients.data.split import split
from clients.data.targets import in_bins
from clients.describing.described import describe
from clients.rules.origin import Origin
from federation.errors import DataError
from federation.model.task import Dataset
from federation.plan.made_up.mock import mock_table
from federation.plan.outcomes import Range, Survival
from federation.plan.tabular import TabularTask
from tests.outcomes import COUNTS, EXPOSED, KINDS, REGRESSION, SURVIVAL
from tests.plans import Changes, plan_of

ENDS = (30.0, 90.0, 180.0)


def read(kind: Changes, columns: str, *rows: str, folder: Path) -> Dataset:
    path = folder / "site.csv"
    path.write_text("\n".join([f"age,cp,{columns}", *(f"50,1,{row}" for row in rows)]) + "\n")
    task = plan_of(kind).task
    assert isinstance(task, TabularTask)
    return read_csv(path, task)


def labels(kind: Changes, columns: str, *rows: str, folder: Path) -> Tensor:
    return read(kind, columns, *rows, folder=folder).labels


def test_a_number_is_scaled_from_its_range_and_clipped_to_it(tmp_path: Path) -> None:
    found = labels(REGRESSION, "cost", "0", "350", "175", "-1", "1e9", folder=tmp_path)
    assert found.dtype == torch.float32
    assert found.tolist() == [-1, 1, 0, -1, 1]


def test_a_count_is_cut_at_the_cap_and_keeps_its_exposure(tmp_path: Path) -> None:
    assert labels(COUNTS, "visits", "0", "3", "4.0", "99", folder=tmp_path).tolist() == [0, 3, 4, 12]
    pairs = labels(EXPOSED, "visits,months", "0,1", "99,2.5", folder=tmp_path)
    assert pairs.tolist() == [[0, 1], [12, 2.5]]


def test_a_time_falls_into_its_bin(tmp_path: Path) -> None:
    rows = ("10,1", "30,1", "30,0", "29.9,0", "180,1", "180,0", "999,1", "0,0")
    assert labels(SURVIVAL, "days,died", *rows, folder=tmp_path).tolist() == [1, 1, 2, 0, 5, 6, 6, 0]


@given(st.lists(st.tuples(st.floats(0, 400), st.booleans())))
def test_a_person_came_through_the_bins_that_ended_while_they_were_seen(
    people: list[tuple[float, bool]],
) -> None:
    times, events = np.array([t for t, _ in people]), np.array([e for _, e in people], dtype=np.int64)
    for (time, event), label in zip(people, in_bins(times, events, ENDS).tolist(), strict=True):
        through, ended = divmod(label, 2)
        if ended:
            assert event
            assert (0.0, *ENDS)[through] <= time <= ENDS[through]
        else:
            assert all(end <= time for end in ENDS[:through])
            assert through == len(ENDS) or time < ENDS[through]
            assert not event or time > ENDS[-1]


BAD = {
    "no number": (REGRESSION, "cost", "SECRET", 'column "cost": is not a finite number'),
    "empty": (REGRESSION, "cost", "", 'column "cost": is empty'),
    "below zero": (SURVIVAL, "days,died", "-77.25,1", 'column "days": is below zero'),
    "no event": (SURVIVAL, "days,died", "5,SECRET", 'column "died": is not one of the plan\'s values'),
    "half a count": (COUNTS, "visits", "77.25", 'column "visits": is no whole number from 0 on'),
    "less than none": (COUNTS, "visits", "-77", 'column "visits": is no whole number from 0 on'),
    "no exposure": (EXPOSED, "visits,months", "1,0", 'column "months": is not above zero'),
    "no column": (EXPOSED, "visits", "1", 'has no column "months"'),
}


@pytest.mark.parametrize(("kind", "columns", "row", "told"), BAD.values(), ids=BAD)
def test_a_bad_target_is_named_and_its_value_is_not(
    kind: Changes, columns: str, row: str, told: str, tmp_path: Path
) -> None:
    good = ",".join("1" for _ in columns.split(","))
    with pytest.raises(DataError) as error:
        read(kind, columns, good, row, folder=tmp_path)
    line = str(error.value)
    assert told in line
    assert "\n" not in line
    assert "SECRET" not in line
    assert "77" not in line


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_made_up_tables_are_read_without_a_complaint_and_are_all_over_the_range(
    kind: Changes, tmp_path: Path
) -> None:
    plan, path = plan_of(kind), tmp_path / "mock.csv"
    path.write_text(mock_table(plan, "a", 300).csv)
    assert isinstance(plan.task, TabularTask)
    assert len(torch.unique(read_csv(path, plan.task).labels, dim=0)) > 5


GROUPED: Changes = {"task.classes": ["0", "ill"], "task.grouped": {"ill": ["1", "2", "3"]}}


def test_values_of_a_group_are_one_class_and_any_other_is_refused(tmp_path: Path) -> None:
    assert labels(GROUPED, "num", "0", "1", "2.0", "3", "0", folder=tmp_path).tolist() == [0, 1, 1, 1, 0]
    for cell in ("4", "ill", ""):
        with pytest.raises(DataError, match='row 3, column "num"'):
            labels(GROUPED, "num", "0", cell, folder=tmp_path)


def test_made_up_records_have_every_value_of_a_group_and_are_described_by_class(tmp_path: Path) -> None:
    plan, path = plan_of(GROUPED), tmp_path / "mock.csv"
    path.write_text(mock_table(plan, "a", 200).csv)
    assert isinstance(plan.task, TabularTask)
    table = read_table(Origin.of(path))
    assert set(table.column("num")) == {"0", "1", "2", "3"}
    found = describe(table, plan.task)
    labelled = read_csv(path, plan.task).labels
    assert found.classes == (("0", int((labelled == 0).sum())), ("ill", int((labelled == 1).sum())))


def test_a_simulation_holds_out_the_same_share_of_records_that_are_alike() -> None:
    features = torch.arange(100.0)[:, None]
    low = torch.linspace(-1, 1, 100)
    training, held = split(Dataset(features, low), 0.2, 7, Range(0, 1))
    assert held is not None
    assert len(held) == 20
    assert sorted(np.digitize(held.labels.numpy(), [-0.6, -0.2, 0.2, 0.6]).tolist()) == sorted(
        [*range(5)] * 4
    )
    ended = (torch.arange(100) % 4 == 0).long()
    training, held = split(Dataset(features, 2 * (torch.arange(100) % 3) + ended), 0.2, 7, Survival(ENDS))
    assert held is not None
    assert (int((held.labels % 2).sum()), len(training)) == (5, 80)
