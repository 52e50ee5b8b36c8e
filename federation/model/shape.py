"""What is known of params without torch, which takes a second to load: how many they are, and their digest."""

from __future__ import annotations

from typing import Final

from federation.model.images.sizes import params_of
from federation.plan.outcomes import Survival, Tally
from federation.plan.plan import Plan
from federation.plan.tabular import CNN, MODELS, TabularTask
from privacy.wire import Octets, digest

HIDDEN: Final = 64
"""Width of the one hidden layer of "mlp": public and fixed, like every shape."""
RECURRENT: Final = 16
"""Width of the state of "gru"."""
ATTENDED: Final = 16
HEADS: Final = 2
FORWARD: Final = 32
"""Width, heads and hidden layer of the one layer of "transformer"."""


def known_dimension(plan: Plan) -> int | None:
    """How many parameters travel, if the plan's model is one of ours; None if only the model itself knows."""
    table = plan.task
    if plan.kept or not isinstance(table, TabularTask) or table.model not in MODELS:
        return None
    inputs, outputs = table.inputs, table.outcome.outputs
    if isinstance(table.outcome, Tally):
        return inputs
    if table.model == CNN and table.image is not None:
        hazards = isinstance(table.outcome, Survival)  # one score without an intercept, and one for each bin
        return params_of(inputs, 1 if hazards else outputs, table.image[1].shape) + hazards * (outputs - 1)
    if isinstance(table.outcome, Survival):
        return outputs + ((inputs + 1) * HIDDEN + HIDDEN if table.model == "mlp" else inputs)
    if table.model in ("gru", "transformer"):
        return _of_windows(table, outputs)
    return (inputs + 1) * HIDDEN + (HIDDEN + 1) * outputs if table.model == "mlp" else (inputs + 1) * outputs


def _of_windows(table: TabularTask, outputs: int) -> int:
    if table.model == "gru":
        return 3 * RECURRENT * (table.width + 1 + RECURRENT + 1) + (RECURRENT + 1) * outputs
    norms, attention = 3 * 2 * ATTENDED, 4 * ATTENDED * (ATTENDED + 1)
    forward = (ATTENDED + 1) * FORWARD + (FORWARD + 1) * ATTENDED
    return (table.width + 1) * ATTENDED + norms + attention + forward + (ATTENDED + 1) * outputs


def params_digest(data: Octets) -> bytes:
    """32 bytes that stand for params: in the mask keys, in the journal and in receipts."""
    return digest("federation/params/1", data)
