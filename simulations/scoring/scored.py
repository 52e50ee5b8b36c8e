"""Records that a model has scored: probabilities, labels, and the answers that a threshold makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from federation.errors import TaskError

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Scored:
    """`scores` (n, k), `truth` (n,) in [0, k). With a threshold, two classes: the second is answered from it on."""

    scores: Floats
    truth: Labels
    threshold: float | None = None

    @classmethod
    def of(cls, probabilities: Tensor, labels: Tensor, threshold: float | None = None) -> Scored | None:
        """None where there are no records, and where a probability is not finite. TaskError for many classes."""
        scores, truth = probabilities.double().numpy(), labels.numpy()
        if threshold is not None and scores.shape[1] != 2:
            raise TaskError("a threshold needs two classes", hint="remove evaluation.threshold")
        if len(truth) == 0 or not np.isfinite(scores).all():
            return None
        # Rows are made to sum to one again: in float32 they only nearly do.
        return cls(scores / scores.sum(axis=1, keepdims=True), truth, threshold)

    @property
    def classes(self) -> int:
        """How many there are."""
        return int(self.scores.shape[1])

    @cached_property
    def answers(self) -> Labels:
        """The class that each record is taken for."""
        if self.threshold is None:
            found: Labels = self.scores.argmax(axis=1)
        else:
            found = (self.scores[:, 1] >= self.threshold).astype(np.int64)
        return found

    def asked(self, occurs: Callable[[Scored], Labels]) -> list[int]:
        """The classes that a mean is over: of two only the second."""
        found = [int(one) for one in occurs(self)]
        return [one for one in found if one == 1] if self.classes == 2 else found
