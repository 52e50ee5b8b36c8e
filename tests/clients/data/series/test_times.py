"""Times of rows: numbers and dates in order, with clocks and offsets, and what is no time."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.data.series.times import times_of
from clients.data.sources.reading import read
from federation.plan.series.tasks import Series
from tests.outcomes import PANEL, but
from tests.plans import plan_of


def task_of(form: str | None) -> Series:
    task = plan_of(but(PANEL, time_format=form)).task
    assert isinstance(task, Series)
    return task


def timed(folder: Path, cells: list[str], form: str | None = "%Y-%m-%d") -> tuple[list[float], list[str]]:
    (folder / "a.csv").write_text("\n".join(["hour,x", *(f'"{cell}",1' for cell in cells)]), "utf-8")
    found, faults = times_of(read(folder / "a.csv"), task_of(form))
    return found.tolist(), [f"{fault.rows}: {fault.message}" for fault in faults]


@settings(max_examples=60, deadline=None)
@given(moments=st.lists(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)), min_size=1, max_size=8))
def test_moments_are_apart_as_python_has_them(
    tmp_path_factory: pytest.TempPathFactory, moments: list[datetime]
) -> None:
    found, faults = timed(tmp_path_factory.mktemp("times"), [moment.isoformat(" ") for moment in moments])
    assert not faults
    first = moments[0]
    expected = [(moment - first) // timedelta(microseconds=1) for moment in moments]
    assert [one - found[0] for one in found] == expected


def test_an_offset_is_counted_and_a_file_has_one_or_none(tmp_path: Path) -> None:
    same = ["2024-03-01T12:00:00Z", "2024-03-01T14:00:00+02:00", "2024-03-01 07:30:00 -0430"]
    found, faults = timed(tmp_path, same)
    assert not faults
    assert len(set(found)) == 1
    _, faults = timed(tmp_path, [*same, "2024-03-01 12:00"])
    assert faults == ["(0, 1, 2): has an offset from UTC, and other rows have none"]


def test_days_in_the_plan_s_own_form(tmp_path: Path) -> None:
    found, faults = timed(tmp_path, ["31.12.2023", "01.01.2024", "2024-01-02"], "%d.%m.%Y")
    assert not faults
    assert np.diff(found).tolist() == [24 * 3600 * 1e6] * 2


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("2024-02-30", "is no date as %Y-%m-%d has it"),
        ("", "is empty"),
        ("2024-01-01 25:00", "has a time of day that no clock shows"),
        ("2024-01-01 10:61", "has a time of day that no clock shows"),
        ("soon", "is no date as %Y-%m-%d has it"),
    ],
)
def test_what_is_no_moment_is_told_by_its_row(tmp_path: Path, cell: str, said: str) -> None:
    _, faults = timed(tmp_path, ["2024-01-01", cell])
    assert faults == [f"(1,): {said}"]


def test_numbers_may_be_any_that_are_finite(tmp_path: Path) -> None:
    found, faults = timed(tmp_path, ["-1.5", "0", "1e3"], None)
    assert (found, faults) == ([-1.5, 0.0, 1000.0], [])
    _, faults = timed(tmp_path, ["1", "nan", "x"], None)
    assert len(faults) == 2


def test_dates_where_a_plan_has_numbers_are_told_with_the_key(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("hour,x\n2024-01-31,1\n2024-02-01,1\n", "utf-8")
    (fault,) = times_of(read(tmp_path / "a.csv"), task_of(None))[1]
    assert "task.time_format" in fault.hint
