"""What stands beside the metrics of a simulation: intervals, a confusion matrix, a calibration curve, clipping."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from torch import Tensor, nn

from federation.model.params import Layout
from federation.plan.outcomes import Classes
from simulations.scoring.clipping import clipped_share
from simulations.scoring.curves import calibration_of, confusion_of
from simulations.scoring.metrics import intervals, predict
from simulations.scoring.scored import Scored
from simulations.world import World


def beside(world: World, model: nn.Module, places: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """Fields of a report's evaluation, from the records of each place ("pooled"). What fails is left out."""
    rules, found = world.plan.evaluation, dict[str, Any]()
    if not isinstance(world.outcome, Classes):
        return found
    with suppress(Exception):  # as any figure that a run can do without (simulations/optional.py)
        scores = {place: predict(model, features) for place, (features, _) in places.items()}
        found["intervals"] = {
            place: intervals(scores[place], labels, rules.metrics, rules.threshold)
            for place, (_, labels) in places.items()
        }
        scored = Scored.of(scores["pooled"], places["pooled"][1], rules.threshold)
        if scored is not None:
            found |= {"confusion": confusion_of(scored), "calibration": calibration_of(scored)}
    with suppress(Exception):
        data = {name: world.training[name] for name in world.listed}
        found["clipped"] = clipped_share(world.plan, world.task, data, Layout.of(model).flatten(model))
    if rules.threshold is not None:
        found["threshold"] = rules.threshold
    return {name: value for name, value in found.items() if value is not None}
