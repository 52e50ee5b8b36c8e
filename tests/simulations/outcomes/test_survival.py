"""Figures of times until an event, against their definitions: pair by pair and person by person."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.model.losses import Hazards
from federation.plan.outcomes import Survival
from simulations.outcomes.judging import judge_of
from simulations.outcomes.survival import brier, c_index, life_table, said

BINS = 4
OUTCOME = Survival((30.0, 60.0, 90.0, 120.0))
PEOPLE = st.lists(st.integers(0, 2 * BINS), min_size=1, max_size=25)


def _outputs(count: int, seed: int) -> torch.Tensor:
    found = torch.randn(count, BINS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return found.round() if seed % 2 else found  # half of them with ties


def _time(label: int) -> float:
    return label // 2 + (1.0 if label % 2 else 0.5)


@settings(max_examples=60)
@given(PEOPLE, st.integers(0, 9))
def test_the_c_index_is_the_share_of_pairs_in_the_right_order(people: list[int], seed: int) -> None:
    survival = said(_outputs(len(people), seed))
    score = survival.sum(dim=1).tolist()
    right, pairs = 0.0, 0
    for (first, one), (second, other) in product(enumerate(people), repeat=2):
        if one % 2 and _time(one) < _time(other):
            pairs += 1
            right += 1.0 if score[first] < score[second] else 0.5 if score[first] == score[second] else 0.0
    found = c_index(survival, torch.tensor(people))
    assert found == (pytest.approx(right / pairs) if pairs else None)


def _chance_of_being_seen(people: list[int], until: float) -> float:
    """Kaplan and Meier's estimate for being censored, one time after the other."""
    chance = 1.0
    for time in sorted({_time(label) for label in people if label % 2 == 0 and _time(label) <= until}):
        there = sum(_time(label) >= time for label in people)
        lost = sum(_time(label) == time and label % 2 == 0 for label in people)
        chance *= 1 - lost / there
    return chance


@settings(max_examples=60)
@given(PEOPLE, st.integers(0, 9))
def test_the_brier_score_weighs_everybody_by_the_chance_of_being_seen(people: list[int], seed: int) -> None:
    survival = said(_outputs(len(people), seed))
    found = brier(survival, torch.tensor(people))
    for place in range(BINS):
        horizon, total = place + 1.0, 0.0
        seen = _chance_of_being_seen(people, horizon)
        if seen < 1e-12:
            assert found[place] is None
            continue
        for label, chance in zip(people, survival[:, place].tolist(), strict=True):
            if label % 2 and _time(label) <= horizon:
                total += chance**2 / _chance_of_being_seen(people, _time(label))
            elif _time(label) > horizon:
                total += (1 - chance) ** 2 / seen
        assert found[place] == pytest.approx(total / len(people))


@given(PEOPLE, st.integers(0, 9))
def test_the_loss_of_predictions_is_that_of_the_outputs(people: list[int], seed: int) -> None:
    outputs, labels = _outputs(len(people), seed), torch.tensor(people)
    found = judge_of(OUTCOME).measured(said(outputs), labels, ["loss"])["loss"]
    assert found == pytest.approx(float(Hazards()(outputs, labels).mean()))


def test_the_guess_for_everybody_is_the_life_table() -> None:
    labels = torch.tensor([1, 1, 0, 2, 3, 8, 8, 5])
    # At risk 7, 4, 3, 2 (who was lost within a bin is not); events 2, 1, 1, 0.
    chances = [5 / 7, 5 / 7 * 3 / 4, 5 / 7 * 3 / 4 * 2 / 3, 5 / 7 * 3 / 4 * 2 / 3]
    assert life_table(labels, BINS).tolist() == pytest.approx(chances)
    judge = judge_of(OUTCOME)
    found = judge.without_features(labels, labels, ["c_index", "mean_brier", "brier_at_60"])
    assert found["c_index"] == 0.5
    whole = brier(torch.tensor(chances, dtype=torch.float64).expand(8, BINS), labels)
    assert found["brier_at_60"] == pytest.approx(whole[1])
    assert judge.counts(labels) == {"n": 8, "positives": 4}
