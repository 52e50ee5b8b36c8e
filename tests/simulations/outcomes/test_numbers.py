"""Figures of numbers and counts against scikit-learn, in the target's own unit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as oracle

from federation.plan.outcomes import Counts, Range
from simulations.outcomes.judging import judge_of

GENERATOR = torch.Generator().manual_seed(3)
SAID = torch.rand(200, 1, generator=GENERATOR) * 2.4 - 1.2
SEEN = torch.rand(200, generator=GENERATOR) * 2 - 1
OUTCOME = Range(10, 50)


def test_figures_of_a_number_are_in_its_unit_and_of_predictions_in_its_range() -> None:
    judge = judge_of(OUTCOME)
    said = judge.said(SAID)
    assert (said >= 10).all()
    assert (said <= 50).all()
    seen = 30 + 20 * SEEN.double()
    found = judge.measured(said, SEEN, OUTCOME.metrics)
    assert found["mae"] == pytest.approx(oracle.mean_absolute_error(seen, said))
    assert found["rmse"] == pytest.approx(oracle.root_mean_squared_error(seen, said))
    assert found["r2"] == pytest.approx(oracle.r2_score(seen, said))
    assert found["bias"] == pytest.approx(float((said - seen).mean()))


def test_the_calibration_is_of_tenths_by_what_is_predicted() -> None:
    judge = judge_of(OUTCOME)
    said = judge.said(torch.linspace(-1, 1, 200)[:, None])
    order = np.argsort(said.numpy(), kind="stable")
    off = (said - (30 + 20 * SEEN.double())).numpy()[order].reshape(10, 20).mean(axis=1)
    assert judge.measured(said, SEEN, ["calibration_by_tenth"])["calibration_by_tenth"] == pytest.approx(
        np.abs(off).mean()
    )


def test_one_answer_for_all_is_the_mean_and_well_calibrated() -> None:
    judge = judge_of(OUTCOME)
    found = judge.without_features(SEEN, SEEN, ["rmse", "r2", "bias", "calibration_by_tenth"])
    assert found["rmse"] == pytest.approx(20 * float(SEEN.double().std(correction=0)))
    assert [found[name] for name in ("r2", "bias", "calibration_by_tenth")] == pytest.approx(
        [0, 0, 0], abs=1e-9
    )


@pytest.mark.parametrize("exposed", [False, True], ids=["counts", "rates"])
def test_the_deviance_of_counts_is_poissons(exposed: bool) -> None:
    outcome = Counts(20, exposed)
    counts = torch.poisson(torch.full((200,), 2.0), generator=torch.Generator().manual_seed(1))
    exposures = torch.linspace(1, 9, 200) if exposed else torch.ones(200)
    labels = torch.stack([counts, exposures], dim=1) if exposed else counts.long()
    judge = judge_of(outcome)
    said = judge.said(SAID)
    expected = said * exposures.double()
    found = judge.measured(said, labels, ["deviance", "mae"])
    assert found["deviance"] == pytest.approx(oracle.mean_poisson_deviance(counts, expected))
    assert found["mae"] == pytest.approx(oracle.mean_absolute_error(counts, expected.clamp(max=20)))
    guess = judge.without_features(labels, labels, ["bias"])
    assert guess["bias"] == pytest.approx(0, abs=1e-6)


def test_a_figure_that_does_not_exist_is_none() -> None:
    judge = judge_of(OUTCOME)
    assert judge.measured(torch.zeros(0), torch.zeros(0), ["mae", "r2"]) == {"mae": None, "r2": None}
    same = judge.measured(torch.tensor([30.0, 31.0]).double(), torch.zeros(2), ["mae", "r2"])
    assert same["r2"] is None
    assert same["mae"] == pytest.approx(0.5)
