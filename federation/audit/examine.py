"""Verifies a run from its files alone, trusting no process that wrote them.

The plan, the server's receipts, the report, the params and the ledgers of the sites are made by different parties,
and each binds the others: by digests, by hash chains, by signatures. An audit follows every such thread. It works
out epsilon anew by another accountant (`privacy.accounting.bounds`), compares what was planned with what was
charged and with what was executed, and says what it could not check. A pass does not prove that the noise was drawn
as charged; it proves that nobody can have said two different things about it.
"""

from __future__ import annotations

import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from federation.audit.claims import (
    check_claim,
    check_epsilon,
    check_evaluation_claim,
    check_together,
    claimed_epsilon,
    claimed_together,
    claims_of_sites,
    costs,
    planned_charges,
    recounted,
)
from federation.audit.clipping import check_clipping
from federation.audit.evaluation import check_evaluation
from federation.audit.evidence import (
    Ledger,
    Rosters,
    check_forgotten,
    read_ledgers,
    read_params,
    read_plan,
    read_report,
    read_rosters,
)
from federation.audit.figures.folds import Fold, check_folds
from federation.audit.figures.made import check_made
from federation.audit.figures.risks import check_risks
from federation.audit.figures.tables import check_tables
from federation.audit.findings import Findings
from federation.audit.folds.place import Place, place_of
from federation.audit.ledgers.ledger import check_owner, replayed
from federation.audit.ledgers.shared import expanded
from federation.audit.ledgers.sites import Booked, Setting, check_evaluated, check_training
from federation.audit.measured.evidence import Measured, read_measured, require_there
from federation.audit.outcome import Audit, Claim, SiteAudit, Steps
from federation.audit.receipts import Receipts, read_receipts
from federation.audit.recounting import of_begun, planned_releases, planned_tests, releases_in_a_round
from federation.audit.report import check_page, check_report
from federation.audit.rounds import (
    check_averages,
    check_history,
    check_params,
    check_receipts,
    check_unlikely,
    dimension_of,
)
from federation.audit.signed.consents import check_consents
from federation.audit.signed.heads import check_heads
from federation.audit.suites import check_suites
from federation.audit.sums.check import Run as SumsOf
from federation.audit.sums.check import check_sums
from federation.audit.untrusted import is_regular
from federation.errors import UnusableFile
from federation.ledger.store import EVERY_SITE
from federation.plan.plan import Plan
from federation.round.plays import fold_name
from federation.sums.engines import ADDS_UP
from federation.sums.transcript.sizes import UNMASKED
from privacy.accounting.bounds import Bounds
from privacy.accounting.events import GaussianEvent
from privacy.accounting.units import Charge
from privacy.ledger.state import Account, Run
from privacy.roster import Roster
from privacy.suite import SUITE

_NEVER = (
    "whether the sites clipped, sampled and drew noise as they signed: no file can show that, and a measurement "
    "(federation rehearse) only what an installation did with made-up records",
    "whether the data of a site is what it says, and whether one person is in more records or sites than declared",
    "what happened after the last signed head of a ledger, if its site keeps that to itself",
)


@dataclass(frozen=True)
class _Evidence:
    """All that was read; `accounts` of those ledgers that verify, `sites` that took part."""

    rosters: Rosters | None
    receipts: Receipts
    report: Mapping[str, Any] | None
    books: Mapping[str, Ledger]
    accounts: Mapping[str, Account]
    place: Place
    measured: tuple[Measured, ...]

    @property
    def roster(self) -> Roster | None:
        """Everybody who was ever on the run's roster."""
        return None if self.rosters is None else self.rosters.everybody

    @property
    def sites(self) -> tuple[str, ...]:
        """Those that were invited, and those that reserved the run."""
        joined = {site for site, account in self.accounts.items() if self.place.account in account.runs}
        return tuple(sorted({*self.receipts.sites, *joined}))

    @property
    def simulated(self) -> set[bool]:
        """What the ledgers of those that took part say of themselves."""
        return {self.accounts[site].tip.genesis.simulated for site in self.sites if site in self.accounts}

    @property
    def is_simulation(self) -> bool | None:
        """Whether anything says that one process played the sites; None if nothing says anything."""
        told = self.report.get("simulated") if self.report is not None else None
        words = {*self.simulated, *([told] if isinstance(told, bool) else [])}
        return True in words if words else None


def audit(
    run: Path | str, ledgers: Sequence[Path | str] = (), measurements: Sequence[Path | str] = ()
) -> Audit:
    """Everything that the files of `run` show; `ledgers` and `measurements` are what sites handed in.

    Where the plan has folds, the folder of each fold is audited as well, and what is found there is found here.

    UnusableFile if `run` is no run folder, or a file that was handed in does not exist.
    """
    run, handed_in = Path(run), [Path(ledger) for ledger in ledgers]
    if not is_regular(run / "plan.toml"):
        what = "rehearsals, which are no runs" if (run / "rehearsals").is_dir() else "no plan.toml"
        told = (
            f"this is no run folder: it holds {what}"
            if os.path.lexists(run)
            else "there is no such run or bundle"
        )
        raise UnusableFile(told, hint="name the RUN of --out, or of --state", path=run)
    for path in handed_in:
        if not is_regular(path):
            raise UnusableFile("there is no such ledger", hint="federation ledger export SITE", path=path)
    require_there(measured := [Path(each) for each in measurements])
    shared = _journals(run.parent) if (run.parent / "plan.toml").exists() else []  # of a fold, by itself
    return _audited(run, [*shared, *handed_in], measured, is_part=False)


def _audited(run: Path, handed_in: Sequence[Path], shown: Sequence[Path] = (), *, is_part: bool) -> Audit:
    found = Findings()
    plan, rosters = read_plan(run, found), read_rosters(run, found)
    receipts, report = read_receipts(run, plan, found), read_report(run, found)
    check_forgotten(run, found)
    params, books = read_params(run, found), read_ledgers(run, handed_in, found)
    read = ((site, replayed(site, ledger, found)) for site, ledger in books.items())
    accounts = {site: account for site, account in read if account is not None}
    shared = expanded(books, accounts, receipts, rosters, found)
    place, everybody = place_of(plan, receipts.run), None if rosters is None else rosters.everybody
    measured = read_measured(shown, plan, everybody, found)
    evidence = _Evidence(rosters, receipts, report, books, accounts, place, measured)
    roster = evidence.roster
    is_simulation = evidence.is_simulation is True
    consents = check_consents(run, receipts, plan, rosters, is_simulation, found)
    _check_owners(evidence, found)
    check_heads(receipts, books, accounts, roster, is_simulation, found, consents.heads, shared)
    charges = planned_charges(plan, found) if plan is not None else None
    if plan is None or charges is None:
        for line in _NEVER:
            found.skip(line)
        return Audit(receipts.run, found.sorted(), tuple(found.not_checked), measured=measured)
    training, evaluation = charges
    check_suites(plan, receipts, accounts, roster, evidence.simulated, found)
    check_receipts(receipts, plan, roster, found)
    check_averages(receipts, plan, found)
    check_clipping(receipts, plan, found)
    check_unlikely(receipts, plan, found)
    check_evaluation(receipts, report, plan, evaluation if place.is_evaluated else None, roster, found)
    in_process = report is not None and report.get("engine") in ADDS_UP and report.get("simulated") is True
    size = dimension_of(params, plan, consents.dimension, found)
    sums, followed = check_sums(_run_of(run, plan, evidence, size, in_process), found)
    check_params(run, receipts, params, followed, plan, found)
    folds = _folds_of(run, plan) if place.has_folds and place.is_model and not is_part else ()
    setting = Setting(plan, training, evaluation, roster, receipts, sums, in_process, place, folds)
    _check_both(run, found)
    if report is not None:
        check_made(run, report, plan.privacy.unit != "patient", found)
        check_tables(report, plan, params, receipts, found)
    check_page(run, report, found)
    if folds:
        _check_folds(run, plan, evidence, handed_in, folds, found)
    return _concluded(evidence, setting, found)


def _folds_of(run: Path, plan: Plan) -> tuple[Receipts, ...]:
    """The receipts of every fold; empty ones where there is no folder. What is wrong with them its audit finds."""
    folders = [run / fold_name(fold) for fold in range(1, (plan.evaluation.folds or 0) + 1)]
    return tuple(
        read_receipts(folder, plan, Findings()) if is_regular(folder / "plan.toml") else Receipts()
        for folder in folders
    )


def _check_folds(
    run: Path,
    plan: Plan,
    evidence: _Evidence,
    handed_in: Sequence[Path],
    told: Sequence[Receipts],
    found: Findings,
) -> None:
    """Audit the folder of every fold, with these ledgers, and hold the figures of all folds against them."""
    ledgers = [*_journals(run), *handed_in]
    folds = []
    for fold, receipts in enumerate(told, start=1):
        folder = run / fold_name(fold)
        inner = _audited(folder, ledgers, is_part=True) if is_regular(folder / "plan.toml") else None
        folds.append(Fold(fold, receipts.run, receipts.evaluation, inner))
    check_folds(evidence.receipts.run, evidence.report, plan.digest, folds, found)


def _journals(run: Path) -> list[Path]:
    """The ledgers of simulated sites, which all parts of a plan with folds share."""
    return sorted((run / "journals").glob("*.sqlite"))


def _run_of(path: Path, plan: Plan, evidence: _Evidence, size: int | None, in_process: bool) -> SumsOf:
    """What the sums are held against."""
    runs = [account.runs.get(evidence.place.account) for account in evidence.accounts.values()]
    told = set(evidence.receipts.suites).union(*(run.suites for run in runs if run is not None))
    told |= {evidence.roster.suite} if evidence.roster is not None else set()  # not the server's word
    unmasked = ""
    if in_process or (evidence.simulated == {True} and not any(run and run.masked for run in runs)):
        unmasked = UNMASKED
    elif told and max(told) < SUITE:
        unmasked = f"the run was made with secagg/{max(told)}, under which nothing was kept that shows them"
    return SumsOf(
        path=path,
        plan=plan,
        roster=evidence.roster,
        signers=evidence.rosters.signers if evidence.rosters is not None else (),
        receipts=evidence.receipts,
        dimension=size,
        unmasked=unmasked,
    )


def _check_both(run: Path, found: Findings) -> None:
    """A run that ended has params, then a report."""
    report, params = ((run / name).exists() for name in ("report.json", "params.safetensors"))
    if params and not report:
        found.add("report-unreadable", "params.safetensors was written, and report.json is missing")
    if report and not params:
        found.add("params-unreadable", "report.json was written, and params.safetensors is missing")


def _check_owners(evidence: _Evidence, found: Findings) -> None:
    sites, run = evidence.sites, evidence.place.account
    for site, account in evidence.accounts.items():
        if not evidence.books[site].entries:
            continue  # of the ledger of all sites, which is checked by itself
        if site in sites or not sites:
            check_owner(site, evidence.books[site], account, evidence.rosters, run, found)
        else:
            found.add("ledger-of-no-participant", "this site did not take part in the run", site)
    for site in sites:
        if site in evidence.books:
            continue
        found.skip(f"what {site} charged and did: its ledger is not here")
        ask = f"have {site} run: federation ledger export site.toml --out {site}.jsonl; add --ledger {site}.jsonl"
        if evidence.is_simulation:
            detail = (
                f"no journals/{site}.sqlite. If the site brought a site.toml, its journal is elsewhere: {ask}"
            )
            found.add("ledger-missing-in-simulation", detail, site)
        else:
            found.add("ledger-missing", f"the site took part, and its ledger is not here: {ask}", site)


def _concluded(evidence: _Evidence, setting: Setting, found: Findings) -> Audit:
    plan, report, accounts = setting.plan, evidence.report, evidence.accounts
    books = evidence.books.keys()
    present = [site for site in evidence.sites if site in accounts]
    trained = {site: check_training(site, accounts[site], setting, found) for site in present}
    evaluated = {
        site: check_evaluated(site, accounts[site], setting, found)
        for site in present
        if trained[site] is not None
    }
    if report is not None:
        booked = {
            site: Booked.of(run, evaluated.get(site), setting.place)
            for site, run in trained.items()
            if run is not None
        }
        check_report(report, setting, booked, _sizes(evidence), evidence.simulated, found)
        check_history(report, setting.receipts, plan, setting.training, found)
    charged = [run.charge for run in trained.values() if run is not None]
    charged_too = [run.charge for run in evaluated.values() if run is not None]
    claim = check_claim(claimed_epsilon(report, plan), [setting.training, *charged], plan, found)
    asked = [] if setting.evaluation is None else [setting.evaluation]
    evaluation = check_evaluation_claim([*asked, *charged_too], plan, found)
    pairs = _pairs(setting, trained, evaluated)
    together = check_together(claimed_together(report), pairs, plan, found)
    risk = check_risks(report, plan, [setting.training, *asked], found)
    told, recount = claims_of_sites(report), _Recounting(plan)
    rows = tuple(
        _row(
            site,
            evidence,
            setting,
            trained.get(site),
            evaluated.get(site),
            told.get(site, (None, None)),
            recount,
            found,
        )
        for site in evidence.sites
    )
    for line in _NEVER:
        found.skip(line)
    return Audit(
        run=evidence.receipts.run,
        findings=found.sorted(),
        not_checked=tuple(found.not_checked),
        plan_digest=plan.digest,
        simulated=evidence.is_simulation,
        delta=plan.privacy.delta,
        training=claim,
        evaluation=evaluation,
        together=together,
        risk=risk,
        units=costs(plan, setting.training, setting.evaluation, len(evidence.sites)),
        sites=rows,
        sums=setting.sums,
        measured=evidence.measured,
        entries_verified=sum(len(evidence.books[site].entries) for site in {*accounts, EVERY_SITE} & books),
    )


def _pairs(
    setting: Setting, trained: Mapping[str, Run | None], evaluated: Mapping[str, Run | None]
) -> list[tuple[Charge, Charge]]:
    """Training and evaluation as charged: by the plan, and by each ledger that holds both."""
    if setting.evaluation is None:
        return []
    pairs = [(setting.training, setting.evaluation)]
    for site, run in trained.items():
        second = evaluated.get(site)
        if run is not None and second is not None:
            pairs.append((run.charge, second.charge))
    return pairs


def _sizes(evidence: _Evidence) -> dict[str, int]:
    """How many records each simulated site declared."""
    return {
        entry.site: entry.size
        for entry in (evidence.roster.entries if evidence.roster is not None else ())
        if entry.site in evidence.accounts and evidence.accounts[entry.site].tip.genesis.simulated
    }


def _row(
    site: str,
    evidence: _Evidence,
    setting: Setting,
    trained: Run | None,
    evaluated: Run | None,
    claimed: tuple[float | None, float | None],
    recount: _Recounting,
    found: Findings,
) -> SiteAudit:
    """The site's lines of the audit; neither of its claims must be below what it executed."""
    ledger, account, plan = evidence.books.get(site), evidence.accounts.get(site), setting.plan
    place = setting.place
    spent, second = _executed(trained, place.counted), _executed(evaluated, place.tested)
    training, both = (recount(charges) for charges in (spent, [*spent, *second]))
    if training is not None:
        check_epsilon(claimed[0], training, f"report.json of site {site}", found)
    if both is not None and setting.evaluation is not None:
        check_epsilon(claimed[1], both, f"report.json of site {site}, together", found)
    return SiteAudit(
        id=site,
        ledger=ledger.source if ledger is not None else "",
        entries=len(ledger.entries) if ledger is not None and account is not None else 0,
        simulated=account.tip.genesis.simulated if account is not None else None,
        training=_steps(trained, planned_releases(plan), releases_in_a_round(plan), spent),
        evaluation=_steps(evaluated, planned_tests(plan), 1, second)
        if setting.evaluation is not None
        else None,
        claimed=claimed[0],
        recomputed=training,
        evaluated=recount(second),
        together=None if setting.evaluation is None else Claim(claimed[1], both),
    )


def _steps(run: Run | None, planned: int, each: int, executed: Sequence[Charge]) -> Steps:
    if run is None:
        return Steps(planned, None, None)
    event = run.charge.event
    count = event.count if isinstance(event, GaussianEvent) else None
    counted = [one.event.count for one in executed if isinstance(one.event, GaussianEvent)]
    return Steps(planned, count, sum(counted) if counted else len(run.begun) * each)


def _executed(run: Run | None, told: Container[int]) -> list[Charge]:
    """The charge of the rounds among `told` that a site began; empty without a ledger, and without privacy."""
    if run is None or not isinstance(run.charge.event, GaussianEvent):
        return []
    begun = sum(number in told for number in run.begun)
    return [of_begun(run.charge, run.charge.event, begun, run.rounds)]


class _Recounting:
    """Bounds of what sites executed, counted once for each different answer."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._known: dict[tuple[Charge, ...], Bounds | None] = {(): None}

    def __call__(self, charges: Sequence[Charge]) -> Bounds | None:
        place = tuple(charges)
        if place not in self._known:
            self._known[place] = recounted(charges, self._plan)
        return self._known[place]
