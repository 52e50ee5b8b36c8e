"""Checks the norms of a run whose clipping norm moves, and states a second time how its noise is divided."""

from __future__ import annotations

import math
from typing import Any

from federation.audit.findings import Findings
from federation.audit.receipts import Receipts
from federation.plan.plan import Plan
from privacy.errors import PrivacyError

_FLOAT32 = 1e-6  # relative


def divided(multiplier: float, noise: float, sites: int) -> tuple[float, float] | None:
    """Noise multiplier of the update, and deviation of the noise on the sum of bits; None where none is left.

    Andrew et al. 2021, theorem 1: z_update = (z^-2 - (2 sigma_b)^-2)^(-1/2).

    >>> divided(1.0, 0.05, 4) is None, divided(1.0, 0.05, 100)
    (True, (1.0050378152592121, 5.0))
    """
    bits = noise * sites
    left = multiplier**-2 - (2 * bits) ** -2
    return None if left <= 0 else (left**-0.5, bits)


def told_clipping(plan: Plan, receipts: Receipts) -> dict[str, Any]:
    """What a report has to tell of a norm that moves; nothing where it stays."""
    privacy, lines = plan.privacy, list(receipts.rounds.values())
    if not privacy.adapts:
        return {}
    cohort = min((len(line.cohort) for line in lines), default=plan.cohort.minimum)
    sites = cohort // (plan.secure_aggregation.groups or 1)
    left = divided(plan.kind.noise_multiplier, privacy.clipping_noise or 0.0, sites)
    said = {
        "quantile": privacy.clipping_quantile,
        "bounds": list(privacy.clipping_bounds or ()),
        "rate": privacy.clipping_rate,
        "noise": privacy.clipping_noise,
        "update_noise_multiplier": None if left is None else left[0],
    }
    return {"clipping": said | ({"last": lines[-1].clipping_norm} if lines else {})}


def check_clipping(receipts: Receipts, plan: Plan, found: Findings) -> None:
    """What is known of norms without any sum: where they begin, their bounds, and how far a round moves them."""
    privacy, known = plan.privacy, None
    if privacy.adapts:
        _check_divided(receipts, plan, found)
    rate, quantile = privacy.clipping_rate or 0.0, privacy.clipping_quantile or 0.0
    lowest, highest = privacy.clipping_bounds or (0.0, math.inf)
    least, most = (
        math.exp(-rate * (1 - quantile)) * (1 - _FLOAT32),
        math.exp(rate * quantile) * (1 + _FLOAT32),
    )
    for line in receipts.rounds.values():
        norm, where = line.clipping_norm, f"round {line.round}"
        if (norm is not None, line.model is not None) != (privacy.adapts, privacy.adapts):
            found.add(
                "clipping-not-followed", f"{where} names a norm that moves, or none, as the plan does not"
            )
            return
        if norm is None:
            continue
        if known is None and not math.isclose(norm, privacy.clipping_norm or 0.0, rel_tol=_FLOAT32):
            found.add("clipping-not-followed", f"{where} does not begin with the plan's clipping_norm")
        if known is not None and not known[0] <= norm <= known[1]:
            found.add("clipping-not-followed", f"{where} clips to a norm that no sum leads to")
        if not lowest * (1 - _FLOAT32) <= norm <= highest * (1 + _FLOAT32):
            found.add("clipping-not-followed", f"{where} clips to a norm outside of the plan's bounds")
        if line.is_lost:
            known = norm, norm
        else:
            known = max(norm * least, lowest * (1 - _FLOAT32)), min(norm * most, highest * (1 + _FLOAT32))


def _check_divided(receipts: Receipts, plan: Plan, found: Findings) -> None:
    """The bits of every cohort leave noise for the update; both together are the plan's."""
    groups, noise = plan.secure_aggregation.groups or 1, plan.privacy.clipping_noise or 0.0
    sizes = [len(cohort) // groups for line in receipts.lines for cohort in line.cohorts]
    try:
        multiplier = plan.kind.noise_multiplier
    except PrivacyError as error:
        found.add(
            "noise-too-small", f"the bits of the sites leave no noise for their updates: {error.message}"
        )
        return
    if any(divided(multiplier, noise, size) is None for size in sizes):
        found.add("noise-too-small", "the bits of a cohort take all of the noise")
