"""A plan with folds, played message by message: charged and audited as a whole, resumed at any point."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clients.data.folds import folds_of, without
from federation.audit.examine import audit
from federation.audit.recounting import bounds
from federation.errors import InputError, OtherRun, PlanError
from federation.kinds.folds import evaluations, trainings
from federation.ledger.export import load_entries
from federation.model.task import Dataset
from federation.plan.plan import Plan, parse
from privacy.accounting.costs import cost
from privacy.accounting.events import GaussianEvent
from privacy.accounting.units import Patient, charge_from_json
from privacy.ledger.state import Account, fold
from simulations.simulate import simulate

K, ROUNDS = 2, 2
PLAN = """
[federation]
name = "folds"
rounds = 2
seed = 7
[task]
kind = "tabular-classification"
target = "y"
classes = ["a", "b"]
model = "logistic"
{patient}
[task.features]
x = {{ low = 0, high = 1 }}
[cohort]
size = "all"
minimum = 3
weights = "uniform"
deadline_seconds = 60
[training]
optimizer = "sgd"
learning_rate = 0.5
local_steps = 1
sample_rate = 0.5
[privacy]
unit = "{unit}"
noise = "distributed"
epsilon = 4.0
delta = 1e-3
clipping_norm = 1.0
[secure_aggregation]
colluders = 1
dropouts = 0
[server]
optimizer = "average"
learning_rate = 1.0
[evaluation]
epsilon = 2.0
holdout = 0
folds = 2
metrics = ["accuracy"]
"""


def plan_of(unit: str = "record", patient: str = "") -> Plan:
    return parse(PLAN.format(unit=unit, patient=patient))


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sites")
    draws = torch.Generator().manual_seed(5)
    for name in ("ash", "birch", "cedar"):
        rows = [f"{x:.6f},{'b' if x > 0.5 else 'a'}" for x in torch.rand(60, generator=draws).tolist()]
        (place / f"{name}.csv").write_text("x,y\n" + "\n".join(rows) + "\n")
    return place


def play(sites: Path, out: Path, **how: Any) -> Any:
    return simulate(plan_of(), sites, out, engine="protocol", public=True, notice=lambda _: None, **how)


@pytest.fixture(scope="module")
def played(sites: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    play(sites, out)
    return out


def account_in(run: Path) -> Account:
    return fold(load_entries(run / "journals" / "ash.sqlite"))


def test_one_reservation_pays_for_all_folds_before_the_first_round(played: Path) -> None:
    kinds = [entry.kind for entry in load_entries(played / "journals" / "ash.sqlite")]
    assert kinds.count("reserve") == 2 and max(np.flatnonzero(np.array(kinds) == "reserve")) < kinds.index(
        "begin"
    )
    runs = account_in(played).runs
    (name, training), (other, tests) = runs.items()
    assert other == f"{name}/evaluation"
    assert (
        training.rounds == len(training.begun) == ROUNDS * (K + 1) and tests.rounds == len(tests.begun) == K
    )
    assert training.charge.event.count == ROUNDS * K and training.charge.whole == ROUNDS * (K + 1)
    assert tests.charge.event.count == 1 and tests.charge.whole == K
    assert (training.charged, tests.charged) == (training.charge, tests.charge)


def test_its_audit_passes_and_the_report_has_every_fold_with_mean_and_deviation(played: Path) -> None:
    found = audit(played)
    assert found.verdict == "pass" and not found.findings
    told = json.loads((played / "report.json").read_text())["folds"]
    each = [line["published"]["records"] for line in told["folds"]]
    assert told["mean"]["records"] == pytest.approx(np.mean(each))
    assert told["deviation"]["records"] == pytest.approx(np.std(each, ddof=1))
    assert f"each of {K} folds" in (played / "report.html").read_text()


def test_an_audit_finds_a_fold_that_is_gone_and_a_figure_that_is_not_its_receipts(
    played: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(played, run)
    report = json.loads((run / "report.json").read_text())
    report["folds"]["mean"]["accuracy"] = 0.99
    (run / "report.json").write_text(json.dumps(report))
    assert any("folds.mean.accuracy" in one.detail for one in audit(run).findings)
    shutil.rmtree(run / "fold-2")
    assert "fold-missing" in {one.id for one in audit(run).findings}


def test_a_finished_run_is_shown_for_its_own_data_only(played: Path, sites: Path, tmp_path: Path) -> None:
    heard: list[str] = []
    done = simulate(plan_of(), sites, played, engine="protocol", public=True, notice=heard.append)
    assert done.to_json() == json.loads((played / "report.json").read_text())
    (line,) = heard
    assert line.startswith("nothing was run") and line.endswith("on these data")
    others = tmp_path / "others"
    shutil.copytree(sites, others)
    first, *rest = (others / "ash.csv").read_text().splitlines()
    (others / "ash.csv").write_text("\n".join([first, *rest[1:], "0.25,a"]) + "\n")
    with pytest.raises(OtherRun, match="training data of site ash changed"):
        play(others, played)
    (others / "ash.csv").rename(others / "doum.csv")
    with pytest.raises(OtherRun, match="site ash"):
        play(others, played)


def test_of_patients_a_site_has_more_records_and_these_are_told_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites, heard = tmp_path / "sites", list[str]()
    sites.mkdir()
    for name in ("ash", "birch", "cedar"):
        rows = [f"{name}{number // 2},0.{number % 9},{'ab'[number % 2]}" for number in range(80)]
        (sites / f"{name}.csv").write_text("\n".join(["who,x,y", *rows]) + "\n")
    plan = plan_of("patient", 'patient = "who"')

    def run() -> Any:
        return simulate(plan, sites, tmp_path / "run", engine="protocol", public=True, notice=heard.append)

    assert [site.records for site in run().sites] == [80] * 3
    assert audit(tmp_path / "run").verdict == "pass" and not heard
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # as on another machine
    run()
    (line,) = heard
    assert line.endswith("only names of sites and their numbers of records were compared")


class Killed(Exception):
    pass


def test_killed_after_every_round_it_goes_on_and_nothing_is_charged_twice(
    sites: Path, tmp_path: Path
) -> None:
    out, kills = tmp_path / "run", 0

    def kill(*_: object) -> None:
        raise Killed

    while True:
        try:
            play(sites, out, progress=kill)
            break
        except Killed:
            kills += 1
            assert kills <= ROUNDS * (K + 1)
    assert kills == ROUNDS * (K + 1)
    runs = account_in(out).runs
    assert len(runs) == 2 and [len(run.begun) for run in runs.values()] == [ROUNDS * (K + 1), K]
    assert audit(out).verdict == "pass"


def data_of(count: int, seed: int = 1) -> Dataset:
    draws = torch.Generator().manual_seed(seed)
    return Dataset(torch.rand(count, 1, generator=draws), torch.zeros(count, dtype=torch.int64))


def rows(data: Dataset | None) -> list[float]:
    return [] if data is None else sorted(data.features[:, 0].tolist())


def test_one_record_more_changes_the_parts_that_are_charged_and_no_other() -> None:
    plan, data = plan_of(), data_of(40)
    less = data.at(torch.arange(40) != 17)
    changed = [
        (rows(one[0]) != rows(other[0]), rows(one[1]) != rows(other[1]))
        for one, other in ((without(data, plan, part), without(less, plan, part)) for part in range(K + 1))
    ]
    assert sum(training for training, _ in changed) == trainings(plan) == K
    assert sum(tested for _, tested in changed) == evaluations(plan) == 1
    assert changed[0] == (True, False)


def test_a_record_of_a_known_person_is_in_the_fold_of_the_person_at_every_site() -> None:
    plan = plan_of("patient", 'patient = "who"')
    numbers, ids = torch.tensor([0, 0, 1, 2]), torch.tensor([9, 9, 4, 5])
    one = replace(data_of(4), patients=numbers, ids=ids)
    other = replace(data_of(4, 2), patients=torch.tensor([0, 1, 2, 2]), ids=torch.tensor([4, 5, 9, 9]))
    here = dict(zip(ids.tolist(), folds_of(one, plan).tolist(), strict=True))
    there = dict(zip([4, 5, 9, 9], folds_of(other, plan).tolist(), strict=True))
    assert here == there and len(set(folds_of(one, plan)[:2])) == 1


def test_units_other_than_the_one_that_is_in_one_fold_are_charged_every_training_and_evaluation() -> None:
    training, tests = plan_of("patient", 'patient = "who"').charges
    for charge, some, every in ((training, ROUNDS * K, ROUNDS * (K + 1)), (tests, 1, K)):
        counts = {unit: charge.to(unit) for unit in ("patient", "record")}
        assert counts["patient"].count == some and counts["record"].count == every
    of_records = plan_of().charges[0]
    assert of_records.to("patient", Patient(3, 1)).count == ROUNDS * (K + 1)


def test_a_person_at_several_sites_who_may_have_another_id_at_each_is_charged_every_training_of_a_sample() -> (
    None
):
    plan, person = plan_of("patient", 'patient = "who"'), Patient(1, 3)
    training, tests = (charge.to("patient", person) for charge in plan.charges)
    assert (training.count, training.group, tests.count, tests.group) == (ROUNDS * (K + 1), 3, 1, 3)
    for charge in plan.charges:
        told = bounds([charge], "patient", person, 1e-3)
        assert cost([charge], "patient", person, 1e-3).together == pytest.approx(told.upper, rel=1e-3)
    for times in product(range(4), repeat=K):  # at how many sites the person is in each fold
        if sum(times) == 3:
            assert sum((3 - n) ** 2 for n in times) + 3**2 <= K * 3**2 and sum(n**2 for n in times) <= 3**2


def test_where_nothing_shows_that_a_record_is_in_one_fold_all_of_it_is_charged() -> None:
    plan = plan_of("record", 'patient = "who"')
    assert (trainings(plan), evaluations(plan)) == (K + 1, K)
    assert [charge.event.count for charge in plan.charges] == [ROUNDS * (K + 1), K]


def test_what_was_never_begun_is_returned_as_far_as_no_unit_can_have_been_in_it() -> None:
    charge = plan_of().charges[0]
    counts = [charge.of(begun, ROUNDS * (K + 1)) for begun in range(ROUNDS * (K + 1) + 1)]
    assert [each.event.count for each in counts] == [0, 1, 2, 3, 4, 4, 4]
    assert [each.to("patient").count for each in counts[1:]] == [1, 2, 3, 4, 5, 6]


def test_a_charge_with_folds_is_read_as_it_was_written_and_no_other() -> None:
    plain = plan_of().charges[0].to_json()
    assert charge_from_json(plain) == plan_of().charges[0]
    for wrong in (0, 1, True, "6", None, 10**10):
        with pytest.raises(Exception, match="charge of a form"):
            charge_from_json({**plain, "whole": wrong})


def test_a_plan_with_folds_is_refused_where_it_cannot_be_played_or_pays_for_nothing(
    sites: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="message by message"):
        simulate(plan_of(), sites, tmp_path / "run")
    text = PLAN.format(unit="record", patient="")
    with pytest.raises(PlanError, match="folds"):
        parse(text.replace("epsilon = 2.0\n", ""))
    with pytest.raises(PlanError, match="folds"):
        parse(text.replace("holdout = 0\n", ""))
    assert isinstance(plan_of().charges[0].event, GaussianEvent)
