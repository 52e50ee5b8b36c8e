"""Sites that go one after the other: by one model, and by one process per core, to the last bit the same."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from federation.model.task import Dataset
from simulations.cohort import pool as pools
from simulations.cohort import ways
from tests.simulations.cohort.cohorts import Cohort, cohort_of, convolutions, updates

SIZES = {"ash": 12, "birch": 1, "cedar": 30, "doum": 0, "elm": 7}


def convolutions_with_dropout() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten(),
        nn.Linear(4 * 9 * 9, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2),
    )  # fmt: skip


def dense_with_dropout() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(1200, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 2))


OPTIMIZERS: dict[str, dict[str, object]] = {
    "sgd": {"learning_rate": 0.05},
    "momentum and fedprox": {"learning_rate": 0.05, "momentum": 0.9, "proximal": 0.2},
    "adam": {"optimizer": "adam", "learning_rate": 1e-3},
}


def _cohort(**training: object) -> Cohort:
    given = {"local_steps": 2, "learning_rate": 0.05, **training}
    return cohort_of(convolutions, SIZES, shape=(3, 20, 20), **given)


@pytest.fixture(autouse=True)
def _small_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "_HEAVY", 1e5)


@pytest.fixture
def _two_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pools, "_PAYS", 0)
    monkeypatch.setattr(pools, "cores", lambda: 2)
    yield
    for child in multiprocessing.active_children():
        child.join(10)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_one_model_for_all_finds_every_site_s_update(optimizer: str) -> None:
    cohort = _cohort(**OPTIMIZERS[optimizer])
    found, expected = cohort.together(updates), cohort.one_by_one(lambda work: work.update())
    assert cohort.program.way(cohort.terms, torch.float32).turns is not None
    far = (found - expected).abs()
    # Where a gradient is as small as the 1e-8 that Adam adds to its root, its rounding moves a part of a step.
    assert float(far.max()) < (1e-4 if optimizer == "adam" else 1e-5)
    assert float((far > 1e-6).double().mean()) < 1e-4
    cohort.program.close()


@pytest.mark.parametrize("model", [convolutions_with_dropout, dense_with_dropout])
def test_dropout_draws_what_it_draws_at_the_site(model: Callable[[], nn.Module]) -> None:
    """Of the same seed the same masks, whatever the layout of the values, with a site of few and of no records."""
    cohort = cohort_of(model, SIZES, shape=(3, 20, 20), local_steps=3, learning_rate=0.05)
    assert cohort.program.way(cohort.terms, torch.float32).turns is not None
    found, expected = cohort.together(updates), cohort.one_by_one(lambda work: work.update())
    assert float(expected.abs().max()) > 1e-3
    assert float((found - expected).abs().max()) < 1e-5
    cohort.program.close()


def test_a_bad_record_is_left_to_its_site_with_the_same_dropout() -> None:
    def spoil(data: dict[str, Dataset]) -> None:
        data["cedar"].features[2] = float("nan")

    given = {"sample_rate": 1.0, "local_steps": 2, "learning_rate": 0.05, "spoil": spoil}
    cohort = cohort_of(convolutions_with_dropout, SIZES, shape=(3, 20, 20), **given)
    found, expected = cohort.together(updates), cohort.one_by_one(lambda work: work.update())
    assert torch.isfinite(found).all()
    assert float((found - expected).abs().max()) < 1e-5
    cohort.program.close()


def test_a_class_weighs_in_one_model_for_all_what_it_weighs_at_a_site() -> None:
    cohort = _cohort(class_weights=(0.02, 1.0), **OPTIMIZERS["sgd"])
    found, expected = cohort.together(updates), cohort.one_by_one(lambda work: work.update())
    assert cohort.program.way(cohort.terms, torch.float32).turns is not None
    assert float((found - expected).abs().max()) < 1e-5
    cohort.program.close()


def test_a_bad_record_is_left_to_the_site_s_own_code() -> None:
    def spoil(data: dict[str, Dataset]) -> None:
        data["cedar"].features[2] = float("nan")
        data["ash"].labels[1] = 9

    cohort = cohort_of(
        convolutions,
        SIZES,
        shape=(3, 20, 20),
        spoil=spoil,
        sample_rate=1.0,
        local_steps=1,
        learning_rate=0.05,
    )
    found, expected = cohort.together(updates), cohort.one_by_one(lambda work: work.update())
    assert float((found - expected).abs().max()) < 1e-5
    assert torch.isfinite(found).all()
    cohort.program.close()


@pytest.mark.usefixtures("_two_workers")
def test_workers_change_no_bit_and_survive_a_round_and_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = _cohort()
    found = cohort.together(updates)
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    assert torch.equal(cohort.together(updates), found)
    assert multiprocessing.active_children() == workers
    os.kill(workers[0].pid or 0, signal.SIGKILL)
    assert torch.equal(cohort.together(updates), found)
    cohort.program.close()
    assert not multiprocessing.active_children()
    monkeypatch.setattr(pools, "cores", lambda: 1)
    assert torch.equal(cohort.together(updates), found)
    assert not multiprocessing.active_children()


@pytest.mark.usefixtures("_two_workers")
def test_a_round_that_is_broken_off_leaves_no_answer_for_the_next() -> None:
    cohort = _cohort()
    broken = cohort.program.updates(cohort.terms, cohort.params, cohort.streams())
    next(broken)
    broken.close()
    assert not multiprocessing.active_children()
    moved = cohort.params + 0.5
    rows = torch.cat([rows for _, rows in cohort.program.updates(cohort.terms, moved, cohort.streams())])
    alone = _cohort()
    again = torch.cat([rows for _, rows in alone.program.updates(alone.terms, moved, alone.streams())])
    assert torch.equal(rows, again)
    cohort.program.close()
    alone.program.close()
