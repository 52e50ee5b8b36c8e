"""What an audit can find, and how much each thing matters.

Every finding has an id that scripts may rely on. "critical" means that a claim does not hold, or that a file is not
what the others say it is; the audit then fails. "warning" is for a person to look at; "info" explains something.
Details name sites, rounds and fields, and never show a value of the data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from federation.log import printable

Severity = Literal["critical", "warning", "info"]

SEVERITIES: Mapping[str, Severity] = {
    # the files of the run
    "plan-unreadable": "critical",
    "plan-older": "info",
    "roster-unreadable": "critical",
    "roster-unsigned": "critical",
    "roster-of-others": "warning",
    "receipts-unreadable": "critical",
    "receipt-damaged": "info",
    "receipt-invalid": "critical",
    "receipt-of-another-run": "critical",
    "receipt-missing": "critical",
    "receipt-beyond-plan": "critical",
    "receipt-order": "critical",
    "receipt-contradiction": "critical",
    "receipt-cohort": "critical",
    "receipt-replayed": "info",
    "round-without-sum": "warning",
    "sum-unlikely": "warning",
    "sum-refused": "warning",
    "sum-accepted": "critical",
    "params-chain": "critical",
    "params-start": "warning",
    "params-unreadable": "critical",
    "params-mismatch": "critical",
    "closing-missing": "critical",
    "closing-mismatch": "critical",
    "run-unfinished": "warning",
    "run-forgotten": "info",
    "report-unreadable": "critical",
    "report-mismatch": "critical",
    "page-mismatch": "critical",
    "page-unmarked": "warning",
    "page-differs": "warning",
    "report-older": "warning",
    "simulated-claim": "critical",
    # the sums
    "transcript-missing": "critical",
    "transcript-altered": "critical",
    "transcript-refused": "critical",
    "transcript-unnamed": "warning",
    "sum-unproven": "critical",
    "params-not-followed": "critical",
    "average-not-followed": "critical",
    "clipping-not-followed": "critical",
    "sums-in-the-clear": "info",
    # a site's ledger
    "consent-missing": "critical",
    "consent-invalid": "critical",
    "consent-forged": "critical",
    "consent-roster": "critical",
    "consent-of-another-run": "critical",
    "site-revoked": "info",
    "ledger-missing": "warning",
    "ledger-missing-in-simulation": "critical",
    "ledger-unreadable": "critical",
    "ledger-broken": "critical",
    "ledger-history": "critical",
    "ledger-swapped": "critical",
    "ledger-forked": "critical",
    "ledger-of-no-participant": "info",
    "ledger-key": "critical",
    "ledger-roster": "critical",
    "ledger-truncated": "critical",
    "ledger-rewritten": "critical",
    "ledger-of-another-pool": "critical",
    "ledger-restored": "warning",
    "ledger-unwitnessed": "warning",
    "release-unblinded": "warning",
    "head-forged": "critical",
    "head-missing": "critical",
    "head-of-no-participant": "warning",
    "budget-raise-unapproved": "critical",
    "budget-raised": "info",
    "budget-exceeded": "critical",
    "key-rotated": "info",
    # what a site did in this run
    "run-unreserved": "critical",
    "run-of-another-plan": "critical",
    "charge-mismatch": "critical",
    "rounds-mismatch": "critical",
    "round-uncharged": "critical",
    "round-lost": "warning",
    "round-unopened": "warning",  # a site may be lost after its vote, and the others open the sum
    "round-question": "critical",
    "round-survivors": "critical",
    "round-without-receipt": "warning",
    "release-not-summed": "info",
    "run-open": "info",
    "site-left": "info",
    "suite-broken": "critical",
    "suite-outdated": "warning",
    # what was measured of an installation
    "measurement-invalid": "critical",
    "mechanism-falsified": "critical",
    # the evaluation
    "evaluation-missing": "critical",
    "fold-missing": "critical",
    "evaluation-unplanned": "critical",
    "evaluation-figures": "critical",
    # the claim
    "noise-too-small": "critical",
    "epsilon-understated": "critical",
    "risk-understated": "critical",
    "not-private": "info",
}
_MOST = 12  # findings of one kind at one site that are told one by one


@dataclass(frozen=True)
class Finding:
    """One thing found: `site` is None where no single site is concerned."""

    id: str
    site: str | None
    detail: str

    @property
    def severity(self) -> Severity:
        """How much it matters."""
        return SEVERITIES[self.id]

    def to_json(self) -> dict[str, str | None]:
        """Plain data."""
        return {"id": self.id, "severity": self.severity, "site": self.site, "detail": self.detail}


class Findings:
    """Collects findings while the audit goes on."""

    def __init__(self) -> None:
        self._found: list[Finding] = []
        self._counts: Counter[tuple[str, str | None]] = Counter()
        self.not_checked: list[str] = []

    def add(self, name: str, detail: str, site: str | None = None) -> None:
        """Note a finding; of many alike, the first few."""
        self._counts[name, site] += 1
        if self._counts[name, site] <= _MOST:
            self._found.append(Finding(name, site and printable(site), printable(detail)))

    def skip(self, what: str) -> None:
        """Note what could not be checked, and why."""
        if (told := printable(what)) not in self.not_checked:
            self.not_checked.append(told)

    def sorted(self) -> tuple[Finding, ...]:
        """The gravest first, otherwise in the order in which they were found."""
        rest = [
            Finding(name, site, f"and {count - _MOST} more of this kind")
            for (name, site), count in self._counts.items()
            if count > _MOST
        ]
        order = ("critical", "warning", "info")
        return tuple(sorted([*self._found, *rest], key=lambda finding: order.index(finding.severity)))
