"""Integrated gradients: complete, exact where the answer is known, and the same wherever they are made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from federation.model.curves import curves
from federation.plan.tasks import Classification
from federation.report.page import render
from federation.report.said import attributions as made
from federation.report.said.attributions import attributions, integrated, made_up
from federation.report.said.finished import open_run
from federation.report.said.section import section_of
from tests.federation.report.pages import Page, typed
from tests.federation.report.said.runs import folder

KINDS = {
    "classes": "",
    "range": 'kind = "tabular-regression"\ntarget = "days"\ntarget_range = { low = 0, high = 9 }',
    "counts": 'kind = "tabular-counts"\ntarget = "visits"\nmost = 9',
    "survival": 'kind = "survival"\ntarget = "days"\nevent = "died"\nbins = [3, 9]',
}


@pytest.mark.parametrize("kind", KINDS)
def test_attributions_of_a_network_sum_up_to_what_it_says(tmp_path: Path, kind: str) -> None:
    found = attributions(open_run(folder(tmp_path / "run", model="mlp", kind=KINDS[kind])))
    assert found is not None and {one.feature for one in found.features} == {"age", "dose", "ward"}
    assert found.gap <= 1e-3
    assert all(abs(one.mean) <= one.size for one in found.features) and found.features[0].size > 0


@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
@pytest.mark.parametrize("layer", [nn.Tanh(), nn.ReLU(), nn.Softplus()], ids=str)
def test_they_are_complete_to_a_thousandth(layer: nn.Module, scale: float) -> None:
    generator = torch.Generator().manual_seed(1)
    first, last = (
        torch.randn(6, 16, generator=generator).double(),
        torch.randn(16, generator=generator).double(),
    )

    def says(inputs: Tensor) -> Tensor:
        found: Tensor = layer(scale * inputs @ first) @ last
        return found

    rows, middle = torch.randn(50, 6, generator=generator).double(), torch.zeros(6).double()
    found, gap = integrated(says, rows, middle)
    whole = says(rows) - says(middle[None])
    largest = float(whole.abs().max())
    assert gap == pytest.approx(float((found.sum(1) - whole).abs().max()))
    assert gap <= 1e-3 * max(1.0, largest)


def test_of_a_model_that_adds_up_they_are_its_weights_times_the_way() -> None:
    weights, rows = torch.tensor([2.0, -1.0, 0.5]).double(), torch.randn(9, 3).double()
    middle = torch.tensor([0.5, 0.0, -1.0]).double()
    found, gap = integrated(lambda inputs: inputs @ weights, rows, middle)
    assert torch.allclose(found, weights * (rows - middle)) and gap < 1e-12


def test_of_more_classes_the_likeliest_is_told(tmp_path: Path) -> None:
    found = attributions(open_run(folder(tmp_path / "run", model="mlp", classes=3)))
    assert found is not None and found.gap <= 1e-3 and "likeliest" in found.words


def test_rows_are_made_of_the_plan_s_own_values_and_of_nobody_s(tmp_path: Path) -> None:
    run = open_run(folder(tmp_path / "run", model="mlp"))
    assert isinstance(run.table, Classification)
    middle, rows = made_up(run.table, 64)
    _, again = made_up(run.table, 64)
    assert torch.equal(rows, again), "an audit makes the page anew"
    assert rows.abs().max() <= 1 and len(torch.unique(rows, dim=0)) > 20
    assert middle.shape == (run.table.inputs,)
    run = open_run(folder(tmp_path / "flat", model="logistic"))
    assert isinstance(run.table, Classification)
    known = {curve.feature for curve in curves(run.table, run.params.double().tolist(), None)}
    found = attributions(run)
    assert found is not None and {one.feature for one in found.features} == known


def test_the_page_of_a_network_says_what_moves_it_and_no_drawing(tmp_path: Path) -> None:
    section = section_of(folder(tmp_path / "run", model="mlp"))
    assert section is not None and len(section.sizes) == 3 and not section.drawings
    page = Page(render(typed(), section=section))
    assert "Integrated gradients of 256 rows that the plan makes up" in page.text
    assert "The curves as a table" not in page.text
    assert page.unnamed == 0
    assert json.dumps(section.sizes) == json.dumps(section_of(tmp_path / "run").sizes)  # type: ignore[union-attr]
    assert made.ROWS == 256
