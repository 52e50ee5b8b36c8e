"""What may be spent, what is left, and the refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from privacy.accountant import check_delta, epsilon
from privacy.errors import BudgetExceeded, UnsafeParameters
from privacy.events import Event, is_number


@dataclass(frozen=True)
class Budget:
    """Everything that is ever released about one population stays within `epsilon` at `delta`.

    An infinite epsilon is no budget at all, and the only one that admits a release without noise.
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        if self.epsilon != float("inf") and not (is_number(self.epsilon) and self.epsilon > 0):
            raise UnsafeParameters("a budget's epsilon must be above 0")
        check_delta(self.delta)


def admit(spent: Sequence[Event], asked: Event, budget: Budget) -> float:
    """Epsilon after `asked` on top of `spent`, if the budget holds it; BudgetExceeded if not.

    Sound when `asked` is a whole plan, fixed before it starts, and plans are admitted one after another.
    """
    after = epsilon([*spent, asked], budget.delta)
    if after > budget.epsilon:
        before, alone = epsilon(spent, budget.delta), epsilon([asked], budget.delta)
        raise BudgetExceeded(
            f"the budget is epsilon {budget.epsilon:.4g} at delta {budget.delta:g}: "
            f"{before:.4g} is spent, this plan asks for {alone:.4g}, together {after:.4g}",
            hint="plan a smaller epsilon, or have the site's budget raised",
        )
    return after
