"""Drawing for many sites at once: the same rows as each site would draw."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from clients.training.local import poisson_rows
from federation.model.task import Dataset
from privacy.mechanism.noise import Stream
from simulations.cohort import batches
from simulations.cohort.batches import Drawn, Shelf, Stack, drawn
from tests.clients.sites import key_of

CPU = torch.device("cpu")
COHORTS: dict[str, tuple[int, ...]] = {
    "equal": (20, 20, 20),
    "ragged": (1, 300, 7, 0, 40),
    "one": (9,),
    "nobody": (0, 0),
}


def _sites(sizes: tuple[int, ...], *, patients: bool) -> list[Dataset]:
    generator = torch.Generator().manual_seed(3)
    found = []
    for size in sizes:
        whose = torch.randint(0, max(1, size // 2), (size,), generator=generator) if patients else None
        labels = torch.zeros(size, dtype=torch.int64)
        found.append(Dataset(torch.randn(size, 2, generator=generator), labels, whose))
    return found


def _drawn(sites: list[Dataset], rate: float, steps: int) -> tuple[Stack, list[Drawn]]:
    stack = Stack.of(sites, CPU)
    streams = [Stream(key_of("site", number)) for number in range(len(sites))]
    return stack, list(drawn(stack, streams, rate, steps, np.arange(1, len(sites) + 1, dtype=np.float64)))


@pytest.mark.parametrize("rate", [0.05, 0.4, 1.0])
@pytest.mark.parametrize("patients", [False, True], ids=["records", "patients"])
@pytest.mark.parametrize("sizes", COHORTS)
def test_every_site_s_rows_are_those_it_would_draw(sizes: str, patients: bool, rate: float) -> None:
    sites = _sites(COHORTS[sizes], patients=patients)
    stack, steps = _drawn(sites, rate, 3)
    for number, site in enumerate(sites):
        stream = Stream(key_of("site", number))
        for step in steps:
            assert torch.equal(step.of(number, stack), poisson_rows(site, rate, stream))


def test_steps_drawn_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    sites = _sites(COHORTS["ragged"], patients=True)
    _, whole = _drawn(sites, 0.3, 7)
    monkeypatch.setattr(batches, "_WORDS", 400)
    _, parts = _drawn(sites, 0.3, 7)
    assert len(parts) == 7
    for one, other in zip(whole, parts, strict=True):
        assert np.array_equal(one.rows, other.rows)


@pytest.mark.parametrize("sizes", COHORTS)
def test_every_drawn_row_has_one_place_in_a_block_of_its_site(
    sizes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_ANY", 0)  # further blocks wherever they help at all
    stack, steps = _drawn(_sites(COHORTS[sizes], patients=False), 0.5, 4)
    pad = len(stack.features) - 1
    for step in steps:
        blocks = step.padded.reshape(-1, step.width)
        sites = [*range(len(step.counts)), *step.owners]
        assert len(blocks) == len(sites)
        found = [
            (site, row) for site, block in zip(sites, blocks, strict=True) for row in block if row != pad
        ]
        assert sorted(found) == sorted(zip(step.sites.tolist(), step.rows.tolist(), strict=True))
        assert np.array_equal(step.padded[step.places], step.rows)
        assert np.array_equal(step.weights[step.places], step.sites + 1.0)
        assert step.weights.sum() == (step.sites + 1).sum()


def test_stacked_data_are_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Sites(dict[str, Dataset]):
        def __getitem__(self, name: str) -> Dataset:
            asked.append(name)
            return super().__getitem__(name)

    data: Mapping[str, Dataset] = Sites(zip("abcd", _sites((50,) * 4, patients=False), strict=True))
    shelf = Shelf(data, CPU, patients=False)
    assert shelf.stack(("a", "b")) is shelf.stack(("a", "b"))
    assert asked == ["a", "b"]
    monkeypatch.setattr(batches, "HELD", 1000)  # a stack takes 1,600
    shelf.stack(("c", "d"))
    shelf.stack(("a", "b"))
    assert asked == ["a", "b", "c", "d", "a", "b"]
