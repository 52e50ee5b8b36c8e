"""LiRA sees a record's own difficulty, which a loss alone does not; and nothing where nothing is there."""

from __future__ import annotations

import numpy as np
import pytest

from simulations.attacking.figures import found
from simulations.attacking.models import Models
from simulations.attacking.scores import lira, loss
from tests.simulations.attacking.chance import Chance

MODELS, UNITS = 16, 500


def models(seed: int, gap: float, count: int = MODELS) -> Models:
    """Records differ a lot in how hard they are, and by `gap` in whether they were in."""
    chance = Chance(seed)
    hardness = 3 * Chance(99).normal(UNITS)
    within = chance.uniform(count, UNITS) < 0.5
    logits = hardness + gap * within + chance.normal(count, UNITS) + 5 * chance.normal(count, 1)
    return Models(within, np.log1p(np.exp(-logits)), logits)


def auc(attack: object, gap: float, known: Models | None = None) -> float:
    targets, own = models(1, gap), known or models(2, gap)
    scores = attack(targets, own)  # type: ignore[operator]
    assert np.isfinite(scores).all()
    return found(scores.reshape(-1), targets.within.reshape(-1)).auc.value


def test_it_finds_what_the_loss_does_not() -> None:
    assert auc(lira, 1.0) > 0.72
    assert auc(loss, 1.0) < 0.6


def test_it_finds_nothing_where_nothing_is_there() -> None:
    assert abs(auc(lira, 0.0) - 0.5) < 0.02


@pytest.mark.parametrize("count", [1, 2, 4])
def test_few_models_of_ones_own_are_weaker_and_no_error(count: int) -> None:
    assert 0.45 < auc(lira, 1.0, models(2, 1.0, count)) < auc(lira, 1.0) + 0.01


def test_units_that_were_always_in_are_scored_too() -> None:
    own = models(2, 1.0)
    within = own.within.copy()
    within[:, :50], within[:, 50:100] = True, False
    known = Models(within, own.losses, own.logits)
    assert np.isfinite(lira(models(1, 1.0), known)).all()
