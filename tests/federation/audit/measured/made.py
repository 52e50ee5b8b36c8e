"""Figures as a right installation shows them, without the trouble of measuring one."""

from __future__ import annotations

from dataclasses import replace

from federation.audit.measured.figures import Figures
from federation.plan.plan import Plan


def figures_of(plan: Plan, **changes: object) -> Figures:
    """Exactly what is expected under a plan."""
    norm, rate, releases = plan.privacy.clipping_norm or 0.0, plan.kind.sample_rate, plan.kind.releases
    coins, quiet, rounding = 2000 * releases, 1000 * releases, 0.004 * (plan.privacy.clipping_norm or 0.0)
    deviation = plan.kind.noise_multiplier * (norm + rounding)
    made = Figures(
        rounds=plan.federation.rounds,
        releases=releases,
        sites=3,
        rounding=rounding,
        quiet=quiet,
        squares=quiet * deviation * deviation,
        coins=coins,
        long=coins * rate * norm,
        short=coins * rate * norm / 2,
        short_length=norm / 2,
        vectors=releases,
        length=1000,
        share=1 / max(1, releases),
        likeness=0.1,
        follows=True,
        reach=norm,
        reach_rounding=rounding / 10,
        canaries=1000,
        guessed_after=releases,
        guesses=((50, 40), (100, 75), (1000, 610)),
    )
    return replace(made, **changes)  # type: ignore[arg-type]
