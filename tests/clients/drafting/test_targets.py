"""What a plan would predict: a time until an event, which takes two columns."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from clients.data.load import read_csv
from clients.data.sources.reading import read as read_table
from clients.drafting.plans import CLASSES, Proposal, Wanted, propose
from federation.errors import DataError
from federation.plan.made_up.mock import MockTable
from federation.plan.plan import parse
from federation.plan.tasks import TimeToEvent
from tests.clients.drafting.tables import write_table

DAYS = tuple(str(7 * number + 1) for number in range(40))
TABLE = MockTable(
    ("age", "days", "died", "visits"),
    (("31", "45", "62", "70") * 10, DAYS, ("0", "1") * 20, ("a", "b") * 20),
)


def of(folder: Path, target: str = "days", event: str = "died", **changes: tuple[str, ...]) -> Proposal:
    columns = [changes.get(name, cells) for name, cells in zip(TABLE.header, TABLE.columns, strict=True)]
    path = write_table(folder / "table.csv", MockTable(TABLE.header, tuple(columns)))
    return propose(read_table(path), target, "table", (), Wanted(event=event))


def test_the_event_is_no_feature_of_a_time_until_it(tmp_path: Path) -> None:
    """A model that sees what came of a person knows more than anybody will when it is asked."""
    found = of(tmp_path)
    task = found.plan.task
    assert isinstance(task, TimeToEvent)
    assert (task.target, task.event, task.events) == ("days", "died", ("0", "1"))
    assert [feature.name for feature in task.features] == ["age", "visits"]
    assert found.plan.evaluation.metrics == ("c_index", "mean_brier")


def test_the_intervals_hold_about_as_many_rows_each_and_the_files_are_read_by_the_plan(
    tmp_path: Path,
) -> None:
    found = of(tmp_path)
    task = found.plan.task
    assert isinstance(task, TimeToEvent)
    assert list(task.bins) == sorted(set(task.bins))
    assert len(task.bins) == 8
    ends = pairwise((0.0, *task.bins))
    counts = [sum(low < float(day) <= high for day in DAYS) for low, high in ends]
    assert max(counts) <= 2 * min(counts)
    assert len(read_csv(tmp_path / "table.csv", task)) == len(DAYS)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"days": ("", *DAYS[1:])}, 'column "days" is no time'),
        ({"days": ("0",) * 40}, 'column "days" is no time'),
        ({"died": ("0",) * 40}, 'column "died" has not two different values'),
        ({"died": ("0", "1", "2", "1") * 10}, 'column "died" has not two different values'),
        ({"died": ("", *("0", "1") * 19, "1")}, 'column "died": is empty'),
    ],
)
def test_columns_that_are_no_time_and_event_are_refused(
    tmp_path: Path, changes: dict[str, tuple[str, ...]], reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        of(tmp_path, **changes)


def test_figures_of_a_real_run_are_offered_and_no_order_of_classes_where_there_are_none(
    tmp_path: Path,
) -> None:
    found = of(tmp_path)
    assert CLASSES not in found.decisions
    assert parse(found.text.replace("# epsilon = 0.5", "epsilon = 0.5")).evaluation.epsilon == 0.5
