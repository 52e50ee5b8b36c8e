"""Whether what sites keep for themselves, after the last round or between rounds, fits the rest of a plan.

Nothing that is made of records and kept at a site may enter a later release unless that is inside of what is
charged (docs/decisions/0065). Layers that are kept from round to round enter every later gradient. Where a whole
site is protected that is inside: whatever it remembers, its update is clipped as a whole. Where records are, the
layers have to be noised themselves, which only noise at the site does.
"""

from __future__ import annotations

from collections.abc import Sequence

from federation.config.schema import Mistake
from federation.config.tables import Rules

_KEPT = ("personal", "kept")


def named(layers: Sequence[str]) -> str:
    """Layers by name, in words.

    >>> named(["2"]), named(["0", "2"])
    ('layer 2', 'layers 0, 2')
    """
    return f"{'layer' if len(layers) == 1 else 'layers'} {', '.join(layers)}"


def told_of_kept(layers: Sequence[str], numbers: int) -> str:
    """What a model lacks whose sites keep layers for themselves, in words."""
    return (
        f"Each site keeps {named(layers)} ({numbers:,} numbers) for itself: no message and no file of the run has "
        "them. In a whole model that is made of the run alone, and in all figures of it, they are as the plan's "
        "seed began them, so nobody uses that model; a site's own has what the site kept."
    )


def kept_of(plan: Rules) -> tuple[tuple[str, ...], int] | None:
    """The layers that sites keep, and how many numbers they hold; None where all travel."""
    return None if plan.personal is None or not plan.kept else (plan.personal.layers or (), plan.kept)


def check_personal(plan: Rules, *, trains: bool) -> None:
    """Raise a Mistake for a personal model, or for kept layers, that the plan cannot have."""
    if plan.personal is None:
        return
    if not trains:
        raise Mistake("means nothing where nothing is trained", "remove the table", ("personal",))
    if not plan.kept:
        return
    unit, noise = plan.privacy.unit, plan.privacy.noise
    if unit != "client" and noise in ("distributed", "central"):
        reason = (
            f'is not covered by {unit}-level "{noise}" noise: that is in the sum and not in what a site keeps, '
            f"so one {unit} would move the later gradients of all others"
        )
        hint = 'remove it, or choose privacy.noise = "site" or privacy.unit = "client"'
        raise Mistake(reason, hint, _KEPT, unsafe=True)
    if plan.evaluation.folds is not None:
        raise Mistake("cannot stand beside evaluation.folds", "remove one of the two", _KEPT)
    if plan.evaluation.epsilon is not None:
        reason = "cannot stand beside evaluation.epsilon: figures are of the released model alone"
        raise Mistake(reason, "remove one of the two", _KEPT)
