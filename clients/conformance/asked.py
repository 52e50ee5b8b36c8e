"""What is asked of a task, what came of it, and what is known of our own without asking; no torch is needed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from federation.model.shape import known_dimension
from federation.plan.plan import Plan

Outcome = Literal["pass", "note", "fault", "skipped"]
ASKED: Final = {
    "model": "makes the same model every time, and one that can be trained privately",
    "mock": "makes mock records",
    "loss": "takes any number of records; one finite loss for each",
    "inputs": "leaves its inputs as they are",
    "parameters": "leaves its parameters to the optimizer",
    "settings": "leaves the settings of torch alone",
    "seed": "leaves the seed of torch alone",
    "generators": "draws from torch's generator, not from those of Python or NumPy",
    "repeats": "gives the same loss again",
    "gradients": "finite gradients reach every parameter",
    "alone": "treats every record by itself",
    "shapes": "takes no path, and has no shape, that follows from values",
    "metrics": "its metrics take outputs and labels",
    "files": "opens no file while it computes",
    "network": "opens no connection",
    "processes": "starts no process and no thread",
    "silent": "prints and logs nothing",
    "cost": "what a step takes, and what travels",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was asked, and what came of it. Its text may name what code did to made-up records."""

    check: str
    outcome: Outcome
    detail: str
    hint: str = ""

    @property
    def is_fault(self) -> bool:
        """Whether this has to be corrected before anybody trains."""
        return self.outcome == "fault"

    def to_json(self) -> dict[str, Any]:
        """As `federation check --json` prints it."""
        return asdict(self)


def of_ours(plan: Plan) -> list[Finding] | None:
    """What the kit finds of a task that is all this repository's; None for any other.

    Tests ask that of each of ours, in every version. Only how long a step takes is left out: no machine was asked.
    """
    names_parts = plan.base is not None or (plan.personal is not None and plan.personal.layers is not None)
    if names_parts or (dimension := known_dimension(plan)) is None:
        return None  # only the model itself tells whether it has the parts that the plan names
    found = {"cost": Finding("cost", "note", cost_told(dimension))}
    return [
        found.get(check, Finding(check, "pass", told)) for check, told in ASKED.items() if check != "metrics"
    ]


def cost_told(dimension: int) -> str:
    """What travels."""
    return f"{dimension} parameters, {4 * dimension} bytes down a round"
