"""From a long table to windows: what a record holds, whose it is, and what is refused without showing a value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.data.folds import folds_of
from clients.data.load import Reading, read_file, read_table, with_persons
from clients.data.split import apart, split
from federation.errors import DataError
from federation.model.task import Dataset, build_task
from federation.plan.plan import Plan
from privacy.mechanism.noise import Stream
from tests.outcomes import PANEL, WARDS, but
from tests.plans import plan_of

# A row's age tells who and when: 20 + 10 * person + hour. The target is twice that.
PLAN = plan_of(but(PANEL, features={"age": {"low": 0, "high": 100}}))


def rows_of(lengths: Sequence[int]) -> list[str]:
    return [
        f"p{person},{hour},{20 + 10 * person + hour},{2 * (20 + 10 * person + hour)}"
        for person, length in enumerate(lengths)
        for hour in range(length)
    ]


def hashes(count: int, seed: int) -> np.ndarray:
    return Stream(bytes([seed] * 32)).words(count)


def reading(path: Path, rows: Sequence[str], plan: Plan = PLAN, head: str = "who,hour,age,cost") -> Reading:
    path.write_text("\n".join([head, *rows]), "utf-8")
    return read_file(path, plan, build_task(plan))


def ages(data: Dataset) -> list[list[int]]:
    return torch.round((data.features + 1) * 50).to(torch.int64).tolist()  # type: ignore[no-any-return]


def costs(data: Dataset) -> list[int]:
    return torch.round((data.labels + 1) * 175).to(torch.int64).tolist()  # type: ignore[no-any-return]


def test_a_record_is_so_many_rows_of_one_person_and_the_target_of_a_later_one(tmp_path: Path) -> None:
    found = reading(tmp_path / "a.csv", rows_of([7, 5, 4]))
    assert ages(found.data) == [[20, 21, 22, 23], [22, 23, 24, 25], [30, 31, 32, 33]]
    assert costs(found.data) == [2 * 24, 2 * 26, 2 * 34]
    assert found.data.patients is not None and found.data.ids is not None
    assert found.data.patients.tolist() == [0, 0, 1]
    assert found.data.ids[0] == found.data.ids[1] != found.data.ids[2]
    assert found.file.records == 3
    (note,) = found.file.notes
    assert "1 of 3 series have fewer rows" in str(note)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    window=st.integers(2, 5),
    stride=st.integers(1, 6),
    horizon=st.integers(0, 4),
    seed=st.integers(0, 9),
)
def test_windows_are_those_of_a_plain_loop_in_whatever_order_the_rows_stand(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    window: int,
    stride: int,
    horizon: int,
    seed: int,
) -> None:
    plan = plan_of(
        but(PANEL, features={"age": {"low": 0, "high": 100}}, window=window, stride=stride, horizon=horizon)
    )
    firsts = [
        20 + 10 * person + start
        for person, length in enumerate(lengths)
        for start in range(0, length - window - horizon + 1, stride)
    ]
    expected = [(list(range(first, first + window)), 2 * (first + window - 1 + horizon)) for first in firsts]
    rows = rows_of(lengths)
    rows = [rows[place] for place in np.argsort(hashes(len(rows), seed))]
    path = tmp_path_factory.mktemp("series") / "a.csv"
    if not expected:
        with pytest.raises(DataError, match="no series has"):
            reading(path, rows, plan)
        return
    data = reading(path, rows, plan).data
    assert sorted(zip(ages(data), costs(data), strict=True)) == sorted(expected)


def test_rows_of_another_person_move_no_window(tmp_path: Path) -> None:
    alone = reading(tmp_path / "a.csv", rows_of([7])).data
    beside = reading(tmp_path / "b.csv", list(reversed(rows_of([7, 9, 6])))).data
    assert beside.patients is not None and beside.ids is not None and alone.ids is not None
    mine = beside.at(beside.ids == alone.ids[0])
    assert torch.equal(mine.features, alone.features)
    assert torch.equal(mine.labels, alone.labels)


def test_no_window_goes_from_one_series_of_a_person_to_the_next(tmp_path: Path) -> None:
    plan = plan_of(but(PANEL, features={"age": {"low": 0, "high": 100}}, series="stay"))
    rows = [f"p0,{stay},{hour},{40 * stay + hour},{hour}" for stay in (1, 2) for hour in range(5)]
    data = reading(tmp_path / "a.csv", rows, plan, "who,stay,hour,age,cost").data
    assert ages(data) == [[40, 41, 42, 43], [80, 81, 82, 83]]
    assert data.patients is not None
    assert data.patients.tolist() == [0, 0]
    with pytest.raises(DataError, match=r'column "hour": is the time of another row'):
        reading(tmp_path / "b.csv", rows, PLAN, "who,stay,hour,age,cost")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("SECRET,3,20,1", "fewer|has the same|is the time"),
        ("p0,3.0,20,1", 'row 9, column "hour": is the time of another row of the same series'),
        ("p0,SECRET,20,1", 'row 9, column "hour": is not a finite number'),
        ("p0,,20,1", 'row 9, column "hour": is empty'),
        ("p0,inf,20,1", 'row 9, column "hour": is not a finite number'),
        (",8,20,1", 'row 9, column "who": is empty'),
        ("p0,8,SECRET,1", 'row 9, column "age": is not a finite number'),
        ("p0,8,20,SECRET", 'row 9, column "cost": is not a finite number'),
    ],
)
def test_what_cannot_be_ordered_or_read_is_told_by_its_place(tmp_path: Path, row: str, said: str) -> None:
    if row.startswith("SECRET"):
        assert len(reading(tmp_path / "a.csv", [*rows_of([7]), row]).data) == 2  # a short series is no fault
        return
    with pytest.raises(DataError, match=said) as caught:
        reading(tmp_path / "a.csv", [*rows_of([7]), row])
    assert "SECRET" not in str(caught.value)


def test_a_table_without_the_columns_that_order_it_is_told_all_of_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="hour") as caught:
        reading(tmp_path / "a.csv", ["p0,20"], head="who,age")
    assert "cost" in str(caught.value)


@pytest.mark.parametrize("unit", ["patient", "client"])
def test_nobody_is_in_the_training_and_in_the_test(tmp_path: Path, unit: str) -> None:
    wide = but(PANEL, features={"age": {"low": 0, "high": 500}}, stride=1)
    plan = plan_of(wide, {"privacy.unit": unit})
    data = reading(tmp_path / "a.csv", rows_of([9] * 40), plan).data
    assert data.ids is not None
    for found in (split(data, 0.3, 7, build_task(plan).outcome), apart(data, 0.3, 7, plan.privacy.unit)):
        training, held_out = found
        assert held_out is not None and training.ids is not None and held_out.ids is not None
        assert not set(training.ids.tolist()) & set(held_out.ids.tolist())
        assert len(training) + len(held_out) == len(data)
    if unit == "client":
        return  # no evaluation of folds protects a site
    folded = plan_of(
        wide,
        {"evaluation.folds": 3, "evaluation.holdout": 0.0, "evaluation.epsilon": 1.0},
        {"privacy.unit": unit},
    )
    folds = folds_of(data, folded)
    assert all(len(np.unique(folds[data.ids.numpy() == one])) == 1 for one in data.ids.unique().numpy())


def test_people_withdraw_by_the_column_of_the_patient_or_the_plan_s_reader_refuses(tmp_path: Path) -> None:
    found = reading(tmp_path / "a.csv", rows_of([7, 6]))
    data = with_persons(found, "who", PLAN)
    assert data.persons is not None and found.data.ids is not None
    assert torch.equal(data.persons, found.data.ids)
    with pytest.raises(DataError, match=r"data\.person is another column"):
        with_persons(found, "age", PLAN)


def test_crosses_and_unit_length_are_of_each_row(tmp_path: Path) -> None:
    task = plan_of(but(WARDS, rows="unit", cross=[["age", "cp"]])).task
    (tmp_path / "a.csv").write_text(
        "who,hour,age,cp,num\n"
        + "".join(f"p,{hour},{20 + 10 * hour},{1 + hour % 4},0\n" for hour in range(6))
    )
    assert not isinstance(task, str)
    data = read_table(tmp_path / "a.csv", task).data
    steps = data.features.reshape(len(data), 4, 9)
    assert torch.allclose(steps.norm(dim=2), torch.ones(len(data), 4))
    assert torch.allclose(
        steps[0, :, 5:],
        steps[0, :, :1] * steps[0, :, 1:5] / steps[0, :, 1:5].amax(1, keepdim=True),
        atol=1e-6,
    )
