"""Made-up series: whatever the plan, its reader takes them, and finds windows in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.data.load import read_file
from clients.rehearsing.records import made_records
from federation.model.task import build_task
from federation.plan.made_up.mock import mock_table
from federation.plan.tabular import TabularTask
from tests.outcomes import PANEL, SERIES, WARDS, but
from tests.plans import Changes, plan_of

DATED = but(PANEL, time_format="%d.%m.%Y", series="stay")
SHARED = but(
    WARDS, time="age", features={"age": {"low": 20, "high": 90}, "num": {"values": ["0", "1"]}}
)  # time and the target's past are features, too


@pytest.mark.parametrize("kind", [*SERIES.values(), DATED, SHARED], ids=[*SERIES, "dated", "shared"])
def test_the_reader_takes_made_up_series(kind: Changes, tmp_path: Path) -> None:
    plan = plan_of(kind)
    table = mock_table(plan, "mock-1", 100)
    assert len(table) == 100
    (tmp_path / "mock.csv").write_text(table.csv, "utf-8")
    data = read_file(tmp_path / "mock.csv", plan, build_task(plan)).data
    assert isinstance(plan.task, TabularTask)
    assert data.features.shape == (len(data), plan.task.inputs)
    assert data.patients is not None
    assert 1 < int(data.patients.max()) + 1 < len(data)


@settings(max_examples=25, deadline=None)
@given(
    window=st.integers(2, 9),
    stride=st.integers(1, 12),
    horizon=st.integers(0, 9),
    count=st.integers(1, 30),
)
def test_a_rehearsal_has_as_many_records_as_it_asks_for(
    window: int, stride: int, horizon: int, count: int
) -> None:
    plan = plan_of(but(WARDS, window=window, stride=stride, horizon=horizon))
    data = made_records(plan, build_task(plan), "mock-1", count)
    assert len(data) == count
    assert data.patients is not None
    assert data.patients.unique().tolist() == list(range(int(data.patients.max()) + 1))
