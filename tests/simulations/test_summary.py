"""The content of report.json: arithmetic over receipts, journals and held-out records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from clients.data.folders import find_sites
from federation.plan.plan import Plan
from federation.report.receipt import Receipt
from federation.report.report import Report
from privacy.accounting.events import GaussianEvent
from privacy.accounting.pld import epsilon
from simulations.summary import model_of, pooled_metrics, summarize
from simulations.world import World, read_world
from tests.worlds import plan_of, rows_of, start, write_csv, write_sites

NAMES = ("ash", "birch", "cedar")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sites(tmp_path_factory.mktemp("summary"))


def world_of(plan: Plan, folder: Path) -> World:
    return read_world(plan, find_sites(folder).sites)


def receipt(number: int, seconds: float = 0.25, missing: str = "") -> Receipt:
    survivors = tuple(name for name in NAMES if name != missing)
    return Receipt(
        round=number,
        attempts=1,
        cohort=NAMES,
        survivors=survivors,
        seconds=seconds,
        bytes_up=dict.fromkeys(survivors, 10 * number),
        bytes_down=dict.fromkeys(NAMES, 100),
        params_before="00",
        params_after="11",
        metrics={"accuracy": 0.5, "auc": None},
    )


def summary_of(plan: Plan, folder: Path, rounds: Mapping[str, int], receipts: list[Receipt]) -> Report:
    world = world_of(plan, folder)
    model = model_of(world, start(plan))
    return summarize(world, model, receipts, rounds, engine="protocol", seconds=9.0)


def test_rounds_bytes_and_times_are_those_of_the_receipts(folder: Path) -> None:
    plan = plan_of()
    receipts = [receipt(1), receipt(2, missing="birch"), receipt(3, seconds=0.5)]
    report = summary_of(plan, folder, dict.fromkeys(NAMES, 3), receipts)
    assert [(entry.cohort, entry.survivors) for entry in report.rounds] == [(3, 3), (3, 2), (3, 3)]
    assert {site.id: (site.bytes_up, site.bytes_down) for site in report.sites} == {
        "ash": (60, 300),
        "birch": (40, 300),
        "cedar": (60, 300),
    }
    assert report.timing.total_seconds == 9.0
    assert report.timing.training_seconds == 1.0
    assert report.timing.client_rounds_per_second == 9.0
    assert [entry.metrics for entry in report.history] == [entry.metrics for entry in receipts]


def test_a_site_that_was_sampled_less_often_spent_less(folder: Path) -> None:
    plan = plan_of(noise="site", sample_rate=0.5, rounds=10, local_steps=5)
    report = summary_of(plan, folder, {"ash": 10, "birch": 4, "cedar": 0}, [receipt(1)])
    z = report.privacy.noise_multiplier or 0.0
    spent = {site.id: site.epsilon for site in report.sites}
    assert spent["ash"] == report.privacy.epsilon == epsilon([GaussianEvent(z, 0.5, 50)], 1e-5)
    assert spent["birch"] == epsilon([GaussianEvent(z, 0.5, 20)], 1e-5)
    assert spent["cedar"] == 0.0
    assert [site.steps for site in report.sites] == [50, 20, 0]


def test_the_history_says_what_was_spent_up_to_each_round(folder: Path) -> None:
    plan = plan_of(noise="site", sample_rate=0.5, rounds=10, local_steps=5)
    report = summary_of(plan, folder, dict.fromkeys(NAMES, 10), [receipt(2), receipt(10)])
    z = report.privacy.noise_multiplier or 0.0
    expected = [epsilon([GaussianEvent(z, 0.5, steps)], 1e-5) for steps in (10, 50)]
    assert [entry.epsilon for entry in report.history] == pytest.approx(expected, rel=1e-3)


def test_without_privacy_there_is_no_epsilon_anywhere(folder: Path) -> None:
    report = summary_of(plan_of(), folder, dict.fromkeys(NAMES, 1), [receipt(1)])
    numbers = [report.privacy.epsilon, report.history[0].epsilon]
    assert {*numbers, *(site.epsilon for site in report.sites)} == {None}
    assert report.privacy.private is False


def test_accuracy_is_counted_by_hand(folder: Path) -> None:
    plan = plan_of()
    world = world_of(plan, folder)
    params = torch.linspace(-1, 1, start(plan).numel())
    model = model_of(world, params)
    weight, bias = params[:10].reshape(2, 5).numpy(), params[10:].numpy()
    right, count = {}, {}
    for name, data in world.held_out.items():
        answers = np.argmax(data.features.numpy() @ weight.T + bias, axis=1)
        right[name], count[name] = int((answers == data.labels.numpy()).sum()), len(data)
    pooled = sum(right.values()) / sum(count.values())
    assert pooled_metrics(world, model)["accuracy"] == pytest.approx(pooled)
    report = summarize(world, model, [], dict.fromkeys(NAMES, 0), engine="x", seconds=1.0)
    assert report.evaluation.pooled["accuracy"] == pytest.approx(pooled)
    for name in NAMES:
        assert report.evaluation.sites[name]["accuracy"] == pytest.approx(right[name] / count[name])
    mean = sum(right[name] / count[name] for name in NAMES) / 3
    assert report.evaluation.mean_of_sites["accuracy"] == pytest.approx(mean)


def test_a_mean_of_sites_says_over_how_many_and_counts_stand_beside_figures(tmp_path: Path) -> None:
    """A site without a positive record has no AUC and no recall; its accuracy and its wrong answers count."""
    folder = write_sites(tmp_path)
    write_csv(folder / "dogwood.csv", [[*row[:3], "no"] for row in rows_of(3, 36)])
    plan = plan_of(metrics=["accuracy", "auc", "f1", "recall"])
    world = world_of(plan, folder)
    params = torch.zeros(start(plan).numel())
    params[-1] = 1.0  # every record is answered as positive
    model = model_of(world, params)
    found = summarize(world, model, [], dict.fromkeys(world.training, 0), engine="x", seconds=1.0)
    told = found.evaluation
    assert told.mean_of_sites_n == {"accuracy": 4, "auc": 3, "f1": 4, "recall": 3}
    assert told.sites["dogwood"] == {
        "accuracy": 0.0,
        "auc": None,
        "f1": 0.0,
        "recall": None,
        "n": 9,
        "positives": 0,
    }
    for metric, sites in told.mean_of_sites_n.items():
        known = [value for site in told.sites.values() if (value := site[metric]) is not None]
        assert len(known) == sites
        assert told.mean_of_sites[metric] == pytest.approx(sum(known) / sites)
    for name, data in world.held_out.items():
        assert told.sites[name]["n"] == len(data)
        assert told.sites[name]["positives"] == int(data.labels.sum())
    assert told.pooled["n"] == sum(len(data) for data in world.held_out.values())
    assert told.pooled["positives"] == sum(int(data.labels.sum()) for data in world.held_out.values())
    assert "n" not in pooled_metrics(world, model), "receipts and history hold metrics"
