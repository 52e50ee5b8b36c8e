"""All that is looked at before a site joins: its own things, the way to the coordinator, the plans at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clients.policy import SiteFile
from clients.preflight.finding import Finding, wrong
from clients.preflight.network import network
from clients.preflight.own import own_findings
from clients.preflight.plans import PlanSeen, look_at, missing_plans, plans_at_hand
from clients.preflight.program import program
from federation.config.purpose import TITLES
from federation.errors import PlanError
from federation.log import note, warn
from federation.plan.plan import Plan


@dataclass(frozen=True)
class Seen:
    """All findings, those about plans last, and the plans."""

    findings: tuple[Finding, ...]
    plans: tuple[PlanSeen, ...]

    def note(self) -> None:
        """Tell the log: what is odd, what was looked at, and what will leave. Errors are raised, not logged."""
        for finding in self.findings:
            if finding.level == "warning":
                warn("warning", detail="; ".join(filter(None, (finding.detail, finding.cure))))
        note("checked", checks=[finding.name for finding in self.findings if finding.level == "ok"])
        for seen in self.plans:
            told = dict(seen.leaves)
            note(
                "will_leave",
                name=seen.name,
                plan=seen.plan.digest,
                purpose=dict(seen.purpose).get(TITLES["use"]),
                detail=told["each round"],
                risk=told["risk"],
            )


def look(
    rules: SiteFile, path: Path, named: Sequence[Path], *, by_socket: bool = False, is_patient: bool = False
) -> Seen:
    """Look at everything; nothing is raised, written, or sent but what a connection takes.

    `by_socket`: flower-supernode connects, and not this process. `is_patient`: a coordinator that does not answer
    now is no error, since the site will wait for it.
    """
    known = plans_at_hand(rules, path, named)
    plans = [plan for plan in known.values() if isinstance(plan, Plan)]
    # Data are read once: a plan says more about them than that they are a table.
    findings = [program(), *own_findings(rules, path, is_node=not by_socket, reads_data=not plans)]
    if not by_socket:
        findings += network(rules, path, is_patient=is_patient)
    findings += [wrong("plan", error) for error in known.values() if isinstance(error, PlanError)]
    seen: list[PlanSeen] = []
    if not any(finding.level == "error" for finding in findings):
        seen = [look_at(plan, file, rules, path) for file, plan in known.items() if isinstance(plan, Plan)]
    findings += [finding for plan in seen for finding in plan.findings]
    findings += missing_plans(rules, plans)
    return Seen(tuple(findings), tuple(seen))
