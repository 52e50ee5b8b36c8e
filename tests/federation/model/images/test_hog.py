"""Histograms of oriented gradients: what they are, and that an image's features are its own to the last bit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from clients.exporting.captured import captured
from clients.exporting.libraries import quietly
from federation.model.images.hog import Hog, directed
from federation.plan.columns.pictures import ORIENTATIONS


def images(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize(
    ("shape", "cell"), [((1, 8, 8), 2), ((3, 12, 20), 4), ((1, 6, 9), 3), ((2, 4, 4), 1)]
)
def test_the_features_of_an_image_are_the_same_bits_whatever_stands_beside_it(
    shape: tuple[int, int, int], cell: int
) -> None:
    hog, all_of_them = Hog(*shape, cell), images(67, *shape)
    together = hog(all_of_them)
    assert together.shape == (67, hog.features)
    for start, end in ((0, 1), (1, 67), (3, 36), (66, 67)):
        assert torch.equal(hog(all_of_them[start:end]), together[start:end])
    order = torch.arange(66, -1, -1)
    assert torch.equal(hog(all_of_them[order]), together[order])


def test_every_row_is_1_long_also_of_a_blank_image() -> None:
    made = torch.cat([images(5, 1, 8, 8), torch.zeros(1, 1, 8, 8), images(1, 1, 8, 8) * 1e-6])
    assert Hog(1, 8, 8, 2)(made).norm(dim=1) == pytest.approx(torch.ones(7), rel=1e-5)
    assert Hog(1, 8, 8, 2)(made[:0]).shape == (0, 12 * 16)


def test_neither_brightness_nor_contrast_matters() -> None:
    hog, made = Hog(1, 16, 16, 4), images(4, 1, 16, 16)
    assert torch.allclose(hog(made), hog(made * 0.3 + 0.2), atol=1e-3)
    assert not torch.allclose(hog(made), hog(-made), atol=0.02), "light on dark is not dark on light"


def test_the_parts_of_a_gradient_add_up_to_it() -> None:
    """Parts times their directions are the gradient, and two neighbors at most are above 0."""
    angles = torch.linspace(0, 2 * math.pi, 1000)
    across, down = (3 * angle.view(-1, 1, 1) for angle in (angles.cos(), angles.sin()))
    parts = directed(across, down)
    ways = torch.arange(ORIENTATIONS) * 2 * math.pi / ORIENTATIONS
    assert torch.allclose((parts[..., 0, 0] * ways.cos()).sum(1), across.flatten(), atol=1e-5)
    assert torch.allclose((parts[..., 0, 0] * ways.sin()).sum(1), down.flatten(), atol=1e-5)
    assert int((parts > 1e-5).sum(1).max()) == 2
    assert float(parts.min()) == 0


def test_an_edge_counts_where_it_is_and_for_its_direction() -> None:
    """A step from dark to light, to the right of the middle, is of direction 0, in every row alike."""
    image = torch.zeros(1, 1, 16, 16)
    image[..., 12:] = 1
    cells = Hog(1, 16, 16, 4)(image).view(ORIENTATIONS, 4, 4)
    blank = cells.min()
    assert torch.allclose(cells[1:], blank.expand(ORIENTATIONS - 1, 4, 4))
    assert torch.allclose(cells[0, 1], cells[0, 2])
    assert (cells[0, 1, 2:] > blank + 0.1).all()
    assert torch.allclose(cells[0, :, :2], blank.expand(4, 2))


def test_the_channel_with_the_steeper_gradient_is_the_one_that_counts() -> None:
    gray = images(3, 1, 8, 8)
    color = torch.cat([0.1 * images(3, 1, 8, 8, seed=1), gray, torch.zeros(3, 1, 8, 8)], 1)
    strong = gray * 100
    assert torch.equal(
        Hog(3, 8, 8, 2)(torch.cat([color[:, :1], strong], 1)[:, [0, 1, 0]]), Hog(1, 8, 8, 2)(strong)
    )


@pytest.mark.parametrize(("height", "width", "cell"), [(8, 9, 2), (8, 8, 3), (8, 8, 0), (0, 8, 2)])
def test_an_image_is_whole_cells(height: int, width: int, cell: int) -> None:
    with pytest.raises(ValueError, match="whole cells"):
        Hog(1, height, width, cell)


def test_it_has_nothing_to_be_learned_or_stored() -> None:
    assert Hog(1, 8, 8, 2).state_dict() == {}


@pytest.mark.extras
def test_it_is_exported_with_a_model_behind_it() -> None:
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra: make test-extras")
    pytest.importorskip("onnxscript", reason="needs the extra: make test-extras")
    hog, made = Hog(3, 8, 4, 2), images(5, 3, 8, 4)
    model = torch.nn.Sequential(hog, torch.nn.Linear(hog.features, 4)).eval()
    program = captured(model, made[:2], "images")
    with quietly():
        graph = torch.onnx.export(program, (), dynamo=True, input_names=["input"], external_data=False)
    assert graph is not None
    session = runtime.InferenceSession(graph.model_proto.SerializeToString())
    found = torch.from_numpy(session.run(None, {"input": made.numpy()})[0])
    assert torch.allclose(found, model(made), atol=1e-5)
