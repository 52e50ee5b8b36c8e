"""Rows that are steps of time: a plan of windows of them where a person says so, and a word where nobody does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clients.data.sources.reading import read
from clients.drafting.courses import looks_like
from clients.drafting.plans import Proposal, Wanted, propose
from federation.errors import DataError, InputError
from federation.plan.made_up.mock import MockTable
from federation.plan.series.tasks import Series
from simulations.survey import survey
from tests.clients.drafting.tables import write_table

YEARS = tuple(map(str, range(2000, 2040)))


def table(whose: str = "patient", when: str = "hour", time: str = "{}", people: int = 12) -> MockTable:
    """Stays of 9 to 20 rows: uneven, and with gaps."""
    rows = [
        (
            f"P{person:02}",
            time.format(1 + step + step // 5),
            str(60 + (7 * step + person) % 41),
            "01"[step % 3 == 0],
        )
        for person in range(people)
        for step in range(9 + person)
    ]
    return MockTable((whose, when, "pulse", "late"), tuple(zip(*rows, strict=True)))


HEADER, CELLS = table().header, table().columns


def proposed(folder: Path, made: MockTable, wanted: Wanted, target: str = "late") -> Proposal:
    return propose(read(write_table(folder / "table.csv", made)), target, "ward", (), wanted)


@pytest.mark.parametrize(
    "time", ["{}", "{:02}.03.2024", "2024-03-{:02} 06:30"], ids=["steps", "dates", "moments"]
)
@pytest.mark.parametrize("target", ["late", "pulse"])
def test_windows_of_rows_are_proposed_where_a_person_says_whose_they_are_and_when(
    tmp_path: Path, time: str, target: str
) -> None:
    made = table(time=time)
    found = proposed(tmp_path, made, Wanted(patient="patient", time="hour"), target)
    task = found.plan.task
    assert isinstance(task, Series)
    assert (task.patient, task.time, task.window, task.stride, task.horizon) == ("patient", "hour", 7, 1, 1)
    assert found.plan.privacy.unit == "patient" and found.course is None
    assert "patient" not in [feature.name for feature in task.features]
    for site in range(3):
        part = replace(made, columns=tuple(cells[: 60 + 20 * site] for cells in made.columns))
        (tmp_path / "sites").mkdir(exist_ok=True)
        write_table(tmp_path / "sites" / f"s{site}.csv", part)
    survey(found.plan, tmp_path / "sites").require()


@pytest.mark.parametrize("whose", ["patient", "mrn", "account", "subject_id", "id", "Fallnummer"])
@pytest.mark.parametrize("when", ["hour", "visit_date", "Day"])
def test_whose_a_row_is_is_no_feature_and_a_series_is_told_and_never_set(
    tmp_path: Path, whose: str, when: str
) -> None:
    found = proposed(tmp_path, table(whose, when), Wanted())
    assert whose in [column.name for column in found.left_out]
    assert found.course is not None and (found.course.patient, found.course.time) == (whose, when)
    assert f"add --patient {whose} --time {when}" in looks_like(found.course)
    assert looks_like(found.course) in found.text
    assert not isinstance(found.plan.task, Series) and found.plan.privacy.unit == "record"


@pytest.mark.parametrize(
    "made",
    [
        MockTable(("ward", *HEADER[1:]), (tuple(cell[-1] for cell in CELLS[0]), *CELLS[1:])),
        table("patient", "dose"),
        table("patient", "hour", time="7"),
        MockTable(("member", "year", "late"), (("y", "n") * 20, YEARS, ("0", "1") * 20)),
    ],
    ids=["wards", "no time", "one moment", "a yes is nobody"],
)  # fmt: skip
def test_other_rows_are_no_series(tmp_path: Path, made: MockTable) -> None:
    assert proposed(tmp_path, made, Wanted()).course is None


def test_a_column_by_any_name_is_told_where_each_has_a_time_once_and_times_are_shared(tmp_path: Path) -> None:
    found = proposed(tmp_path, table("Maschine", "Zeitpunkt", "{:02}.03.2024 06:00"), Wanted())
    assert found.course is not None and (found.course.patient, found.course.time) == ("Maschine", "Zeitpunkt")


def test_a_patient_alone_is_the_unit(tmp_path: Path) -> None:
    plan = proposed(tmp_path, table(), Wanted(patient="patient")).plan
    assert plan.privacy.unit == "patient"
    assert getattr(plan.task, "patient", None) == "patient"


@pytest.mark.parametrize(
    ("made", "wanted", "error", "said"),
    [
        (table(), Wanted(time="hour"), InputError, "add --patient"),
        (table(), Wanted(patient="patient", time="hour", event="late"), InputError, "leave out one"),
        (table(time="7"), Wanted(patient="patient", time="hour"), DataError, 'have the same "hour"'),
        (table(time="x{}"), Wanted(patient="patient", time="hour"), DataError, "orders no rows"),
        (table(), Wanted(patient="patient", time="our"), DataError, 'did you mean "hour"'),
    ],
    ids=["nobody's", "two kinds", "same time", "no time", "misspelled"],
)
def test_columns_that_make_no_series_are_refused(
    tmp_path: Path, made: MockTable, wanted: Wanted, error: type[Exception], said: str
) -> None:
    target = "pulse" if wanted.event else "late"
    with pytest.raises(error, match=said):
        proposed(tmp_path, made, wanted, target)
