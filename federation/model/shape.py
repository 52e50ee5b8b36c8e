"""What is known of params without torch, which takes a second to load: how many they are, and their digest."""

from __future__ import annotations

from typing import Final

from federation.plan.outcomes import Survival, Tally
from federation.plan.plan import Plan
from federation.plan.tabular import MODELS, TabularTask
from privacy.wire import Octets, digest

HIDDEN: Final = 64
"""Width of the one hidden layer of "mlp": public and fixed, like every shape."""


def known_dimension(plan: Plan) -> int | None:
    """How many parameters the plan's model has, if it is one of ours; None if only code of the user's own knows."""
    table = plan.task
    if not isinstance(table, TabularTask) or table.model not in MODELS:
        return None
    inputs, outputs = table.inputs, table.outcome.outputs
    if isinstance(table.outcome, Tally):
        return inputs
    if isinstance(table.outcome, Survival):  # one score, and an intercept for each bin
        return outputs + ((inputs + 1) * HIDDEN + HIDDEN if table.model == "mlp" else inputs)
    if table.model == "mlp":
        return (inputs + 1) * HIDDEN + (HIDDEN + 1) * outputs
    return (inputs + 1) * outputs


def params_digest(data: Octets) -> bytes:
    """32 bytes that stand for params: in the mask keys, in the journal and in receipts."""
    return digest("federation/params/1", data)
