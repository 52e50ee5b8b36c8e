"""Public maps: hats that share a number between two knots, products of two features, rows of length 1."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from clients.data.encoding.encoded import of_numbers
from federation.errors import PlanError
from federation.model.points import points_of
from federation.plan.columns.features import Numeric
from federation.plan.columns.maps import hats, slices, to_unit, write_crosses
from federation.plan.layout import layout
from federation.plan.made_up.mock import mock_table
from federation.plan.plan import Plan, parse
from federation.plan.tabular import TabularTask
from tests.plans import TEXT, text_of

AGE = {"low": 20, "high": 90}
SEX = {"values": ["F", "M"]}


def task_of(plan: Plan) -> TabularTask:
    assert isinstance(plan.task, TabularTask)
    return plan.task


def plan_with(*cross: list[str], model: str = "additive", **more: object) -> Plan:
    features = {"age": AGE, "sex": SEX, "dose": {"low": 0, "high": 1, "knots": 3}}
    changes = {
        "task.features": features,
        "task.model": model,
        **({"task.cross": list(cross)} if cross else {}),
    }
    return parse(text_of(changes, **more))


@given(
    arrays.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1, 1)),
    st.integers(2, 64),
)
def test_the_hats_of_a_number_add_up_to_one_and_at_most_two_of_them_are_not_zero(
    places: np.ndarray, knots: int
) -> None:
    found = hats(places, knots)
    assert found.shape == (len(places), knots) and (found >= 0).all()
    assert np.allclose(found.sum(1), 1, rtol=0, atol=1e-12)
    assert ((found > 0).sum(1) <= 2).all()
    assert np.allclose(found @ np.linspace(-1, 1, knots), places, rtol=0, atol=1e-12), "a line stays a line"


@given(
    arrays.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1, 1)),
    st.lists(st.integers(-99, 99), min_size=1, max_size=20, unique=True),
)
def test_hats_of_listed_knots_add_up_to_one_and_a_line_stays_a_line(
    places: np.ndarray, inner: list[int]
) -> None:
    corners = np.array([-1.0, *(one / 100 for one in sorted(inner)), 1.0])
    found = hats(places, len(corners), corners)
    assert (found >= 0).all() and ((found > 0).sum(1) <= 2).all()
    assert np.allclose(found.sum(1), 1, rtol=0, atol=1e-12)
    assert np.allclose(found @ corners, places, rtol=0, atol=1e-12)
    assert (np.square(found).sum(1) <= 1 + 1e-12).all(), "no longer than a value of a list"


@pytest.mark.parametrize("scale", ["linear", "symlog"])
def test_a_list_of_even_knots_is_what_their_number_is(scale: str) -> None:
    places = [float(one) for one in np.linspace(-5, 80, 40)]
    cells = [str(one) for one in places]
    even = Numeric(name="a", low=0.0, high=64.0, scale="linear", knots=5)
    at = {
        "linear": (16.0, 32.0, 48.0),
        "symlog": tuple(np.expm1(np.log1p(64) * np.arange(1, 4) / 4).tolist()),
    }
    even = even.model_copy(update={"scale": None if scale == "linear" else scale})
    listed = even.model_copy(update={"knots": at[scale]})
    blocks = [np.zeros((40, 5), np.float32) for _ in range(2)]
    for feature, block in zip((even, listed), blocks, strict=True):
        of_numbers(feature, cells).write(block)
    assert np.allclose(*blocks, atol=1e-6)
    assert even.parts == listed.parts
    for one, other in zip(points_of(even)[0].at, points_of(listed)[0].at, strict=True):
        assert one == pytest.approx(other)
    assert points_of(even)[0].weights == pytest.approx(points_of(listed)[0].weights)


@pytest.mark.parametrize(
    "knots",
    ["[]", "[20, 50]", "[50, 90]", "[50, 40]", "[50, 50]", '["50"]', "[10, 50]", "true", "1", "65", "3.5"],
)
def test_knots_that_are_none_are_refused_at_their_key(knots: str) -> None:
    text = TEXT.replace("age = { low = 20, high = 90 }", f"age = {{ low = 20, high = 90, knots = {knots} }}")
    with pytest.raises(PlanError) as error:
        parse(text)
    assert error.value.key == "task.features.age.knots"
    assert error.value.hint


def test_listed_knots_are_in_the_digest_and_come_back_from_it() -> None:
    plans = [
        parse(TEXT.replace("high = 90 }", f"high = 90, knots = {knots} }}"))
        for knots in ("[40, 60]", "[40, 61]", "4")
    ]
    assert len({plan.digest for plan in plans}) == 3
    for plan in plans:
        assert Plan.from_canonical(plan.canonical()).digest == plan.digest
        assert parse(plan.to_toml()).digest == plan.digest


@pytest.mark.parametrize("knots", [2, 3, 8, 33])
def test_hats_are_the_linear_splines_of_scikit_learn(knots: int) -> None:
    from sklearn.preprocessing import SplineTransformer

    places = np.linspace(-1, 1, 257)
    theirs = SplineTransformer(n_knots=knots, degree=1).fit(np.array([[-1.0], [1.0]]))
    assert np.allclose(hats(places, knots), theirs.transform(places[:, None]), rtol=0, atol=1e-12)


def test_a_cross_is_every_column_of_the_one_times_every_column_of_the_other() -> None:
    task = task_of(plan_with(["sex", "dose"], ["age", "sex"]))
    assert [column.name for column in layout(task)][13:16] == [
        "sex = F x dose (knot 1 of 3)", "sex = F x dose (knot 2 of 3)", "sex = F x dose (knot 3 of 3)",
    ]  # fmt: skip
    rows, at = np.zeros((4, task.inputs), np.float32), slices(task.features)
    own = np.arange(4 * 13, dtype=np.float32).reshape(4, 13) / 10
    rows[:, :13] = own
    write_crosses(rows, task.features, task.cross or ())
    crossed = rows[:, 13 : 13 + 6].reshape(4, 2, 3)
    assert np.allclose(crossed, own[:, at["sex"], None] * own[:, None, at["dose"]])
    assert np.allclose(rows[:, 19:].reshape(4, 8, 2), own[:, at["age"], None] * own[:, None, at["sex"]])
    assert len(layout(task)) == task.inputs == 13 + 6 + 16


def test_rows_of_unit_norm_have_length_one_and_a_row_of_zeros_stays() -> None:
    rows = np.array([[3, 4, 0], [0, 0, 0], [1e-3, 0, 0]], np.float32)
    to_unit(rows)
    assert np.allclose(rows, [[0.6, 0.8, 0], [0, 0, 0], [1, 0, 0]])


def test_a_cross_of_splines_adds_no_more_length_than_a_value_does() -> None:
    """So a clipping norm that suits so many features suits them with knots and crosses, too."""
    places = np.linspace(-1, 1, 50)
    block = hats(places, 8)[:, :, None] * hats(places[::-1], 5)[:, None, :]
    assert np.square(block).sum((1, 2)).max() <= 1 + 1e-12


def test_the_knots_of_an_additive_model_stand_in_its_plan() -> None:
    plan = plan_with()
    assert [feature.knots for feature in task_of(plan).features if isinstance(feature, Numeric)] == [8, 3]
    assert "knots = 8" in plan.to_toml()
    assert Plan.from_canonical(plan.canonical()) == plan == parse(plan.to_toml())
    assert all(
        feature.knots in (None, 3)
        for feature in task_of(plan_with(model="logistic")).features
        if isinstance(feature, Numeric)
    )


def test_plans_without_maps_keep_their_digest_and_each_map_makes_another() -> None:
    said = [
        parse(TEXT),
        parse(TEXT.replace("high = 90", "high = 90, knots = 8")),
        parse(TEXT.replace('model = "logistic"', 'model = "logistic"\nrows = "unit"')),
        parse(TEXT.replace('model = "logistic"', 'model = "logistic"\ncross = [["age", "cp"]]')),
        parse(TEXT.replace('model = "logistic"', 'model = "additive"')),
    ]
    assert len({plan.digest for plan in said}) == len(said)
    assert said[0].digest == parse(TEXT.replace('"logistic"', '"logistic"\ncross = []')).digest
    assert not any(word in said[0].canonical() for word in (b"knots", b"cross", b"rows"))
    for plan in said:
        assert Plan.from_canonical(plan.canonical()).digest == plan.digest == parse(plan.to_toml()).digest


@pytest.mark.parametrize("model", ["logistic", "additive"])
def test_made_up_records_do_not_depend_on_the_maps(model: str) -> None:
    crossed = plan_with(["age", "sex"], model=model)
    assert mock_table(crossed, "ash", 30) == mock_table(plan_with(model="logistic"), "ash", 30)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("high = 90", "high = 90, knots = 1", "task.features.age.knots"),
        ("high = 90", "high = 90, knots = 65", "task.features.age.knots"),
        ('"4"]', '"4"], knots = 3', "knots"),
        ('"logistic"', '"logistic"\ncross = [["age", "age"]]', 'crosses "age" with itself'),
        ('"logistic"', '"logistic"\ncross = [["age", "cp"], ["cp", "age"]]', "twice; name each pair once"),
        ('"logistic"', '"logistic"\ncross = [["age", "num"]]', 'crosses "num", which is no feature'),
        ('"logistic"', '"logistic"\ncross = [["age", "cp", "age"]]', "task.cross"),
        ('"logistic"', '"logistic"\nrows = "even"', "task.rows"),
        ('"logistic"', '"additive"\nrows = "unit"', 'means nothing beside model = "additive"'),
    ],
)
def test_a_map_that_cannot_be_is_refused_with_its_place(old: str, new: str, expected: str) -> None:
    with pytest.raises(PlanError) as caught:
        parse(TEXT.replace(old, new, 1))
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_a_cross_may_not_be_wider_than_its_records_could_fill() -> None:
    text = TEXT.replace("high = 90", "high = 90, knots = 64").replace(
        'cp  = { values = ["1", "2", "3", "4"] }',
        "dose = { low = 0, high = 1, knots = 9 }",
    )
    with pytest.raises(PlanError, match=r"a date of several parts; have it take one of them"):
        date = '{ date = "%Y-%m-%d", since = "2024-01-01", until = "2024-12-31", take = ["days", "month"] }'
        crossed = TEXT.replace('"logistic"', '"logistic"\ncross = [["age", "cp"]]')
        parse(crossed.replace('{ values = ["1", "2", "3", "4"] }', date))
    with pytest.raises(PlanError, match="into 576 columns, and 512 are the most; give them fewer knots"):
        parse(text.replace('"logistic"', '"logistic"\ncross = [["age", "dose"]]'))
