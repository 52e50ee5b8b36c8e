"""The outcome of an audit: verdict, findings, releases planned, charged and begun, and epsilon for each unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from federation.audit.findings import Finding
from federation.audit.measured.evidence import Measured
from privacy.accounting.bounds import Bounds
from privacy.accounting.risks.recounted import RiskBounds
from privacy.canonical import finite


@dataclass(frozen=True)
class Claim:
    """An epsilon that somebody claims, and the bounds that the auditor's accountant gives."""

    claimed: float | None = None
    recomputed: Bounds | None = None

    def to_json(self) -> dict[str, float | None]:
        """Plain data: the claim and both bounds, null where there is none or it is infinite."""
        lower, upper = self.recomputed or (None, None)
        return {"claimed": self.claimed, "recomputed": finite(upper), "at_least": finite(lower)}


@dataclass(frozen=True)
class RiskClaim:
    """What the report says of the whole run, and the bounds of the auditor's accountant; None where nothing is."""

    unit: str
    claimed: Mapping[str, Any] | None
    recomputed: RiskBounds | None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        found = self.recomputed
        return {
            "unit": self.unit,
            "claimed": self.claimed,
            "recomputed": None if found is None else found.upper.to_json(),
            "at_least": None if found is None else found.lower.to_json(),
        }


@dataclass(frozen=True)
class Steps:
    """How many releases of a site were planned, charged and begun; None where no ledger tells."""

    planned: int
    charged: int | None
    executed: int | None


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
    evaluated: Bounds | None = None  # epsilon of the evaluation, for people held out
    together: Claim | None = None  # of both composed; None where the plan publishes none

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        evaluation = None
        if self.evaluation is not None:
            evaluation = {"steps": asdict(self.evaluation), "epsilon": Claim(None, self.evaluated).to_json()}
        return {
            "id": self.id,
            "ledger": self.ledger or None,
            "entries": self.entries,
            "simulated": self.simulated,
            "steps": asdict(self.training),
            "epsilon": Claim(self.claimed, self.recomputed).to_json(),
            "evaluation": evaluation,
            "together": None if self.together is None else self.together.to_json(),
        }


@dataclass(frozen=True)
class Cost:
    """What a run costs one unit: by its training, by its evaluation if there is one, and by both together."""

    training: Bounds
    evaluation: Bounds | None
    total: Bounds

    def to_json(self) -> dict[str, float | None]:
        """Plain data: upper bounds, null where there is none."""
        parts = {"training": self.training, "evaluation": self.evaluation, "total": self.total}
        return {name: None if part is None else finite(part.upper) for name, part in parts.items()}


@dataclass(frozen=True)
class Sums:
    """How many sums a run opened, how many are proven by what sites signed, and up to which round params follow.

    `left_out` says why there is nothing to prove them by; "" if there is.
    """

    opened: int = 0
    verified: int = 0
    followed: int = 0
    left_out: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"left_out": self.left_out or None}


@dataclass(frozen=True)
class Audit:
    """The outcome of an audit. `delta` is the plan's; `units` is empty for a plan without privacy."""

    run: str
    findings: tuple[Finding, ...]
    not_checked: tuple[str, ...] = ()
    plan_digest: str = ""
    simulated: bool | None = None
    delta: float | None = None
    training: Claim = Claim()
    evaluation: Claim | None = None  # None where the plan publishes none
    together: Claim | None = None  # of training and evaluation composed
    risk: RiskClaim | None = None  # of the whole run; None without privacy
    units: Mapping[str, Cost] = field(default_factory=dict)
    sites: tuple[SiteAudit, ...] = ()
    entries_verified: int = 0
    sums: Sums = Sums()
    measured: tuple[Measured, ...] = ()

    @property
    def verdict(self) -> Literal["pass", "fail"]:
        """Whether nothing critical was found."""
        return "fail" if any(finding.severity == "critical" for finding in self.findings) else "pass"

    @property
    def without_ledger(self) -> tuple[str, ...]:
        """The ids of the sites without a ledger: only what others say of them could be verified."""
        return tuple(site.id for site in self.sites if not site.ledger)

    def to_json(self) -> dict[str, Any]:
        """Plain data; an epsilon is null if it is infinite, or if nothing claims it."""
        return {
            "verdict": self.verdict,
            "run": self.run,
            "plan_digest": self.plan_digest,
            "simulated": self.simulated,
            "findings": [finding.to_json() for finding in self.findings],
            "epsilon": {**self.training.to_json(), "delta": self.delta},
            "evaluation": None if self.evaluation is None else self.evaluation.to_json(),
            "together": None if self.together is None else self.together.to_json(),
            "risk": None if self.risk is None else self.risk.to_json(),
            "units": {unit: cost.to_json() for unit, cost in self.units.items()},
            "sites": [site.to_json() for site in self.sites],
            "entries_verified": self.entries_verified,
            "sums_verified": self.sums.verified,
            "sums": self.sums.to_json(),
            "measured": [one.to_json() for one in self.measured],
            "not_checked": list(self.not_checked),
        }
