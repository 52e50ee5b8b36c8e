"""How sure an attacker is that a unit was in the data of a model: two attacks, a larger score is surer.

    loss   the smaller the loss, the surer (Yeom et al. 2018)
    lira   how much likelier what the model says of a unit is for models that were trained on it than for others
           (Carlini et al. 2022), by a few models of one's own, whose members one knows

Of few models, the mean of a unit in and out of the data is known badly. So what parts the two is drawn towards the
mean over all units, by as much as noise alone explains it, and the deviations are those over all units.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from simulations.attacking.models import Floats, Models
from simulations.attacking.people import Bits

Attack = Callable[
    [Models, Models], Floats
]  # of whom nobody knows who was in; one's own -> scores (models, units)
_LEAST = 1e-6


def loss(targets: Models, _: Models) -> Floats:
    """Of each target the score of every unit."""
    return -targets.losses


def lira(targets: Models, own: Models) -> Floats:
    """The same by models of one's own."""
    known, asked = _centered(own.logits), _centered(targets.logits)
    middle, gap, deviations = _learned(known, own.within)
    inside, outside = (
        _log_density(asked, middle + side * gap / 2, deviation)
        for side, deviation in zip((1, -1), deviations, strict=True)
    )
    return np.asarray(inside - outside)


ATTACKS: Final[dict[str, Attack]] = {"loss": loss, "lira": lira}


def _centered(logits: Floats) -> Floats:
    """Without what noise, or better training, does to all units of a model alike."""
    return np.asarray(logits - logits.mean(axis=1, keepdims=True))


def _learned(logits: Floats, within: Bits) -> tuple[Floats, Floats, tuple[float, float]]:
    """Of each unit the middle between in and out, and what parts them; the deviations in, and out."""
    counts = within.sum(axis=0), (~within).sum(axis=0)
    inside, outside = (
        np.where(side, logits, 0.0).sum(axis=0) / np.maximum(count, 1)
        for side, count in zip((within, ~within), counts, strict=True)
    )
    both = (counts[0] > 0) & (counts[1] > 0)
    variances = [_variance(logits, side, mean) for side, mean in ((within, inside), (~within, outside))]
    found = inside - outside
    usual = float(found[both].mean()) if both.any() else 0.0
    error = variances[0] / np.maximum(counts[0], 1) + variances[1] / np.maximum(counts[1], 1)
    spread = float(((found - usual)[both] ** 2).mean()) if both.any() else 0.0
    noise = float(error[both].mean()) if both.any() else 1.0
    real = max(0.0, spread - noise)
    gap = np.where(both, usual + (found - usual) * real / (real + error + _LEAST), usual)
    middle = np.where(
        both, (inside + outside) / 2, np.where(counts[0] > 0, inside - gap / 2, outside + gap / 2)
    )
    return middle, gap, (float(np.sqrt(variances[0])), float(np.sqrt(variances[1])))


def _variance(logits: Floats, side: Bits, means: Floats) -> float:
    """About the means of the units, of as many degrees of freedom as are left."""
    free = max(1, int(np.maximum(side.sum(axis=0) - 1, 0).sum()))
    return max(_LEAST, float((np.where(side, logits - means, 0.0) ** 2).sum()) / free)


def _log_density(values: Floats, mean: Floats, deviation: float) -> Floats:
    return np.asarray(-(((values - mean) / deviation) ** 2) / 2 - np.log(deviation))
