"""Checks the consents of a run: what each site signed before it took part, and which ledger it named for it.

A consent binds a site's key to the run, the plan, the roster, the noise and one ledger. So nobody can say later
that a site took part in something else, and the site cannot say that it took part with another ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from federation.audit.evidence import Rosters
from federation.audit.findings import Findings
from federation.audit.receipts import Receipts
from federation.audit.untrusted import json_of, text_of
from federation.plan.plan import Plan
from federation.round.messages import Welcome
from federation.round.signed import is_consent
from privacy.canonical import Fields
from privacy.errors import MalformedMessage
from privacy.ledger.heads import Head

FILE = "consents.jsonl"
_SINCE = 4  # the first suite whose sites sign their consent


@dataclass(frozen=True)
class Consents:
    """What sites signed: the heads that they showed, and of how many params their model is; None if none says."""

    heads: tuple[Head, ...] = ()
    dimension: int | None = None


@dataclass(frozen=True)
class _Line:
    """One line of the file."""

    run: str
    site: str
    suite: int
    welcome: Welcome


def check_consents(
    run: Path,
    receipts: Receipts,
    plan: Plan | None,
    rosters: Rosters | None,
    is_simulation: bool,
    found: Findings,
) -> Consents:
    """Check that every site that was invited had consented, to this run and plan and under its roster.

    The heads that they showed with it are to be compared with the ledgers as those of receipts are.
    """
    if rosters is None:
        return Consents()
    genuine = [line for line in _read(run, found) if _is_genuine(line, receipts, plan, rosters, found)]
    named: dict[str, set[bytes]] = {}
    for line in genuine:
        named.setdefault(line.site, set()).add(line.welcome.head.ledger)
    # A simulation that adds up in one process sends no messages: then no round shows a head.
    shown = [line.shown for line in receipts.lines] + [line.shown for line in receipts.evaluations]
    was_sent = not is_simulation or any(shown)
    # The consortium says by its roster since when sites consent; the server's receipts alone excuse nothing.
    if was_sent and any(suite >= _SINCE for suite in {*receipts.suites, rosters.newest.suite}):
        for site in sorted(set(receipts.sites) - named.keys()):
            found.add("consent-missing", "the site was invited, and no consent of it is here", site)
    _check_named(receipts, named, found)
    return Consents(tuple(line.welcome.head for line in genuine), _dimension(genuine, found))


def _dimension(genuine: Sequence[_Line], found: Findings) -> int | None:
    """The size of the model, by the sites' word. Where they differ the smallest: it excuses the least."""
    told = {line.welcome.dimension for line in genuine} - {0}
    if len(told) > 1:
        detail = "sites consented to models of different sizes, which the coordinator had to refuse"
        found.add("consent-of-another-run", detail)
    return min(told, default=None)


def _check_named(receipts: Receipts, named: Mapping[str, set[bytes]], found: Findings) -> None:
    for site, ledgers in sorted(named.items()):
        if len(ledgers) > 1:
            found.add("ledger-forked", "the site named two ledgers for one run", site)
        if any(head.site == site and head.ledger not in ledgers for head in receipts.heads):
            detail = "a receipt holds a head of another ledger than the site's consent names"
            found.add("ledger-of-another-pool", detail, site)


def _read(run: Path, found: Findings) -> list[_Line]:
    path = run / FILE
    if not path.exists():
        return []
    try:
        rows = text_of(path).removesuffix("\n").split("\n")
    except (OSError, ValueError):
        found.add("consent-invalid", f"{FILE} cannot be read")
        return []
    lines = []
    for number, row in enumerate(rows, 1):
        line = None
        with suppress(ValueError, MalformedMessage):
            line = _line(row)
        if line is None:
            found.add("consent-invalid", f"line {number} of {FILE} is no consent")
        else:
            lines.append(line)
    return lines


def _line(row: str) -> _Line:
    fields = Fields(json_of(row))
    run, site, suite = fields.text("run"), fields.text("site"), fields.whole("suite", 1)
    welcome = Welcome.from_bytes(bytes.fromhex(fields.text("welcome")))
    fields.finish()
    if welcome.member.site != site:
        raise ValueError("is another site's")
    return _Line(run, site, suite, welcome)


def _is_genuine(
    line: _Line, receipts: Receipts, plan: Plan | None, rosters: Rosters, found: Findings
) -> bool:
    """Whether the site signed it, for this run and plan; a finding if not."""
    roster, welcome = rosters.by_root.get(line.welcome.root), line.welcome
    entry = roster.by_site.get(line.site) if roster is not None else None
    if entry is None:
        found.add("consent-roster", "the site consented under a roster that is not here", line.site)
        return False
    run = bytes.fromhex(line.run) if len(line.run) == 32 and set(line.run) <= set("0123456789abcdef") else b""
    if not is_consent(welcome, run, entry.key, line.suite):
        found.add("consent-forged", "the site's key on the roster did not sign this consent", line.site)
        return False
    if (receipts.run and line.run != receipts.run) or (
        plan is not None and welcome.plan_digest != plan.digest
    ):
        found.add("consent-of-another-run", "the site consented to another run or plan", line.site)
        return False
    return True
