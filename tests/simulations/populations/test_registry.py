"""Every population has files that its plan takes, the same for the same seed, and the command knows its name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from clients.data.folders import find_sites
from clients.data.load import protected, read_file
from federation.cli.simulating.run import PopulationName
from federation.errors import InputError
from federation.model.task import build_task
from federation.plan.outcomes import Classes
from federation.plan.plan import check_delta, load
from federation.plan.series.tasks import Series
from simulations.populations.registry import POPULATIONS, population_for, scenario_for

# What is drawn is the same on every machine and with every numpy: these are digests of the files of seed 0.
DIGESTS = {
    "hospitals": "26ed2ba0fe0601c9",
    "digits": "6f1deee22b76012d",
    "images": "f21144361f7b00a6",
    "bank": "6da15204f584035b",
    "heart": "a06f55c101f2d7f7",
    "readmission": "aa687e7d43ec3882",
    "credit": "93fbf81bcd594158",
    "fraud": "be3e24fad0cf7f93",
    "ward": "3fa4789f4b3115c8",
    "market": "e361837ab407062a",
    "moderation": "b72c486036a08714",
}


def digest(directory: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(directory.rglob("*.csv")):
        found.update(f"{path.relative_to(directory)}\n".encode() + path.read_bytes())
    return found.hexdigest()[:16]


@pytest.fixture(scope="module", params=sorted(POPULATIONS))
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, population_for(request.param).write(tmp_path_factory.mktemp(request.param), 0)


def test_the_plan_of_a_population_takes_all_its_files(written: tuple[str, Path]) -> None:
    name, directory = written
    plan = load(scenario_for(name))
    task = build_task(plan)
    records = 0
    sites = find_sites(directory).sites
    assert len(sites) >= plan.cohort.minimum
    for site in sites:
        assert site.test is not None
        training, test = (read_file(path, plan, task).data for path in (site.train, site.test))
        if isinstance(task.predicts, Classes):
            classes = set(range(task.predicts.count))
            assert set(training.labels.tolist()) == set(test.labels.tolist()) == classes
        # Of series a record is a window, of which an hour more makes more: what counts are people.
        units = protected(plan, training) if isinstance(plan.task, Series) else len(training)
        records += units
        check_delta(plan, units)
    assert plan.privacy.delta is not None
    assert plan.privacy.delta < 0.1 / records


def test_a_seed_decides_all_of_a_population_on_every_machine(
    written: tuple[str, Path], tmp_path: Path
) -> None:
    name, directory = written
    assert digest(directory) == DIGESTS[name]
    assert digest(population_for(name).write(tmp_path, 1)) != DIGESTS[name]


def test_a_population_is_found_by_name_and_by_the_command() -> None:
    assert [name.value for name in PopulationName] == list(POPULATIONS)
    assert all(each.name == name and each.scenario.is_file() for name, each in POPULATIONS.items())
    with pytest.raises(InputError, match="one of hospitals, digits, images"):
        population_for("hospital")
