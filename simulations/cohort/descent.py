"""The local optimizers over stacked params: torch's SGD, Adam, AdamW and RMSprop, for every site at once.

Each tensor has the sites first. The formulas and constants are torch's own, element by element, so that a site's
part is what torch's optimizer would have made of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from federation.config.tables import Training

_BETA1, _BETA2, _ALPHA, _EPSILON = 0.9, 0.999, 0.99, 1e-8  # torch's defaults


class Descent:
    """One round's steps of all sites of a slice, from `start`, on `weights`, which are moved in place."""

    def __init__(self, training: Training, weights: list[Tensor], start: Sequence[Tensor]) -> None:
        self._training, self._weights, self._start = training, weights, list(start)
        self._memory: list[list[Tensor]] = []
        self._taken = 0

    def step(self, means: Sequence[Tensor]) -> None:
        """One step by mean gradients, which may be overwritten."""
        gradients = list(means)
        self._taken += 1
        if self._training.proximal is not None:
            ways = torch._foreach_sub(self._weights, self._start)
            torch._foreach_add_(gradients, ways, alpha=self._training.proximal)
        rules = {"sgd": self._sgd, "adam": self._adam, "adamw": self._adamw, "rmsprop": self._rmsprop}
        rules[self._training.optimizer](gradients)

    def _sgd(self, gradients: list[Tensor]) -> None:
        rate, momentum = self._training.learning_rate, self._training.momentum
        if momentum is not None:
            if not self._memory:
                self._memory = [[gradient.clone() for gradient in gradients]]
            else:
                torch._foreach_mul_(self._memory[0], momentum)
                torch._foreach_add_(self._memory[0], gradients)
            gradients = self._memory[0]
        torch._foreach_add_(self._weights, gradients, alpha=-rate)

    def _adam(self, gradients: list[Tensor]) -> None:
        first, second = self._zeros(2)
        torch._foreach_lerp_(first, gradients, 1 - _BETA1)
        torch._foreach_mul_(second, _BETA2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - _BETA2)
        size = self._training.learning_rate / (1 - _BETA1**self._taken)
        roots = torch._foreach_sqrt(second)
        torch._foreach_div_(roots, (1 - _BETA2**self._taken) ** 0.5)
        torch._foreach_add_(roots, _EPSILON)
        torch._foreach_addcdiv_(self._weights, first, roots, -size)

    def _adamw(self, gradients: list[Tensor]) -> None:
        decay = self._training.weight_decay or 0.0
        torch._foreach_mul_(self._weights, 1 - self._training.learning_rate * decay)
        self._adam(gradients)

    def _rmsprop(self, gradients: list[Tensor]) -> None:
        (squares,) = self._zeros(1)
        torch._foreach_mul_(squares, _ALPHA)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - _ALPHA)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, _EPSILON)
        torch._foreach_addcdiv_(self._weights, gradients, roots, -self._training.learning_rate)

    def _zeros(self, count: int) -> list[list[Tensor]]:
        if not self._memory:
            self._memory = [[torch.zeros_like(weight) for weight in self._weights] for _ in range(count)]
        return self._memory
