"""The comparison without privacy: the same training, kept where privacy makes no difference to it."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clients.data.folders import find_sites
from federation.errors import TrainingDiverged
from federation.plan.plan import Plan
from federation.round.parts import Sum
from federation.round.terms import Terms
from simulations import baseline
from simulations.baseline import without_privacy
from simulations.summary import model_of, pooled_metrics
from simulations.sums.adding import Adding
from simulations.world import World, read_world
from tests.worlds import by_hand, plan_of, write_sites

NAMES = ("ash", "birch", "cedar")
PRIVATE = plan_of(noise="distributed", sample_rate=0.5, rounds=10)
WILD = plan_of(noise="distributed", sample_rate=0.5, rounds=10, **{"training.learning_rate": 1e5})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sites(tmp_path_factory.mktemp("baseline"))


def world_of(plan: Plan, folder: Path) -> World:
    return read_world(plan, find_sites(folder).sites)


def trained(plan: Plan, folder: Path, kept: Path) -> list[int]:
    """Of which rounds was told: of each that was trained, and of the last where the rest was kept."""
    seen: list[int] = []
    without_privacy(plan, world_of(plan, folder), kept, lambda done, _: seen.append(done))
    return seen


def test_it_is_the_same_training_without_clipping_and_noise(folder: Path) -> None:
    full = plan_of(rounds=10)
    without = without_privacy(PRIVATE, world_of(PRIVATE, folder))
    bare = without_privacy(plan_of(sample_rate=0.5, rounds=10), world_of(PRIVATE, folder))
    assert without == bare, "the claim alone makes no difference to it"
    world = world_of(full, folder)
    params = torch.from_numpy(by_hand(full, world.training, [NAMES] * 10)).float()
    assert without_privacy(full, world) == pooled_metrics(world, model_of(world, params))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"epsilon": 1.0},
        {"delta": 1e-6},
        {"clipping_norm": 0.1},
        {"name": "other"},
        {"evaluation.epsilon": 1.0},
    ],
)
def test_where_only_privacy_differs_it_is_not_trained_again(
    change: dict[str, object], folder: Path, tmp_path: Path
) -> None:
    assert trained(PRIVATE, folder, tmp_path / "kept") == list(range(1, 11))
    changed = plan_of(noise="distributed", **{"sample_rate": 0.5, "rounds": 10, **change})
    assert trained(changed, folder, tmp_path / "kept") == [1, 10]
    kept = without_privacy(changed, world_of(changed, folder), tmp_path / "kept")
    assert kept == without_privacy(changed, world_of(changed, folder))


@pytest.mark.parametrize(
    "change",
    [{"seed": 8}, {"rounds": 9}, {"training.learning_rate": 0.4}, {"model": "mlp"}, {"holdout": 0.3},
     {"metrics": ["f1"]}, {"server.learning_rate": 0.9}, {"unit": "client", "epsilon": 100.0}],
)  # fmt: skip
def test_whatever_else_differs_is_trained(change: dict[str, object], folder: Path, tmp_path: Path) -> None:
    trained(PRIVATE, folder, tmp_path / "kept")
    changed = plan_of(noise="distributed", **{"sample_rate": 0.5, "rounds": 10, **change})
    assert len(trained(changed, folder, tmp_path / "kept")) == changed.federation.rounds


def test_other_data_are_trained(folder: Path, tmp_path: Path) -> None:
    trained(PRIVATE, folder, tmp_path / "kept")
    other = write_sites(tmp_path / "other")
    text = (other / "ash.csv").read_text().splitlines()
    (other / "ash.csv").write_text("\n".join([*text[:-1], text[1]]) + "\n")
    assert len(trained(PRIVATE, other, tmp_path / "kept")) == 10


def test_other_code_of_ours_or_of_a_task_is_trained(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan and the data are the same, and the first round ends elsewhere."""
    trained(PRIVATE, folder, tmp_path / "kept")
    original = baseline.adding_of

    class Doubled(Adding):
        def __call__(self, terms: Terms, params: Tensor) -> Sum:
            found = super().__call__(terms, params)
            return replace(
                found, total=found.total * np.uint64(2) & np.uint64((1 << terms.codec.ring_bits) - 1)
            )

    def doubled(*asked: Any) -> Adding:
        adding = original(*asked)
        return Doubled(adding.works, adding.own, adding.tally, adding.begins)

    monkeypatch.setattr(baseline, "adding_of", doubled)
    assert len(trained(PRIVATE, folder, tmp_path / "kept")) == 10


def test_what_diverges_has_no_metrics_and_that_is_kept_too(folder: Path, tmp_path: Path) -> None:
    world = world_of(WILD, folder)
    for _ in range(2):
        with pytest.raises(TrainingDiverged):
            without_privacy(WILD, world, tmp_path / "kept")


def test_only_metrics_are_kept_and_only_their_user_can_read_them(folder: Path, tmp_path: Path) -> None:
    trained(PRIVATE, folder, tmp_path / "kept")
    (file,) = (tmp_path / "kept").glob("*.json")
    assert json.loads(file.read_text()).keys() == {"metrics", "reason"}
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o700
    for path in (tmp_path / "kept").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = tmp_path / "elsewhere"
    trained(PRIVATE, folder, again)
    assert file.name not in {path.name for path in again.iterdir()}, "a name depends on a key of its folder"


def damages(kept: Path) -> Iterator[None]:
    (file,) = kept.glob("*.json")
    for text in ("", "{", "[]", "3", '{"reason": null}', '{"metrics": {"accuracy": "x"}, "reason": null}'):
        file.write_text(text)
        yield


def test_what_cannot_be_read_is_made_again(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    trained(PRIVATE, folder, kept)
    for _ in damages(kept):
        assert len(trained(PRIVATE, folder, kept)) == 10
        assert trained(PRIVATE, folder, kept) == [1, 10]


def test_a_folder_in_which_others_could_write_is_not_believed(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    trained(PRIVATE, folder, kept)
    kept.chmod(0o777)
    assert len(trained(PRIVATE, folder, kept)) == 10


def test_where_nothing_can_be_kept_it_is_trained_all_the_same(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert len(trained(PRIVATE, folder, tmp_path / "file" / "kept")) == 10
    assert len(trained(PRIVATE, folder, tmp_path / "file")) == 10
