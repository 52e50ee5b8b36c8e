"""What a simulation took, and the part of it that each site would have had."""

from __future__ import annotations

from federation.metering import Taken
from federation.report.figures.scores import Energy
from federation.report.report import Report

SHARED = (
    "of a site: a share of all CPU seconds, by its rounds times its records, as sites are computed together"
)


def with_energy(report: Report, taken: Taken) -> Report:
    """The report with what its run took. A run that was stopped and taken up again is counted from then on."""
    parts = {site.id: (site.rounds or 0) * (site.records or 0) for site in report.sites}
    whole = sum(parts.values())
    sites = {name: taken.cpu_seconds * part / whole for name, part in parts.items()} if whole else {}
    method = f"{taken.method}; {SHARED}" if sites else taken.method
    energy = Energy(cpu_seconds=taken.cpu_seconds, joules=taken.joules, sites=sites, method=method)
    timing = report.timing.model_copy(update={"energy": energy})
    return report.model_copy(update={"timing": timing})
