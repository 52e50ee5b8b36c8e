"""What a file of a model says of itself: a document of JSON in its metadata, and a sentence for people.

All of it follows from the plan, the receipts and the params, which were released. Of a run without privacy it says
so first.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final

from torch import Tensor

from clients.exporting.schema import Json, input_of, output_of
from federation.model.params import params_bytes, params_digest
from federation.plan.columns.encoder import encoders_of, promise
from federation.plan.guarantee import cost_for, epsilons
from federation.plan.personal import kept_of, told_of_kept
from federation.plan.plan import Plan
from federation.report.said.finished import Finished
from privacy.accounting.units import Patient

SCHEMA: Final = "federation.model/1"
KEY: Final = "federation"
"""Under which the document stands in every file."""
_UNITS = {"record": "one record", "patient": "one patient", "client": "one site"}
_NOT_PRIVATE = "NOT PRIVATE: this model was trained without noise, and may say of records what they hold"


@dataclass(frozen=True)
class Stated:
    """The document: `content` as JSON has it, `sentence` is the guarantee in words."""

    sentence: str
    content: Json = field(repr=False)

    @property
    def texts(self) -> dict[str, str]:
        """By key, for metadata that hold texts."""
        return {
            KEY: json.dumps(self.content, allow_nan=False, ensure_ascii=False),
            "guarantee": self.sentence,
        }


def stated(
    run: Finished, example: Tensor, outputs: Tensor, done: Sequence[Json] = (), beside: Json | None = None
) -> Stated:
    """The document of a run's model, to which was done what `done` says, in order; `beside`: what it lost by it."""
    guarantee = _guarantee(run.plan)
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "made_by": f"private-federation {version('private-federation')}",
        "name": run.plan.federation.name,
        "plan_digest": run.plan.digest,
        "params_digest": params_digest(params_bytes(run.params)).hex(),
        "simulated": run.simulated,
        "guarantee": guarantee,
        "model": run.table.model if run.table is not None else run.plan.code,
        "not_covered": _not_covered(run.plan),
        **({} if (kept := kept_of(run.plan)) is None else {"kept_layers": told_of_kept(*kept)}),
        "input": input_of(run, example),
        "output": output_of(run, outputs),
        "done": list(done),
        **({} if beside is None else {"beside_the_run": beside}),
    }
    return Stated(_sentence(run.plan, guarantee, run.simulated), content)


def _not_covered(plan: Plan) -> list[str]:
    """Of whom epsilon says nothing: people in the data that a frozen base or an encoder was trained on."""
    base = [] if plan.base is None else [f"base {plan.base.digest}: {plan.base.told}"]
    return base + [promise(one.name, one.trained_on) for one in encoders_of(plan.task)]


def _guarantee(plan: Plan) -> Json:
    privacy = plan.privacy
    said: Json = {"private": plan.is_private, "unit": privacy.unit, "noise": privacy.noise}
    if not plan.is_private:
        return said | {"epsilon": None, "delta": None}
    return said | {"delta": privacy.delta, **epsilons(cost_for(plan, privacy.unit, Patient()))}


def _sentence(plan: Plan, guarantee: Json, simulated: bool) -> str:
    if not plan.is_private:
        return _NOT_PRIVATE
    whole = guarantee.get("together", guarantee)["epsilon"]
    figure = "no bound" if whole is None else f"epsilon {whole:.4g} at delta {plan.privacy.delta:g}"
    aside = (
        "; it says nothing of people in the data of what was trained elsewhere" if _not_covered(plan) else ""
    )
    where = "; a simulation, whose data were in one place" if simulated else ""
    return f"{figure} for {_UNITS[plan.privacy.unit]} at a site, noise {plan.privacy.noise}{aside}{where}"
