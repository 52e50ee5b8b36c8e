"""Shows an audit to people: a page that opens from disk and loads nothing, and lines for a terminal."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from federation.audit.examine import audit as examine
from federation.audit.outcome import Audit, Claim, RiskClaim, SiteAudit, Steps, Sums
from federation.files import write_output
from federation.plan.guarantee import told_of_parts
from federation.report.files import PAGE, write_page
from federation.report.numbers import MISSING, UNBOUNDED, downward, spent
from federation.report.report import Report
from federation.report.risks.words import lead
from federation.report.templates import page_template
from federation.report.wording import NOT_AUDITED
from federation.sums.transcript.record import transcripts_of
from federation.words import many
from privacy.accounting.bounds import Bounds
from privacy.accounting.risks.figures import risk_from

_SAME = 1e-6  # bounds that close are one number
_MOST_SITES = 50  # in lines
_MOST_AUDITED = 10_000  # rounds of single sites: above, an audit takes a minute, and is for who asks for it
_MOST_SHOWN = 10**9  # bytes of transcripts, of which a second verifies about 70 million
_log = logging.getLogger(__name__)
_UNITS: Mapping[str, str] = {
    "record": "one record",
    "patient": "one patient, at every site where the plan says they may be",
    "client": "all data of one site",
}
_A_PASS_MEANS = (
    "The plan, the server's receipts, the report, the params and the ledgers agree with each other to the digest.",
    "Every ledger that was handed in is whole, signed, and no shorter than what its site showed to others.",
    "Each of these sites charged itself the whole plan before it began, and each round before its data was read.",
    "The epsilon claimed is not below what a second accountant proves of the mechanism that was charged.",
)
_A_PASS_DOES_NOT_MEAN = (
    "It does not show that a site clipped, sampled and drew noise as it signed: files cannot show that.",
    "It does not show that a model is harmless. Epsilon limits what one unit adds, not what all of them teach.",
    "It says nothing about what left a site by any way other than this run and this ledger.",
    "If the server and a site work together they can write both sides anew, up to the heads that peers hold.",
)
_SIMULATED = "One process played every site: this is no evidence of what happened at an institution."


def write_audit_page(audit: Audit, path: Path) -> None:
    """Write the page to `path` as a whole. UnusableFile if it cannot be written."""
    write_output(path, render(audit))


def render(audit: Audit) -> str:
    """The page, as HTML. Names in it come from untrusted files, so each is escaped."""
    return page_template(Path(__file__).parent, claimed, between, most).render(
        audit=audit,
        headline=_headline(audit),
        coverage=_coverage(audit),
        summed=summed(audit.sums),
        risk=risk_lines(audit.risk),
        units={_UNITS[unit]: cost for unit, cost in audit.units.items()},
        simulated=_SIMULATED,
        parts=_parts(audit),
        means=_A_PASS_MEANS,
        means_not=_A_PASS_DOES_NOT_MEAN,
    )


def write_verdict(run: Path, report: Report) -> None:
    """Audit the run in the folder `run`, which is over, and say on its page what was found, if nothing says so yet.

    It proves nothing to others, who make their own. Nothing depends on it: whatever fails, the page stays as it is.
    A verdict that is no pass is a warning, too.
    """
    page = run / PAGE
    try:
        size = sum(line.cohort for line in report.rounds)
        shown = sum(path.stat().st_size for path in transcripts_of(run))
        if size > _MOST_AUDITED or shown > _MOST_SHOWN or NOT_AUDITED not in page.read_text("utf-8"):
            return
        found = examine(run)
    except Exception as error:
        _log.warning("%s: the run was not audited (%s)", page, type(error).__name__)
        return
    verdict = f"{found.verdict}: {_headline(found)}; {_coverage(found)}"
    write_page(run, report, f"{verdict}. Anyone can repeat it: federation audit RUN")
    if found.verdict != "pass":
        _log.warning("%s: the audit found something; see federation audit %s", page, run)


def audit_lines(audit: Audit) -> list[str]:
    """The audit in lines of printable characters."""
    lines = [
        f"verdict     {audit.verdict.upper()}{' (simulated run)' if audit.simulated else ''}: {_headline(audit)}",
        *([f"            {_SIMULATED}"] if audit.simulated else []),
        f"run         {audit.run or 'n/a'}",
        f"plan        {audit.plan_digest or 'n/a'}",
        f"ledgers     {_coverage(audit)}",
        f"sums        {summed(audit.sums)}",
        *_measured(audit),
        *_claims(audit),
        *(f"risk        {line}" for line in risk_lines(audit.risk)),
        *_findings(audit),
        *_sites(audit),
        *_units(audit),
        "",
        "not checked",
        *(f"  - {what}" for what in audit.not_checked),
        "",
        "A pass means that the files do not contradict each other, the plan, or what was claimed; it does not",
        "mean that noise was drawn as signed. The page (--report FILE.html) says it in full.",
    ]
    return ["".join(letter for letter in line if letter.isprintable()) for line in lines]


def _headline(audit: Audit) -> str:
    """The verdict in words."""
    count = sum(finding.severity == "critical" for finding in audit.findings)
    if count:
        return f"{count} critical finding{'s' if count > 1 else ''}; this run does not verify"
    warned = any(finding.severity == "warning" for finding in audit.findings)
    return "no contradiction found" + ("; read the warnings" if warned else "")


def summed(sums: Sums) -> str:
    """What is proven of the sums, in one sentence."""
    if not sums.opened:
        return "no sum was opened"
    if sums.left_out:
        return f"no sum can be recomputed: {sums.left_out}"
    every = f"{sums.verified} of {sums.opened} sums were recomputed from what the sites signed"
    if not sums.verified or not sums.followed:
        return f"{every}; no params were followed"
    return f"{every}; the params of {sums.followed} round{'s' * (sums.followed > 1)} follow from them bit for bit"


def _coverage(audit: Audit) -> str:
    """How much of the run there was to verify."""
    present, sites = len(audit.sites) - len(audit.without_ledger), len(audit.sites)
    told = f"{present} of {sites} sites, {audit.entries_verified} entries verified"
    missing = ", ".join(audit.without_ledger)
    return f"{told}; nothing but the server's word for {missing}" if missing else told


def claimed(epsilon: float | None) -> str:
    """A claim to three places, rounded up like every epsilon; "n/a" where there is none."""
    return MISSING if epsilon is None or not math.isfinite(epsilon) else spent(epsilon)


def between(bounds: Bounds | None) -> str:
    """Two bounds to three places, as one number where they agree: "2.991", "2.991 to 3.010", "no promise", "n/a".

    The lower is rounded down and the upper one up, so that the truth lies between what is shown, too.
    """
    if bounds is None:
        return MISSING
    if math.isinf(bounds.upper):
        return UNBOUNDED
    low, high = downward(bounds.lower, 3), spent(bounds.upper)
    return high if bounds.upper - bounds.lower < _SAME else f"{low} to {high}"


def most(bounds: Bounds) -> str:
    """The upper of two bounds, rounded up to three places."""
    if math.isinf(bounds.upper):
        return UNBOUNDED
    return spent(bounds.upper)


def _claims(audit: Audit) -> Iterator[str]:
    """What was claimed of the run, before what was claimed of its parts."""
    if audit.together is None or audit.evaluation is None:
        yield f"epsilon     {_claim(audit.training, audit.delta)}"
        return
    yield f"epsilon     {_claim(audit.together, audit.delta)}, training and evaluation together"
    yield f"training    {_claim(audit.training, audit.delta)}"
    yield f"evaluation  {_claim(audit.evaluation, audit.delta)}"


def risk_lines(claim: RiskClaim | None) -> list[str]:
    """What was proved of the risk, in a sentence, and beside it what was claimed; none where nothing is bounded."""
    if claim is None or claim.recomputed is None:
        return []
    low, high = claim.recomputed
    told = None if claim.claimed is None else risk_from(claim.claimed, high.delta)
    figures = []
    for name, shown in (("tpr_at_fpr.0.01", "hits at 1% false alarms"), ("advantage", "advantage")):
        at = high.names.index(name)
        said = MISSING if told is None else f"{spent(told.values[at])}"
        least, most_ = downward(low.values[at], 3), spent(high.values[at])
        figures.append(
            f"{shown}: claimed {said}, recomputed {least if least == most_ else f'{least} to {most_}'}"
        )
    return [lead(high.to_json(), claim.unit), "; ".join(figures)]


def _claim(claim: Claim, delta: float | None) -> str:
    text = f"claimed {claimed(claim.claimed)}, recomputed {between(claim.recomputed)}"
    return text + (f", delta {delta:g}" if delta is not None else "")


def _measured(audit: Audit) -> Iterator[str]:
    for one in audit.measured:
        yield f"measured    {one.site}: {one.headline}"
        yield f"            {one.origin}"


def _findings(audit: Audit) -> Iterator[str]:
    yield from ("", "findings" if audit.findings else "no findings")
    for finding in audit.findings:
        where = f" [{finding.site}]" if finding.site else ""
        yield f"  {finding.severity:<8}  {finding.id}{where}: {finding.detail}"


def _sites(audit: Audit) -> Iterator[str]:
    if not audit.sites:
        return
    width = max(4, *(len(site.id) for site in _shown(audit)))
    yield ""
    yield f"{'site':<{width}}  releases    planned  charged  executed  claimed  recomputed"
    for site in _shown(audit):
        yield f"{site.id:<{width}}  {'training':<10}{_counts(site.training)}{_epsilons(site)}"
        if site.evaluation is not None:
            again = f"{'':<{width}}  {'evaluation':<10}{_counts(site.evaluation)}"
            yield f"{again}{'':9}  {between(site.evaluated)}"
        if site.together is not None:
            told = claimed(site.together.claimed)
            yield f"{'':<{width}}  {'together':<10}{'':29}{told:>7}  {between(site.together.recomputed)}"

    if (left := len(audit.sites) - len(_shown(audit))) > 0:
        yield f"and {many(left, 'site')} more, of which nothing was found: --json and --report have them all"


def _shown(audit: Audit) -> list[SiteAudit]:
    """All of a few sites; of very many the first, and every one that a finding names."""
    named = {finding.site for finding in audit.findings}
    return [site for place, site in enumerate(audit.sites) if place < _MOST_SITES or site.id in named]


def _counts(steps: Steps) -> str:
    counts = (steps.planned, steps.charged, steps.executed)
    planned, charged, executed = (MISSING if count is None else str(count) for count in counts)
    return f"  {planned:>7}  {charged:>7}  {executed:>8}"


def _epsilons(site: SiteAudit) -> str:
    return f"  {claimed(site.claimed):>7}  {between(site.recomputed)}"


def _units(audit: Audit) -> Iterator[str]:
    if not audit.units:
        return
    yield ""
    yield f"{'epsilon of the whole plan, at most, for':<60}  {'training':>8}  {'evaluation':>10}  {'together':>8}"
    for unit, cost in audit.units.items():
        evaluation = "none" if cost.evaluation is None else most(cost.evaluation)
        yield f"  {_UNITS[unit]:<58}  {most(cost.training):>8}  {evaluation:>10}  {most(cost.total):>8}"
    if told := _parts(audit):
        yield f"  {told}"


def _parts(audit: Audit) -> str:
    return told_of_parts((unit, cost.total.upper) for unit, cost in audit.units.items())
