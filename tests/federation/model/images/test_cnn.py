"""The network of images sees the image where it is, each record by itself, and what else a record has."""

from __future__ import annotations

import torch

from federation.model.images.cnn import Cnn

SHAPE = (1, 8, 12)
INPUTS, PLACE = 100, 3


def made(count: int) -> torch.Tensor:
    return torch.rand(count, INPUTS, generator=torch.Generator().manual_seed(1)) * 2 - 1


def network() -> Cnn:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Cnn(INPUTS, 2, PLACE, SHAPE).double()


def test_every_record_is_computed_by_itself() -> None:
    model, rows = network(), made(9).double()
    together = model(rows)
    apart = torch.cat([model(row[None]) for row in rows])
    assert torch.allclose(together, apart, atol=1e-12)
    assert model(rows[:0]).shape == (0, 2)


def test_it_sees_what_is_left_and_right_of_the_image() -> None:
    model, rows = network(), made(1).double()
    for place in (0, 2, INPUTS - 1):
        other = rows.clone()
        other[0, place] += 1
        moved = model(other) - model(rows)
        column = place if place < PLACE else place - 96
        assert torch.allclose(moved[0], model.head.weight[:, model.head.in_features - 4 + column])


def test_neighbors_in_the_image_are_neighbors_to_it() -> None:
    """A pixel in the corner reaches the maps around that corner, and no others."""
    model, rows = network(), torch.zeros(1, INPUTS).double()
    seen = []
    model.maps[0].register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    lit = rows.clone()
    lit[0, PLACE] = 1
    model(rows), model(lit)
    moved = (seen[1] - seen[0]).abs().sum((0, 1)) > 1e-9
    assert moved[:2, :2].all()
    assert int(moved.sum()) == 4
