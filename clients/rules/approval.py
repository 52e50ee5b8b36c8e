"""Which plans a site takes part in, and in how many runs of each: `policy.plans`.

Each run of a plan charges the budget anew, and under `noise = "none"` repeats the same vectors. So a digest stands
for one run, unless the site says how many; the ledger counts them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, Strict, field_validator

from federation.config.schema import Mistake, Table

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Approval(Table):
    """One of `policy.plans`: a plan by its digest, and how many runs of it the site takes part in."""

    digest: str = Field(examples=['"sha256:..."'])
    runs: int = Field(default=1, ge=1, le=1_000_000, examples=["3"])

    @field_validator("digest")
    @classmethod
    def _digest(cls, digest: str) -> str:
        return _whole(digest)


def _whole(digest: object) -> str:
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise Mistake("must be digests", 'copy "sha256:..." from: federation check PLAN')
    return digest


def _one_run_each(plans: Any) -> Any:
    """A digest alone stands for one run."""
    if not isinstance(plans, list | tuple):
        return plans
    for plan in plans:
        if not isinstance(plan, Mapping | Approval):
            _whole(plan)
    return tuple({"digest": plan} if isinstance(plan, str) else plan for plan in plans)


Approvals = Annotated[tuple[Approval, ...], BeforeValidator(_one_run_each), Strict(False)]
