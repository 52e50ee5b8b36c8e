"""Who is attacked: the units of a plan, with the coins that are tossed of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clients.data.folders import find_sites
from federation.errors import DataError
from simulations.attacking.people import People, people_of
from simulations.world import World, read_world
from tests import plans
from tests.simulations.attacking.chance import stream
from tests.simulations.attacking.runs import BY_HEART, PRIVATE, RECORDS, SITES, write_sites

PATIENTS: plans.Changes = {**BY_HEART, "unit": "patient", "task.patient": "mrn"}


def world_of(folder: Path, *changes: plans.Changes, patients: int | None = None) -> World:
    records = 2 * patients if patients else RECORDS
    return read_world(
        plans.plan_of(*changes), find_sites(write_sites(folder / "sites", patients, records)).sites
    )


def people(folder: Path, *changes: plans.Changes, patients: int | None = None) -> People:
    return people_of(world_of(folder, *changes, patients=patients))


def test_members_are_those_whom_the_run_trained_on(tmp_path: Path) -> None:
    world = world_of(tmp_path, PRIVATE)
    found = people_of(world)
    assert (found.unit, found.size) == ("record", SITES * RECORDS)
    start = 0
    for name in sorted(world.training):
        train, held = world.training[name], world.held_out[name]
        rows = found.everything.features[start : start + len(train) + len(held)]
        trained = found.members[found.unit_of[start : start + len(rows)]]
        assert (rows[trained] == train.features).all() and (rows[~trained] == held.features).all()
        start += len(rows)


def test_a_patient_goes_as_a_whole(tmp_path: Path) -> None:
    found = people(tmp_path, PATIENTS, patients=40)
    assert (found.unit, found.size, found.sites) == ("patient", SITES * 40, 1)
    bits = found.coins(stream(1))
    half = found.half(bits)
    for data in half.values():
        assert data.patients is not None
        assert (np.bincount(data.patients.numpy()) == 2).all()
    assert sum(len(data) for data in half.values()) == 2 * bits.sum()


def test_what_sites_declare_does_not_depend_on_the_coins(tmp_path: Path) -> None:
    world = world_of(tmp_path, PRIVATE)
    found = people_of(world)
    assert [member.size for member in found.declared(world.plan)] == [RECORDS // 2] * SITES
    assert {len(one) for one in found.half(found.coins(stream(1))).values()} != {RECORDS // 2}


def test_coins_are_fair_and_their_own(tmp_path: Path) -> None:
    found, secret = people(tmp_path, PRIVATE), stream(1)
    tossed = np.stack([found.coins(secret.derive(str(number))) for number in range(200)])
    assert abs(tossed.mean() - 0.5) < 0.02
    assert np.abs(np.corrcoef(tossed.T) - np.eye(found.size)).max() < 0.4


def test_a_site_of_a_handful_is_in_every_model(tmp_path: Path) -> None:
    world = world_of(tmp_path, PRIVATE)
    first = min(world.training)
    few = replace(
        world,
        training={**world.training, first: world.training[first].at(torch.arange(3))},
        held_out={name: data for name, data in world.held_out.items() if name != first},
    )
    found = people_of(few)
    assert not found.tossed[:3].any() and found.tossed[3:].all()
    assert len(found.half(found.coins(stream(1)))[first]) == 3
    assert found.declared(world.plan)[0].size == 3


def test_too_few_of_either_side_are_refused(tmp_path: Path) -> None:
    world = world_of(tmp_path, PRIVATE)
    with pytest.raises(DataError, match="0 held out"):
        people_of(replace(world, held_out={}))
