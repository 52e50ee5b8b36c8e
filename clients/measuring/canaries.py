"""Canaries: made-up records of which it is known what each adds to a sum, if the mechanism is the plan's.

The model is one linear layer without bias, its loss the output itself, so a record's gradient is its features times
a number, whatever the params are. Each canary moves one coordinate:

    alone     one canary each, far longer than the clip, in the data by a fair coin    who is in? (one-run bound)
    long      many canaries on one coordinate, far longer than the clip                the clipping bound
    short     many canaries on another, shorter than the clip, which leaves them be    the sampling rate
    quiet     nobody                                                                   the noise

Many on one coordinate make a sum that noise hardly blurs. Where patients are protected each canary is a patient
with two records on their coordinate: who clips records, and not the patient, is seen to clip at twice the norm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from federation.audit.measured.figures import Places
from federation.model.task import Dataset, Task
from federation.plan.plan import Plan
from privacy.mechanism.noise import Stream

FAR = 50.0  # times the clip
SHORT = 0.5
_COIN = 0.5


@dataclass(frozen=True)
class Canaries:
    """The records of one site, and the coins that decided which of those alone are among them."""

    places: Places
    task: Task
    data: Dataset = field(repr=False)
    inside: NDArray[np.bool_] = field(repr=False)  # of each canary alone

    @property
    def size(self) -> int:
        """How many units the site declares: records or patients."""
        return max(1, int((self.data.labels >= 0).sum()) // (1 if self.data.patients is None else 2))

    @property
    def nobody(self) -> Dataset:
        """The data of another site, which adds its noise only."""
        return self.data.at(torch.zeros(0, dtype=torch.int64))


def canaries(places: Places, plan: Plan, coins: Stream) -> Canaries:
    """Canaries for a plan. `coins` is secret and fresh, as a site's own stream."""
    norm, patients = plan.privacy.clipping_norm or 0.0, plan.privacy.unit == "patient"
    inside = coins.words(places.alone) < np.uint64(int(_COIN * 2**64))
    alone = torch.from_numpy(np.flatnonzero(inside))
    at = torch.cat([alone, *(torch.full((places.copies,), place) for place in (places.long, places.short))])
    kinds = torch.ones(len(at), dtype=torch.int64)
    kinds[len(at) - places.copies :] = 0
    each = 2 if patients else 1
    owners = torch.arange(len(at)).repeat_interleave(each) if patients else None
    at, kinds = at.repeat_interleave(each), kinds.repeat_interleave(each)
    features = torch.zeros(len(at), places.dimension)
    features[torch.arange(len(at)), at] = 1.0
    loss = partial(_loss, far=FAR * norm, short=SHORT * norm / each)
    task = Task("canaries", partial(_model, places.dimension), loss, data=_none)
    return Canaries(places, task, Dataset(features, kinds, owners), inside)


def copies_for(rate: float, releases: int) -> int:
    """How many canaries share a coordinate, so that ten thousand of them are drawn in all."""
    return min(2000, max(50, math.ceil(10_000 / (rate * releases))))


def _model(dimension: int) -> nn.Module:
    return nn.Linear(dimension, 1, bias=False)


def _loss(outputs: Tensor, labels: Tensor, far: float, short: float) -> Tensor:
    return outputs[:, 0] * torch.where(labels == 1, far, short)


def _none(_: object) -> Dataset:
    raise ValueError("canaries are read from nowhere")
