"""The kind of a plan that trains nothing: one noised sum of what the records are.

A histogram is the gradient of a linear loss. So the one round of such a plan is a step of DP-SGD over all records:
its clip is the length of a record's inputs, its step is the sum itself, and the params are the table. Charge,
noise, secure sum, transcript and audit are those of any other round.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from federation.config.schema import Mistake
from federation.kinds.allowed import Span
from federation.kinds.base import Parties
from federation.kinds.sums import SummedGradients

if TYPE_CHECKING:
    from torch import Tensor

SETTINGS = {
    ("federation", "rounds"): 1,
    ("training", "optimizer"): "sgd",
    ("training", "learning_rate"): 1.0,
    ("training", "local_steps"): 1,
    ("training", "sample_rate"): 1.0,
    ("server", "optimizer"): "average",
    ("server", "learning_rate"): 1.0,
    ("evaluation", "holdout"): 0.0,
    ("evaluation", "metrics"): (),
}
"""What has one value only; a plan may leave it out."""


@dataclass(frozen=True)
class Tallies(SummedGradients):
    """The inputs of all records, added up; of a patient, the mean of theirs."""

    def check(self) -> None:
        """Refuse what would make of the sum another figure, or protect nobody."""
        privacy, rules = self.rules.privacy, self.rules
        if privacy.noise == "none":
            hint = 'write "distributed", "site" or "central"'
            raise Mistake("would publish exact counts of people", hint, ("privacy", "noise"), unsafe=True)
        if privacy.unit == "client":
            hint = 'choose "record" or "patient"'
            raise Mistake("cannot protect a site as a whole", hint, ("privacy", "unit"))
        for (table, key), value in SETTINGS.items():
            if getattr(getattr(rules, table), key) != value:
                raise Mistake("has one value where nothing is trained", "remove it", (table, key))
        if privacy.clipping_norm != rules.task.norm:
            hint = "remove it: it follows from the columns"
            raise Mistake(f"is {rules.task.norm} for these columns", hint, ("privacy", "clipping_norm"))
        for table, key in (("training", "momentum"), ("training", "proximal"), ("server", "iterate_average"),
                           ("secure_aggregation", "groups"), ("evaluation", "threshold")):  # fmt: skip
            if getattr(getattr(rules, table), key) is not None:
                raise Mistake("means nothing where nothing is trained", "remove it", (table, key))
        if rules.cohort.weights != "uniform":
            raise Mistake("means nothing where records are counted", "remove it", ("cohort", "weights"))

    def span(self, parties: Parties, survivors: Collection[str]) -> Span:
        """Nothing is counted below zero, but for the rounding."""
        least = -len(survivors) * self.codec(parties).step / 2
        return replace(super().span(parties, survivors), lowest=least)

    def mean(self, parties: Parties, released: Tensor, survivors: Collection[str]) -> Tensor:
        """The sum itself."""
        del parties, survivors
        return released

    def noise_variance(self, parties: Parties, survivors: Collection[str], reduced: int = 0) -> float:
        """That on the sum."""
        return self.sum_variance(parties, len(survivors), reduced)
