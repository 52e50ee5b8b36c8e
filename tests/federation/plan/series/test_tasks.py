"""Plans of series: what a record is, what the digest holds, and what is refused at which key."""

from __future__ import annotations

import pytest

from federation.errors import PlanError
from federation.model.params import Layout
from federation.model.shape import known_dimension
from federation.model.task import build_task, is_built_in
from federation.plan.layout import layout
from federation.plan.plan import Plan, parse
from federation.plan.series.tasks import Series
from federation.plan.tabular import TabularTask
from privacy.errors import UnsafeParameters
from tests.outcomes import PANEL, SERIES, WARDS, but
from tests.plans import Changes, plan_of


@pytest.mark.parametrize("kind", SERIES.values(), ids=SERIES)
def test_a_plan_of_series_is_the_same_after_both_of_its_forms(kind: Changes) -> None:
    plan = plan_of(kind)
    assert Plan.from_canonical(plan.canonical()) == plan
    assert parse(plan.to_toml()).digest == plan.digest
    assert isinstance(plan.task, Series)
    assert plan.evaluation.metrics == plan.task.outcome.usual


def test_everything_that_says_what_a_record_is_is_in_the_digest() -> None:
    changes = ({"window": 5}, {"stride": 1}, {"horizon": 2}, {"time": "day"}, {"series": "stay"})
    others = [but(WARDS, **keys) for keys in (*changes, {"time_format": "%Y-%m-%d"})]
    assert len({plan_of(kind).digest for kind in (WARDS, *others)}) == 1 + len(others)


@pytest.mark.parametrize("model", ["gru", "transformer", "logistic"])
def test_a_record_is_all_rows_of_a_window_and_the_model_has_as_many_params_as_is_said(model: str) -> None:
    plan = plan_of(but(WARDS, model=model))
    assert isinstance(plan.task, TabularTask)
    assert (plan.task.width, plan.task.inputs) == (5, 20)
    names = [column.name for column in layout(plan.task)]
    assert names[:2] == ["age (3 before)", "cp = 1 (3 before)"]
    assert names[15:] == ["age", "cp = 1", "cp = 2", "cp = 3", "cp = 4"]
    task = build_task(plan)
    assert known_dimension(plan) == Layout.of(task.model()).dimension
    assert is_built_in(task)
    assert not plan.has_own_code


@pytest.mark.parametrize("kind", SERIES.values(), ids=SERIES)
def test_windows_of_one_person_are_no_units_by_themselves(kind: Changes) -> None:
    with pytest.raises(UnsafeParameters, match=r"privacy\.unit.*other windows of the same person"):
        plan_of(kind, {"privacy.unit": "record"})
    assert not plan_of(kind, {"privacy.unit": "record", "noise": "none"}).is_private
    assert plan_of(kind, {"privacy.unit": "client"}).is_private


def test_the_past_of_a_target_is_a_feature_and_the_target_itself_is_none() -> None:
    own = {"cost": {"low": 0, "high": 350}}
    plan = plan_of(but(PANEL, features=own))
    assert isinstance(plan.task, TabularTask)
    assert plan.task.columns == ("cost", "hour")
    with pytest.raises(PlanError, match="a model must not see"):
        plan_of(but(PANEL, features=own, horizon=0))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"patient": None}, r"task\.patient"),
        ({"time": None}, r"task\.time"),
        ({"time": "who"}, r"task\.time.*column of patient"),
        ({"time": "cost"}, r"task\.time.*column of target"),
        ({"series": "hour"}, r"task\.series.*column of time"),
        ({"series": "age"}, r"task\.features\.age.*which series a row is of"),
        ({"window": 1}, r"task\.window"),
        ({"stride": 0}, r"task\.stride"),
        ({"horizon": -1}, r"task\.horizon"),
        ({"time_format": "%H:%M"}, r"task\.time_format"),
        ({"model": "additive"}, r"task\.model"),
        ({"model": "mlp"}, r"task\.model"),
        ({"window": 4096, "features": {"icd": {"hash": 64}}}, r"task\.window.*inputs of a record"),
    ],
)
def test_a_mistake_is_told_at_its_key(keys: dict[str, object], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        plan_of(but(PANEL, **keys))


@pytest.mark.parametrize("model", ["gru", "transformer"])
def test_a_table_of_single_rows_takes_no_model_of_windows(model: str) -> None:
    with pytest.raises(PlanError, match=r"task\.model"):
        plan_of({"task.model": model})
