"""The steps of a site's own optimizer: torch's SGD, Adam, AdamW and RMSprop, to the last bit, on one flat vector.

Whoever makes an optimizer of `torch.optim` loads torch's compiler, which compiles nothing here: 76 MB at a site
and more than a second. The formulas and constants are torch's; a test compares the two.
"""

from __future__ import annotations

import torch
from torch import Tensor

from federation.config.tables import Training

_BETA1, _BETA2, _ALPHA, _EPSILON = 0.9, 0.999, 0.99, 1e-8  # torch's defaults


class Steps:
    """One round's steps of one site, from `position`, a vector (d,) that is moved in place."""

    def __init__(self, training: Training, position: Tensor) -> None:
        self._training, self._position, self._taken = training, position, 0
        self._velocity: Tensor | None = None
        if training.optimizer != "sgd":  # which keeps neither
            self._first, self._second = torch.zeros_like(position), torch.zeros_like(position)

    def step(self, gradient: Tensor) -> None:
        """One step against a gradient (d,)."""
        self._taken += 1
        rules = {"sgd": self._sgd, "adam": self._adam, "adamw": self._adamw, "rmsprop": self._rmsprop}
        rules[self._training.optimizer](gradient)

    def _sgd(self, gradient: Tensor) -> None:
        if momentum := self._training.momentum:
            if self._velocity is None:
                self._velocity = gradient.clone()
            else:
                self._velocity.mul_(momentum).add_(gradient)
            gradient = self._velocity
        self._position.add_(gradient, alpha=-self._training.learning_rate)

    def _adam(self, gradient: Tensor) -> None:
        self._first.lerp_(gradient, 1 - _BETA1)
        self._second.mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
        size = self._training.learning_rate / (1 - _BETA1**self._taken)
        roots = (self._second.sqrt() / (1 - _BETA2**self._taken) ** 0.5).add_(_EPSILON)
        self._position.addcdiv_(self._first, roots, value=-size)

    def _adamw(self, gradient: Tensor) -> None:
        decay = self._training.weight_decay or 0.0
        self._position.mul_(1 - self._training.learning_rate * decay)
        self._adam(gradient)

    def _rmsprop(self, gradient: Tensor) -> None:
        self._second.mul_(_ALPHA).addcmul_(gradient, gradient, value=1 - _ALPHA)
        self._position.addcdiv_(
            gradient, self._second.sqrt().add_(_EPSILON), value=-self._training.learning_rate
        )
