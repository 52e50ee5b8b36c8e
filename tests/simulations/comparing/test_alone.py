"""Training alone: by the plan's own settings, with one party, on exactly its own records."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clients.data.folders import find_sites
from federation.model.task import Dataset
from federation.plan.plan import Plan
from privacy.accounting.events import GaussianEvent
from simulations.comparing import alone
from simulations.comparing.alone import all_in_one_place, kept_local_only, local_only, own_claim
from simulations.comparing.training import for_one, measured, together
from simulations.summary import model_of, pooled_metrics
from simulations.world import World, read_world
from tests.worlds import by_hand, plan_of, write_sites

PLAN = plan_of(rounds=6)
PRIVATE = plan_of(noise="distributed", rounds=6, epsilon=1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sites(tmp_path_factory.mktemp("alone"))


def world_of(plan: Plan, folder: Path) -> World:
    return read_world(plan, find_sites(folder).sites)


def test_each_site_has_the_model_that_its_own_records_make(folder: Path) -> None:
    world = world_of(PRIVATE, folder)
    found = local_only(world)
    for site in world.training:
        params = torch.from_numpy(by_hand(PLAN, world.training, [(site,)] * 6)).float()
        assert found.own[site] == measured(PLAN, world.task, params, world.held_out[site])
        assert found.elsewhere[site] == pooled_metrics(world, model_of(world, params))
    right = sum((found.own[site]["accuracy"] or 0) * len(data) for site, data in world.held_out.items())
    whole = sum(len(data) for data in world.held_out.values())
    assert found.pooled["accuracy"] == pytest.approx(right / whole), (
        "each record is judged by its own site's model"
    )


def test_all_in_one_place_is_one_training_on_all_records(folder: Path) -> None:
    world = world_of(PRIVATE, folder)
    everyone = together(world.training[name] for name in sorted(world.training))
    params = torch.from_numpy(by_hand(PLAN, {"all": everyone}, [("all",)] * 6)).float()
    pooled, sites = all_in_one_place(world)
    assert pooled == pooled_metrics(world, model_of(world, params))
    assert sites["ash"] == measured(PLAN, world.task, params, world.held_out["ash"])


@pytest.mark.parametrize(
    ("plan", "noise"),
    [
        (PRIVATE, "central"),
        (plan_of(noise="site", local_steps=2, rounds=2), "site"),
        (plan_of(noise="site", unit="record", local_steps=1, rounds=2), "central"),
    ],
    ids=["distributed", "local steps", "site"],
)
def test_a_site_by_itself_noises_what_it_would_release(plan: Plan, noise: str) -> None:
    privacy = own_claim(plan)
    assert privacy is not None
    assert privacy.noise == noise
    event, own = plan.kind.event, for_one(plan, privacy).kind.event
    assert isinstance(own, GaussianEvent)
    assert own == event, "the same epsilon takes the same noise over the same sensitivity"


def test_where_the_site_is_what_is_protected_nobody_trains_alone_under_a_claim() -> None:
    assert own_claim(plan_of(unit="client", noise="distributed", epsilon=5.0)) is None


def test_under_a_claim_of_its_own_a_site_adds_noise(folder: Path) -> None:
    world, claim = world_of(PRIVATE, folder), own_claim(PRIVATE)
    assert claim is not None
    assert local_only(world) == local_only(world)
    loose = claim.model_copy(update={"epsilon": 40.0})
    first, second = (local_only(world, claim.model_copy(update={"epsilon": 0.05})) for _ in range(2))
    assert first != second
    near, far = (
        abs((of.elsewhere["ash"]["auc"] or 0) - (local_only(world).elsewhere["ash"]["auc"] or 0))
        for of in (local_only(world, loose), local_only(world, loose))
    )
    assert max(near, far) < 0.2


def test_it_is_kept_for_every_epsilon_and_for_no_other_settings(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = kept_local_only(world_of(PRIVATE, folder), tmp_path / "kept")

    def fail(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(alone, "train_one", fail)
    other = world_of(plan_of(noise="distributed", rounds=6, epsilon=3.0), folder)
    assert kept_local_only(other, tmp_path / "kept") == found
    with pytest.raises(AssertionError, match="trained again"):
        kept_local_only(
            world_of(plan_of(noise="distributed", rounds=5, epsilon=1.0), folder), tmp_path / "kept"
        )
    (file,) = (tmp_path / "kept").glob("*.json")
    file.write_text('{"pooled": 1}')
    with pytest.raises(AssertionError, match="trained again"):
        kept_local_only(other, tmp_path / "kept")


def test_patients_of_two_sites_stay_apart() -> None:
    def data(*patients: int) -> Dataset:
        count = len(patients)
        return Dataset(torch.zeros(count, 1), torch.zeros(count, dtype=torch.int64), torch.tensor(patients))

    both = together([data(0, 0, 1), data(0, 1)])
    assert both.patients is not None
    assert both.patients.tolist() == [0, 0, 1, 2, 3]
    unknown = Dataset(torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64))
    assert together([data(0), unknown]).patients is None
