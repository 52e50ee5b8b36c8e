"""A proposed plan is one that check and simulate take with the very file it was read from, cut into sites."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings

from clients.data.sources.reading import read as read_table
from clients.data.sources.table import Table
from clients.drafting.plans import MOST_COLUMNS, Proposal, Wanted, propose, targets_of
from federation.errors import DataError
from federation.plan.columns.features import Categorical
from federation.plan.made_up.mock import MockTable, mock_table
from federation.plan.plan import load, parse
from federation.plan.tasks import Classification, Regression
from federation.report.planned import plan_facts
from simulations.populations.registry import scenario_for
from simulations.survey import survey
from tests import plans
from tests.clients.drafting.tables import tables, write_table

DRAWN = MockTable(
    ("age", "mrn", "sick"), (("20.5", "31", "40") * 20, ("a", "b", "c") * 20, ("y", "n", "y") * 20)
)


def read(table: MockTable, folder: Path) -> Table:
    return read_table(write_table(folder / "table.csv", table))


def proposed(table: MockTable, folder: Path, target: str = "sick") -> Proposal:
    return propose(read(table, folder), target, "trial")


@pytest.mark.parametrize(
    ("sick", "words"),
    [
        (("n",) * 57 + ("y",) * 3, '# positive: "y", 5 % of these rows\n'),
        (
            ("n",) * 3 + ("y",) * 57,
            '# positive: "y", 95 % of these rows\n# "n" is rarer (5 %): turn them around',
        ),
    ],
    ids=["the second is rare", "the first is rare"],
)
def test_which_class_is_the_positive_one_and_which_the_rarer_stands_beside_the_classes(
    tmp_path: Path, sick: tuple[str, ...], words: str
) -> None:
    found = proposed(MockTable(DRAWN.header, (*DRAWN.columns[:2], sick)), tmp_path)
    assert f"of two, the second is the positive one\n{words}" in found.text


@settings(max_examples=40, deadline=None)
@given(tables())
def test_the_file_cut_into_sites_passes_every_check_of_the_plan(drawn: tuple[MockTable, str]) -> None:
    table, target = drawn
    with TemporaryDirectory() as folder:
        try:
            found = proposed(table, Path(folder), target)
        except DataError as error:
            assert "\n" not in str(error)
            return
        assert parse(found.text).digest == found.plan.digest
        assert {*(c.name for c in found.columns), target} == set(table.header)
        for site in range(3):
            part = replace(table, columns=tuple(cells[site::3] for cells in table.columns))
            (Path(folder) / "sites").mkdir(exist_ok=True)
            write_table(Path(folder) / "sites" / f"s{site}.csv", part)
        survey(found.plan, Path(folder) / "sites").require()


@pytest.mark.parametrize(
    ("target", "records", "model"),
    [
        ("sick", 50_000, "additive"),
        ("sick", 60, "logistic"),
        ("dose", 50_000, "additive"),
        ("dose", 60, "linear"),
    ],
)
def test_a_plan_has_curves_where_records_leave_room_for_them(
    tmp_path: Path, target: str, records: int, model: str
) -> None:
    numbers = tuple(f"{number / 7:.2f}" for number in range(60))
    table = MockTable(("age", "dose", "sick"), (numbers[::-1], numbers, ("y", "n", "y") * 20))
    found = propose(read(table, tmp_path), target, "trial", ("age",), Wanted(1.0, records))
    assert isinstance(found.plan.task, Classification | Regression) and found.plan.task.model == model
    assert found.predicted.task(found.plan.task.features).model == model
    (line,) = (one for one in found.text.splitlines() if one.startswith("model ="))
    assert "additive" in line and '"mlp"' in line


def test_there_are_no_curves_without_numbers(tmp_path: Path) -> None:
    table = MockTable(("ward", "sick"), (("a", "b", "c") * 20, ("y", "n", "y") * 20))
    found = propose(read(table, tmp_path), "sick", "trial", (), Wanted(8.0, 1_000_000))
    assert isinstance(found.plan.task, Classification) and found.plan.task.model == "logistic"


def test_made_up_records_of_a_plan_propose_that_plan_again(tmp_path: Path) -> None:
    """Up to what nobody can see in records: how far the ranges go beyond them."""
    plan = load(scenario_for("hospitals"))
    assert isinstance(plan.task, Classification)
    found = proposed(mock_table(plan, "a", 1500), tmp_path, "diagnosis").plan.task
    assert isinstance(found, Classification)
    assert found.classes == plan.task.classes
    assert [f.name for f in found.features] == [f.name for f in plan.task.features]
    assert not any(isinstance(feature, Categorical) for feature in found.features)


def test_every_line_that_people_have_to_read_says_what_it_is(tmp_path: Path) -> None:
    text = proposed(DRAWN, tmp_path).text
    lines = text.splitlines()
    assert lines[0].startswith("# A plan proposed by")
    keys = [line for line in lines if "=" in line and not line.startswith("#")]
    bare = [line for line in keys if "  # " not in line]
    assert len(keys) > 20
    assert [line.split(" = ")[0] for line in bare] == ["kind", "metrics"]
    assert "# patient = " in text and "\npatient" not in text
    assert all(len(line) < 110 for line in lines)


def test_no_row_and_no_extreme_of_the_table_is_in_the_text(tmp_path: Path) -> None:
    ages = tuple(str(20.123 + 0.337 * number) for number in range(60))
    text = proposed(replace(DRAWN, columns=(ages, *DRAWN.columns[1:])), tmp_path).text
    assert not any(age in text for age in ages)
    assert "low = 20, high = 41" in text


def test_names_of_columns_cannot_write_lines_of_their_own(tmp_path: Path) -> None:
    odd = 'x" = 1 # \\ \u2028 ["'
    table = MockTable((odd.replace("\u2028", "\u00a0"), "sick"), DRAWN.columns[::2])
    found = proposed(table, tmp_path)
    assert len(found.used) == 1
    broken = MockTable(("a\u2028b", "age", "sick"), (DRAWN.columns[0], *DRAWN.columns[::2]))
    found = proposed(broken, tmp_path)
    assert [column.name for column in found.used] == ["age"]
    assert "\u2028" not in found.text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"target": "nothing"}, 'has no column "nothing"'),
        ({"target": "age"}, None),
        ({"cells": ("y",) * 60}, 'column "sick" has 1 different values'),
        ({"cells": tuple(f"x{number}" for number in range(60))}, 'column "sick" has 60 different values'),
        ({"cells": ("y", "n", "") * 20}, r'row 4, column "sick": is empty \(20 rows'),
        ({"ages": ("",) * 60}, "no column is left to learn from"),
    ],
    ids=["no such column", "numbers of few values", "one class", "many classes", "gaps", "nothing left"],
)
def test_a_target_or_table_without_a_plan_is_told_in_one_line(
    change: dict[str, object], told: str | None, tmp_path: Path
) -> None:
    columns = (change.get("ages", DRAWN.columns[0]), DRAWN.columns[1], change.get("cells", DRAWN.columns[2]))
    table = read(MockTable(DRAWN.header, columns), tmp_path)  # type: ignore[arg-type]
    if told is None:
        assert propose(table, str(change["target"]), "x").classes == ("20.5", "31", "40")
        return
    with pytest.raises(DataError, match=told) as error:
        propose(table, str(change.get("target", "sick")), "x")
    assert "\n" not in str(error.value)


def test_a_target_of_many_numbers_is_a_regression_on_a_range_around_them(tmp_path: Path) -> None:
    cells = tuple(str(3 * number + 1) for number in range(60))
    table = read(MockTable(DRAWN.header, (*DRAWN.columns[:2], cells)), tmp_path)
    found = propose(table, "sick", "x")
    assert isinstance(found.plan.task, Regression)
    span = found.plan.task.target_range
    assert (span.low, span.high) == (0, 180)
    assert found.plan.evaluation.metrics == ("mae", "rmse", "r2", "bias")
    assert found.classes == ()


def test_columns_without_end_are_refused_until_some_are_named(tmp_path: Path) -> None:
    wide = MockTable(
        tuple(f"c{number}" for number in range(MOST_COLUMNS + 2)),
        (("1.5", "2.5", "0.5"),) * (MOST_COLUMNS + 1) + (("y", "n", "y"),),
    )
    table, target = read(wide, tmp_path), f"c{MOST_COLUMNS + 1}"
    with pytest.raises(DataError, match=f"has {MOST_COLUMNS + 1} columns, too many for people"):
        propose(table, target, "x")
    assert [column.name for column in propose(table, target, "x", ["c7", "c3", target]).used] == ["c7", "c3"]
    with pytest.raises(DataError, match='has no column "c9999"'):
        propose(table, target, "x", ["c9999"])


def test_columns_that_could_be_predicted_are_those_of_few_values(tmp_path: Path) -> None:
    assert targets_of(read(mock_table(plans.plan_of(), "a", 80), tmp_path)) == ("cp", "num")


def test_delta_is_below_one_in_the_rows_of_a_large_table(tmp_path: Path) -> None:
    table = replace(DRAWN, columns=tuple(cells * 3000 for cells in DRAWN.columns))
    delta = proposed(table, tmp_path).plan.privacy.delta
    assert delta is not None and delta * len(table) < 0.1


def test_settings_follow_the_records_of_all_sites_and_epsilon(tmp_path: Path) -> None:
    table = read(DRAWN, tmp_path)
    few = propose(table, "sick", "trial", wanted=Wanted(epsilon=1.0, records=200)).plan
    many = propose(table, "sick", "trial", wanted=Wanted(epsilon=8.0, records=200_000)).plan
    assert few.privacy.clipping_norm is not None and many.privacy.clipping_norm is not None
    assert 2 * few.privacy.clipping_norm < many.privacy.clipping_norm
    assert (few.training.sample_rate, many.training.sample_rate) == (0.4, 0.1)
    assert (few.privacy.epsilon, many.privacy.epsilon) == (1.0, 8.0)
    assert many.privacy.delta is not None and many.privacy.delta * 200_000 < 0.5
    for plan in (few, many):
        assert plan_facts(plan, 1)["hints"] == []


def test_a_plan_that_is_far_off_is_told_so_among_its_facts(tmp_path: Path) -> None:
    text = proposed(DRAWN, tmp_path).text
    off = re.sub(r"clipping_norm = \S+", "clipping_norm = 100.0", text)
    (hint,) = plan_facts(parse(off), 1)["hints"]
    assert "clipping_norm is 100" in hint
