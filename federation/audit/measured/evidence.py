"""Measurements that were handed in with a run: whose they are, and what they come to under the run's own plan.

One counts if it is of this plan and signed by the key that the roster has for its site. What it says is then
evidence of what that site's installation did with made-up records, on the day that the site names. It is no
evidence of what the site did in the run, and none of epsilon.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from federation.audit.findings import Findings
from federation.audit.measured.judging import CAVEAT, Verdict, judged
from federation.audit.measured.record import Measurement
from federation.audit.untrusted import is_regular, text_of
from federation.errors import UnusableFile
from federation.plan.plan import Plan
from federation.report.numbers import short
from privacy.errors import PrivacyError
from privacy.roster import Roster


@dataclass(frozen=True)
class Measured:
    """What a site signed, and the verdict that follows from it."""

    site: str
    when: str
    version: str
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        said = {"site": self.site, "when": self.when, "version": self.version}
        return said | {"made_up_records": True} | self.verdict.to_json()

    @property
    def headline(self) -> str:
        """The verdict, and its figures with their limits."""
        false = self.verdict.falsified
        told = [f"{look.name} {_told(look.limits)}" for look in self.verdict.looks if look.name in _SHOWN]
        word = f"FALSIFIED ({', '.join(false)})" if false else "pass"
        return f"{word}: {', '.join(told)}, where the plan says epsilon {short(self.verdict.claimed)}"

    @property
    def origin(self) -> str:
        """Where the figures are from."""
        return f"on made-up records, {self.when} by its clock, version {self.version}; {CAVEAT}"


_SHOWN = ("noise multiplier", "sample rate", "clipping bound", "releases", "epsilon")


def _told(limits: Sequence[float] | None) -> str:
    if limits is None:
        return "n/a"
    found, lower, upper = limits
    return short(found) if lower == upper else f"{short(found)} ({short(lower)} to {short(upper)})"


def require_there(paths: Sequence[Path]) -> None:
    """UnusableFile for a measurement that was handed in and is no file."""
    for path in paths:
        if not is_regular(path):
            hint = "federation rehearse PLAN --site SITE --out FILE.json"
            raise UnusableFile("there is no such measurement", hint=hint, path=path)


def read_measured(
    paths: Sequence[Path], plan: Plan | None, roster: Roster | None, found: Findings
) -> tuple[Measured, ...]:
    """All that count, in the order of their sites. A finding for each that does not, or that falsifies the plan."""
    return tuple(sorted(_read(paths, plan, roster, found), key=lambda one: (one.site, one.when)))


def _read(
    paths: Sequence[Path], plan: Plan | None, roster: Roster | None, found: Findings
) -> Iterator[Measured]:
    for path in paths:
        try:
            one = Measurement.from_text(text_of(path))
        except (OSError, ValueError) as error:
            reason = str(error) if isinstance(error, ValueError) else "cannot be read"
            found.add("measurement-invalid", f"{path.name}: {reason}")
            continue
        if trouble := _trouble(one, plan, roster):
            found.add("measurement-invalid", f"{path.name}: {trouble}", one.site)
            continue
        try:
            verdict = judged(plan, one.figures)  # type: ignore[arg-type]  # there is one, as it has no trouble
        except (ArithmeticError, ValueError, PrivacyError):
            found.add("measurement-invalid", f"{path.name}: figures that no accountant can count", one.site)
            continue
        if verdict.falsified:
            told = f"the site's installation is not what the plan says: {', '.join(verdict.falsified)}"
            found.add("mechanism-falsified", told, one.site)
        yield Measured(one.site, one.when, one.version, verdict)


def _trouble(one: Measurement, plan: Plan | None, roster: Roster | None) -> str:
    """Why a measurement is no evidence about this run; "" if it is."""
    entry = None if roster is None else roster.by_site.get(one.site)
    if plan is None or one.plan != plan.digest or not plan.is_private:
        return "it is of another plan"
    if entry is None:
        return "its site is not on the run's roster"
    if entry.key != one.key:
        return "it is signed by another key than the roster has for the site"
    return "" if one.is_signed else "its signature does not fit"
