"""Stays are what their page says: a label looks six hours ahead, and the course tells more than the hour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from clients.data.folders import find_sites
from clients.data.load import read_table
from clients.data.sources.reading import read
from federation.plan.plan import load
from federation.plan.series.tasks import Series
from simulations.populations.made_up import ward
from simulations.populations.registry import population_for, scenario_for


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return population_for("ward").write(tmp_path_factory.mktemp("ward"), 0)


def test_worse_is_the_last_six_hours_of_a_stay_that_ends_in_intensive_care(folder: Path) -> None:
    table = read(folder / "alder" / "train.csv")
    rows = sorted(
        zip(table.column("patient"), map(int, table.column("hour")), table.column("worse"), strict=True)
    )
    stays: dict[str, list[str]] = {}
    for patient, hour, worse in rows:
        assert hour == len(stays.setdefault(patient, []))  # every hour once
        stays[patient].append(worse)
    for said in stays.values():
        ahead = said.count("1")
        assert said == ["0"] * (len(said) - ahead) + ["1"] * ahead
        assert ahead in (0, min(len(said), ward.AHEAD))
    share = sum(map(list[str].count, stays.values(), ["1"] * len(stays))) / len(rows)
    assert 0.02 < share < 0.05


def test_the_course_of_half_a_day_says_more_than_its_last_hour(folder: Path) -> None:
    task = load(scenario_for("ward")).task
    assert isinstance(task, Series)
    data = [
        (read_table(site.train, task).data, read_table(site.places()[1], task).data)  # type: ignore[arg-type]
        for site in find_sites(folder).sites
    ]
    seen, asked = (np.concatenate([pair[part].features.numpy() for pair in data]) for part in (0, 1))
    truth, answers = (np.concatenate([pair[part].labels.numpy() for pair in data]) for part in (0, 1))

    def reached(columns: slice) -> float:
        model = LogisticRegression(max_iter=300).fit(seen[:, columns], truth)
        return float(roc_auc_score(answers, model.predict_proba(asked[:, columns])[:, 1]))

    hour, course = reached(slice(-task.width, None)), reached(slice(None))
    assert course > hour + 0.005
    assert course > 0.9
