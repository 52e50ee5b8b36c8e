"""An image is a feature of a table: what a plan may say of it, and how many inputs it makes."""

from __future__ import annotations

import pytest

from federation.errors import PlanError
from federation.model.params import Layout
from federation.model.shape import known_dimension
from federation.model.task import build_task
from federation.plan.columns.features import Picture
from federation.plan.plan import Plan, parse
from tests.plans import TEXT

HOG = '{ image = "hog", height = 16, width = 24, channels = 1, low = 0, high = 255, cell = 4 }'
PIXELS = '{ image = "pixels", height = 9, width = 12, channels = 3, low = 0, high = 255 }'


def plan_of(scan: str, model: str = "logistic", more: str = "") -> Plan:
    text = TEXT.replace(
        "age = { low = 20, high = 90 }", f"age = {{ low = 20, high = 90 }}\nscan = {scan}{more}"
    )
    return parse(text.replace('model = "logistic"', f'model = "{model}"'))


def test_an_image_is_so_many_inputs_and_the_plan_survives_its_file() -> None:
    for scan, inputs in (
        (HOG, 12 * 4 * 6),
        (PIXELS, 3 * 9 * 12),
        (HOG[:-1] + ', missing = "indicator" }', 289),
    ):
        plan = plan_of(scan)
        assert plan.task.inputs == 1 + inputs + 4
        assert parse(plan.to_toml()).digest == plan.digest
        assert Plan.from_canonical(plan.canonical()) == plan
    assert plan_of(HOG[:-1] + ", resize = false }").digest == plan_of(HOG).digest
    assert plan_of(HOG[:-1] + ", resize = true }").digest != plan_of(HOG).digest


@pytest.mark.parametrize(
    ("scan", "told"),
    [
        (HOG.replace("cell = 4", "cell = 5"), "must divide"),
        (HOG.replace(", cell = 4", ""), "cell"),
        (HOG.replace("low = 0, ", ""), "low"),
        (HOG.replace("low = 0", "low = 255"), "below high"),
        (HOG.replace("channels = 1", "channels = 4"), "channels"),
        (HOG.replace("height = 16, width = 24", "height = 16000, width = 16000"), "more than"),
        (HOG.replace("height = 16, width = 24", "height = 1024, width = 1024"), "larger cells"),
        (HOG.replace("hog", "sift"), "image"),
        (PIXELS.replace("high = 255", "high = 255, cell = 3"), "means nothing"),
    ],
)
def test_a_wrong_image_is_told(scan: str, told: str) -> None:
    with pytest.raises(PlanError, match=told):
        plan_of(scan)


@pytest.mark.parametrize("scan", [HOG, "{ low = 0, high = 1 }", f"{PIXELS}\nother = {PIXELS}"])
def test_a_convolution_needs_one_image_in_pixels(scan: str) -> None:
    with pytest.raises(PlanError, match="one feature that is image"):
        plan_of(scan, "cnn")


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 7), (8, 8), (9, 12), (28, 28), (64, 33)])
def test_how_many_params_a_network_has_is_known_without_making_it(height: int, width: int) -> None:
    size = f"height = {height}, width = {width}"
    plan = plan_of(PIXELS.replace("height = 9, width = 12", size), "cnn")
    assert known_dimension(plan) == Layout.of(build_task(plan).model()).dimension


def test_told_is_what_a_person_reads() -> None:
    task = plan_of(HOG).task
    assert not isinstance(task, str)
    scan = task.features[1]
    assert isinstance(scan, Picture)
    assert scan.told == "24 x 16 pixels, gradients in cells of 4"
