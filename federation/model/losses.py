"""The losses of what a plan can predict: one number per record, and its slope in the model's outputs by formula.

Each is a frozen value, so two plans of the same settings have equal losses. All treat every record by itself. A
person's intervals of time are one record's one loss, whose gradient is clipped once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


class Known(ABC):
    """A loss of ours. Outputs (n, outputs), labels (n, ...) to (n,)."""

    @abstractmethod
    def __call__(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The loss of every record."""


class Single(Known):
    """A loss of one output, of which the slope is known."""

    @abstractmethod
    def of(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The losses of outputs (...) and labels (...), or (..., 2)."""

    @abstractmethod
    def slope(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Their derivative in the output (...)."""

    def __call__(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The loss of every record."""
        return self.of(outputs.squeeze(1), labels)


@dataclass(frozen=True)
class Squared(Single):
    """The squared error, in units of half the public range."""

    def of(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """(output - label)^2."""
        return (outputs - labels).square()

    def slope(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Twice the error."""
        return 2 * (outputs - labels)


@dataclass(frozen=True)
class Huber(Single):
    """Huber's loss: half the squared error up to `delta`, a line beyond it."""

    delta: float

    def of(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """As torch has it."""
        errors = outputs - labels
        near = errors.clamp(-self.delta, self.delta)
        return near * (errors - near / 2)

    def slope(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The error, no longer than `delta`."""
        return (outputs - labels).clamp(-self.delta, self.delta)


@dataclass(frozen=True)
class Poisson(Single):
    """The negative log likelihood of a count, but for what does not depend on the model; outputs are log rates."""

    def of(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Exposure exp(output) - count output."""
        counts, exposures = counted(labels, outputs)
        return exposures * outputs.exp() - counts * outputs

    def slope(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The expected count less the count."""
        counts, exposures = counted(labels, outputs)
        return exposures * outputs.exp() - counts


@dataclass(frozen=True)
class Output(Single):
    """The output itself: the gradient of a linear model is then the record's inputs, which add up to counts."""

    def of(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The outputs."""
        return outputs + torch.zeros_like(labels, dtype=outputs.dtype)

    def slope(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """One."""
        del labels
        return torch.ones_like(outputs)


@dataclass(frozen=True)
class Hinge(Known):
    """The hinge loss of a support vector machine, of any number of classes (Weston and Watkins 1999).

    Outputs are scores and no logits: what is learned is which class is ahead, by a margin of 1, and no chance.
    """

    def __call__(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """What each other class lacks of being 1 behind the record's own, the mean over all classes."""
        own = torch.arange(outputs.shape[1], device=labels.device) == labels.unsqueeze(1)
        ahead = (outputs * own).sum(dim=1, keepdim=True)
        lacks = (1 + outputs - ahead).clamp(min=0)
        return lacks.masked_fill(own, 0.0).mean(dim=1)


@dataclass(frozen=True)
class Hazards(Known):
    """The negative log likelihood of a person's intervals, added up: outputs are the logits of the hazards."""

    def __call__(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """For every interval that a person came through, and for that of an event, one term of a logistic loss."""
        risk, event = at_risk(labels, outputs.shape[1])
        return (functional.softplus(outputs) * risk - outputs * event).sum(dim=1)


def counted(labels: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Counts and exposures of labels (...), of an exposure of 1, or (..., 2), beside outputs (...)."""
    if labels.dim() == outputs.dim():
        return labels, torch.ones_like(outputs)
    return labels[..., 0], labels[..., 1]


def at_risk(labels: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Whether each person was at risk in each bin, and whether the event was in it: (n, bins), 0 or 1."""
    places = torch.arange(bins, device=labels.device)
    through, ended = (labels // 2).unsqueeze(1), (labels % 2).unsqueeze(1)
    event = (places == through) & (ended == 1)
    return ((places < through) | event).to(torch.float32), event.to(torch.float32)
