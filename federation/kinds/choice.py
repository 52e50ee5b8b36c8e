"""Which kind of release a plan asks for."""

from __future__ import annotations

from federation.config.tables import Rules
from federation.kinds.base import Kind
from federation.kinds.figures import Figures
from federation.kinds.sums import ClippedUpdate, SummedGradients
from federation.kinds.updates import NoisedSteps, PlainUpdate


def kind_of(rules: Rules) -> Kind:
    """What the training rounds of a plan release."""
    privacy = rules.privacy
    if privacy.noise == "none":
        return PlainUpdate(rules)
    if privacy.unit == "client":
        return ClippedUpdate(rules)
    return NoisedSteps(rules) if privacy.noise == "site" else SummedGradients(rules)


def figures_of(rules: Rules) -> Figures | None:
    """What the round after the last releases; None if the plan publishes no evaluation."""
    return None if rules.evaluation.epsilon is None else Figures(rules)
