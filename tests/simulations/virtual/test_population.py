"""Virtual sites: the cohorts of a list, and work and memory for those in a cohort only."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from federation.audit.examine import audit
from federation.errors import DataError, InputError
from federation.ledger.export import load_entries
from federation.model.task import Dataset
from federation.plan.plan import parse
from federation.report.report import Report
from federation.round.cohort import sample
from federation.round.messages import Member
from privacy.errors import UnsafeParameters
from server.run_folder import RunFolder
from simulations.simulate import simulate
from simulations.virtual.population import Loaded, Names, Sampled, world_of
from tests.worlds import load_params, text_of

TEXT = text_of(size=5, rounds=3)
PRIVATE = text_of(size=5, rounds=3, noise="distributed", sample_rate=1.0)
INPUTS = 5  # age, dose, and a ward of three


class Clinics:
    """A population in which a record is sick if its first feature is positive."""

    def __init__(self, count: int, records: int = 20) -> None:
        self.count, self.records = count, records
        self.named, self.loaded = 0, Counter[str]()

    def __len__(self) -> int:
        return self.count

    def name(self, place: int) -> str:
        self.named += 1
        return f"clinic-{place:07}"

    def load(self, name: str) -> Dataset:
        self.loaded[name] += 1
        return self.made(int(name.rpartition("-")[2]), self.records)

    def held_out(self) -> Dataset:
        return self.made(-1, 100)

    @staticmethod
    def made(seed: int, count: int) -> Dataset:
        generator = torch.Generator().manual_seed(seed & 0xFFFF)
        features = torch.rand(count, INPUTS, generator=generator) * 2 - 1
        return Dataset(features, (features[:, 0] > 0).long())


def played(text: str, clinics: Clinics, out: Path) -> Report:
    return simulate(parse(text), clinics, out, baseline=False)


@pytest.mark.parametrize("values", [{"size": 7}, {}], ids=["of a size", "all"])
def test_a_cohort_is_the_one_that_a_list_of_all_sites_gives(values: dict[str, int]) -> None:
    plan, clinics = parse(text_of(**values)), Clinics(40)
    listed = [Member(name, 20) for name in Names(clinics)]
    for number in (1, 2, 3):
        assert Sampled(clinics, Loaded(plan, clinics)).cohort(plan, number) == sample(plan, listed, number)


@pytest.mark.parametrize("text", [TEXT, PRIVATE], ids=["plain", "private"])
def test_a_run_over_very_many_sites_looks_at_those_in_its_cohorts_only(tmp_path: Path, text: str) -> None:
    clinics = Clinics(200_000)
    report = played(text, clinics, tmp_path / "run")
    cohorts = [one.cohort for one in RunFolder(tmp_path / "run", parse(text)).receipts()]
    assert [len(cohort) for cohort in cohorts] == [5, 5, 5]
    asked = {name for cohort in cohorts for name in cohort}
    assert asked <= clinics.loaded.keys()
    assert len(clinics.loaded) <= len(asked) + 1000, "and the first thousand for the frequencies of classes"
    assert clinics.named < 5000
    assert (report.population, report.sites, report.simulated) == (200_000, (), True)
    assert report.evaluation.pooled["n"] == 100
    assert sorted(path.name for path in (tmp_path / "run" / "journals").iterdir()) == ["all.sqlite"]
    assert sum(path.stat().st_size for path in (tmp_path / "run").rglob("*")) < 200_000
    kinds = [entry.kind for entry in load_entries(tmp_path / "run" / "journals" / "all.sqlite")]
    assert (kinds.count("begin"), kinds.count("release"), kinds.count("close")) == (3, 3, 1)


def test_it_is_audited_and_never_passes_for_a_real_run(tmp_path: Path) -> None:
    played(PRIVATE, Clinics(50), tmp_path / "run")
    found = audit(tmp_path / "run")
    assert (found.verdict, [each.id for each in found.findings]) == ("pass", [])
    assert {site.ledger for site in found.sites} == {"all.sqlite"}
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    (tmp_path / "run" / "report.json").write_text(json.dumps(report | {"simulated": False}))
    assert "simulated-claim" in {each.id for each in audit(tmp_path / "run").findings}


def test_it_is_taken_up_again_and_ends_the_same(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def stop(*_: object) -> None:
        raise Killed

    with pytest.raises(Killed):
        simulate(parse(TEXT), Clinics(50), tmp_path / "run", progress=stop)
    played(TEXT, Clinics(50), tmp_path / "run")
    played(TEXT, Clinics(50), tmp_path / "whole")
    assert load_params(tmp_path / "run").equal(load_params(tmp_path / "whole"))


def test_data_of_few_sites_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulations.virtual.population.HELD", 3)
    clinics = Clinics(50)
    data = Loaded(parse(TEXT), clinics)
    for place in (0, 1, 2, 0, 3, 4, 0):
        _ = data[clinics.name(place)]
    assert len(data._held) == 3
    assert clinics.loaded[clinics.name(0)] == 1, "what is used stays"


def test_what_no_simulation_can_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="engine vectorized"):
        simulate(parse(TEXT), Clinics(50), tmp_path / "run", engine="protocol")
    with pytest.raises(InputError, match="engine vectorized"):
        simulate(parse(TEXT), Clinics(50), tmp_path / "run", engine="flower-ray")
    with pytest.raises(InputError, match="CUDA device with the engine vectorized only"):
        simulate(parse(TEXT), Clinics(50), tmp_path / "run", engine="flower-ray", device="cuda")
    with pytest.raises(DataError, match="clinic-0000000 has no records"):
        _ = Loaded(parse(TEXT), Clinics(50, records=0))["clinic-0000000"]
    with pytest.raises(UnsafeParameters, match="must be below 1/N"):
        world_of(parse(text_of(unit="client", noise="central", delta=0.1)), Clinics(50), bytes(32))
