"""What an audit says at the end: verdict, findings, what was planned, charged and done, and what it costs whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from federation.audit.findings import Finding
from privacy.accounting.bounds import Bounds
from privacy.canonical import finite

Both: TypeAlias = dict[str, float | None]


def both(claimed: float | None, recomputed: Bounds | None) -> Both:
    """An epsilon as claimed, and the bounds of what it is."""
    lower, upper = recomputed or (None, None)
    return {"claimed": claimed, "recomputed": finite(upper), "at_least": finite(lower)}


@dataclass(frozen=True)
class Steps:
    """How many releases of a site were planned, charged and begun; None where no ledger tells."""

    planned: int
    charged: int | None
    executed: int | None

    def to_json(self) -> dict[str, int | None]:
        """Plain data."""
        return {"planned": self.planned, "charged": self.charged, "executed": self.executed}


@dataclass(frozen=True)
class SiteAudit:
    """One site of the run: its releases in training and evaluation, and epsilon as claimed and as recounted."""

    id: str
    ledger: str  # the file it was read from; "" if there is none
    entries: int
    simulated: bool | None
    training: Steps
    evaluation: Steps | None  # None where the plan publishes none
    claimed: float | None
    recomputed: Bounds | None
    evaluated: Bounds | None = None  # epsilon of the evaluation, of people held out

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "id": self.id,
            "ledger": self.ledger or None,
            "entries": self.entries,
            "simulated": self.simulated,
            "steps": self.training.to_json(),
            "epsilon": both(self.claimed, self.recomputed),
            "evaluation": None
            if self.evaluation is None
            else {"steps": self.evaluation.to_json(), "epsilon": both(None, self.evaluated)},
        }


@dataclass(frozen=True)
class Cost:
    """What a run costs one unit: by its training, by its evaluation if there is one, and by both together."""

    training: Bounds
    evaluation: Bounds | None
    total: Bounds

    def to_json(self) -> Both:
        """Plain data: upper bounds, null where there is none."""
        evaluation = None if self.evaluation is None else finite(self.evaluation.upper)
        return {
            "training": finite(self.training.upper),
            "evaluation": evaluation,
            "total": finite(self.total.upper),
        }


@dataclass(frozen=True)
class Claim:
    """An epsilon that somebody claims, and the bounds that the auditor's accountant gives."""

    claimed: float | None = None
    recomputed: Bounds | None = None


@dataclass(frozen=True)
class Audit:
    """The outcome."""

    run: str
    findings: tuple[Finding, ...]
    not_checked: tuple[str, ...] = ()
    plan_digest: str = ""
    simulated: bool | None = None
    delta: float | None = None
    training: Claim = Claim()
    evaluation: Claim | None = None  # None where the plan publishes none
    units: Mapping[str, Cost] = field(default_factory=dict)
    sites: tuple[SiteAudit, ...] = ()
    entries_verified: int = 0

    @property
    def verdict(self) -> Literal["pass", "fail"]:
        """Whether nothing critical was found."""
        return "fail" if any(finding.severity == "critical" for finding in self.findings) else "pass"

    @property
    def without_ledger(self) -> tuple[str, ...]:
        """The sites of which nothing could be verified but what others say."""
        return tuple(site.id for site in self.sites if not site.ledger)

    def to_json(self) -> dict[str, Any]:
        """Plain data; an epsilon without bound is null, and so is one that nobody claimed."""
        return {
            "verdict": self.verdict,
            "run": self.run,
            "plan_digest": self.plan_digest,
            "simulated": self.simulated,
            "findings": [finding.to_json() for finding in self.findings],
            "epsilon": {**both(self.training.claimed, self.training.recomputed), "delta": self.delta},
            "evaluation": None
            if self.evaluation is None
            else both(self.evaluation.claimed, self.evaluation.recomputed),
            "units": {unit: cost.to_json() for unit, cost in self.units.items()},
            "sites": [site.to_json() for site in self.sites],
            "entries_verified": self.entries_verified,
            "not_checked": list(self.not_checked),
        }
