"""What a site's ledger says of a run and of its evaluation, held against the roster, the receipts and the plan."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from federation.audit.findings import Findings
from federation.audit.folds.place import Place
from federation.audit.outcome import Sums
from federation.audit.receipts import Receipts
from federation.plan.plan import Plan
from federation.round.groups import sums_of
from federation.round.messages import Invitation, Member
from federation.round.terms import evaluation_run
from privacy.accounting.events import GaussianEvent
from privacy.accounting.units import Charge
from privacy.ledger.state import Account, Run
from privacy.roster import Roster
from privacy.wire import digest


@dataclass(frozen=True)
class Setting:
    """What a site's ledger is held against."""

    plan: Plan
    training: Charge
    evaluation: Charge | None  # None where the plan publishes none
    roster: Roster | None
    receipts: Receipts
    sums: Sums
    in_process: bool  # nothing was masked or opened: a simulation that adds up without messages
    place: Place
    beside: tuple[Receipts, ...] = ()  # of all folds, where these are those of their model

    _asked: dict[int, set[str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def questions(self, step: _Step) -> set[str]:
        """What a site may have begun a round with: the same for all sites, worked out once."""
        if id(step) not in self._asked:
            self._asked[id(step)] = _questions(step, self.roster)
        return self._asked[id(step)]

    @cached_property
    def steps(self) -> tuple[_Step, ...]:
        """The rounds that receipts tell of."""
        return tuple(
            _Step(
                line.round + self.place.before,
                f"round {line.round}",
                line.cohorts,
                line.survivors,
                line.params_before,
                sums_of(self.plan, line.round, line.cohort),
            )
            for line in self.receipts.lines
        )

    @cached_property
    def tests(self) -> tuple[_Step, ...]:
        """The evaluations that receipts tell of."""
        return tuple(
            _Step(
                self.place.fold or 1,
                "the evaluation",
                (line.cohort,),
                line.survivors,
                self.receipts.ended,
                (line.cohort,),
            )
            for line in self.receipts.evaluations
        )


@dataclass(frozen=True)
class Booked:
    """What a site's ledger says of the run: rounds begun, evaluation begun (None: not told), what is charged."""

    rounds: int
    tested: bool | None
    charged: tuple[Charge, ...]

    @classmethod
    def of(cls, trained: Run, evaluated: Run | None, place: Place) -> Booked:
        """By what the ledger has under the names of the run and of its evaluation."""
        runs = [trained, *([] if evaluated is None else [evaluated])]
        charged = tuple(run.charged for run in runs if run.charged is not None)
        tested = None if evaluated is None else any(number in place.tested for number in evaluated.begun)
        return cls(sum(number in place.counted for number in trained.begun), tested, charged)


@dataclass(frozen=True)
class _Promise:
    """What a site has to have reserved under one name."""

    run: str
    what: str
    charge: Charge
    rounds: int


@dataclass(frozen=True)
class _Step:
    """A round that a receipt tells of, by the number that ledgers have for it, with the cohorts of its attempts."""

    number: int
    what: str
    cohorts: tuple[tuple[str, ...], ...]
    survivors: tuple[str, ...]
    params: str | None
    sums: tuple[tuple[str, ...], ...]

    def summed_with(self, site: str) -> tuple[str, ...]:
        """Whose sum a site helped to open: the survivors among those whose sum it was in."""
        own = next((names for names in self.sums if site in names), ())
        return tuple(name for name in self.survivors if name in own)

    def asked(self, site: str) -> bool:
        """Whether the site was in any of them."""
        return site in self._asked

    def has(self, site: str) -> bool:
        """Whether the site is in the sum."""
        return site in self._survived

    @cached_property
    def _asked(self) -> frozenset[str]:
        return frozenset(site for cohort in self.cohorts for site in cohort)

    @cached_property
    def _survived(self) -> frozenset[str]:
        return frozenset(self.survivors)


def check_training(site: str, account: Account, setting: Setting, found: Findings) -> Run | None:
    """The site reserved this plan, as it is, and charged every round of which anything left."""
    receipts, place = setting.receipts, setting.place
    promise = _Promise(place.account, "run", setting.training, place.rounds)
    run = _reserved(site, account, setting, promise, found)
    if run is not None:
        _check_steps(site, run, "run", setting.steps, setting, found, place.own)
        if place.is_model:
            _check_end(site, run, "run", receipts, found)
    return run


def check_evaluated(site: str, account: Account, setting: Setting, found: Findings) -> Run | None:
    """A site that takes part reserved the evaluation, too, and charged it before figures left; or there is none."""
    receipts, place = setting.receipts, setting.place
    name = evaluation_run(place.account)
    others = [known for known in account.runs if known.startswith(f"{place.account}/")]
    if setting.evaluation is None or others not in ([], [name]):
        if others:
            found.add("evaluation-unplanned", "the ledger charges for more than the plan asks", site)
        if setting.evaluation is None:
            return None
    run = _reserved(
        site, account, setting, _Promise(name, "evaluation", setting.evaluation, place.tests), found
    )
    if run is not None:
        if place.is_evaluated:
            own = place.tested
            _check_steps(site, run, "evaluation", setting.tests, setting, found, own)
        if place.is_model:
            _check_end(site, run, "evaluation", receipts, found)
    return run


def _reserved(
    site: str, account: Account, setting: Setting, promise: _Promise, found: Findings
) -> Run | None:
    run, what = account.runs.get(promise.run), promise.what
    if run is None:
        found.add("run-unreserved", f"the ledger holds no reservation of this {what}", site)
        return None
    if run.plan != setting.plan.digest:
        found.add("run-of-another-plan", f"the {what} was reserved for another plan", site)
    if run.rounds != promise.rounds:
        detail = f"{what}: {run.rounds} rounds are reserved, {promise.rounds} are planned"
        found.add("rounds-mismatch", detail, site)
    if run.charge != promise.charge:
        found.add("charge-mismatch", f"{what}: {_difference(run.charge, promise.charge)}", site)
    return run


def _check_steps(
    site: str,
    run: Run,
    what: str,
    steps: Sequence[_Step],
    setting: Setting,
    found: Findings,
    own: Container[int],
) -> None:
    """`own`: the numbers that these steps are about. Others are those of other folds, which have receipts too."""
    told: dict[int, _Step] = {}
    for each in steps:
        told[each.number] = each
        if each.asked(site):
            _check_step(site, run, each, setting, found)
    for number in sorted(each for each in run.released if each in own or not setting.place.has_folds):
        step = told.get(number)
        if step is None or not step.asked(site):
            detail = f"{what}: round {number} was released, and no receipt tells of it"
            found.add("round-without-receipt", detail, site)
        elif not step.has(site):
            found.add("release-not-summed", f"{step.what} was released, and ended without this site", site)


def _check_step(site: str, run: Run, step: _Step, setting: Setting, found: Findings) -> None:
    number, what = step.number, step.what
    asked = setting.questions(step)
    if number in run.begun and asked and run.begun[number] not in asked:
        detail = f"{what} was begun for other params or another cohort than its receipt says"
        found.add("round-question", detail, site)
    if not step.has(site):
        return
    if run.is_whole and number not in run.released:
        detail = (
            f"{what} sums up something of this site; its entries were lost, and all of its run is charged"
        )
        found.add("round-lost", detail, site)
        return
    if number not in run.begun or number not in run.released:
        detail = f"{what} sums up something of this site, and the ledger holds no charge or no release of it"
        found.add("round-uncharged", detail, site)
    if setting.in_process and not run.masked and not run.revealed:
        return
    together = step.summed_with(site)
    opened = digest("federation/survivors/2", *(name.encode() for name in together)).hex()
    if number not in run.revealed:
        detail = f"{what} was opened without this site's record of it: by the others, if it was lost before"
        found.add("round-unopened", detail, site)
    elif run.revealed[number] != opened:
        found.add("round-survivors", f"{what} was opened for other sites than its receipt says", site)


def _questions(step: _Step, roster: Roster | None) -> set[str]:
    """What a site may have begun the round with: its params, to each of its cohorts. Empty if nobody can tell."""
    if (
        roster is None
        or step.params is None
        or not all(roster.by_site.keys() >= set(cohort) for cohort in step.cohorts)
    ):
        return set()
    return {_question(cohort, step.params, roster) for cohort in step.cohorts}


def _question(cohort: tuple[str, ...], params: str, roster: Roster) -> str:
    members = tuple(Member(site, roster.by_site[site].size) for site in cohort)
    return digest("federation/question/2", Invitation(members).to_bytes(), bytes.fromhex(params)).hex()


def _check_end(site: str, run: Run, what: str, receipts: Receipts, found: Findings) -> None:
    if run.closed is None:
        left = run.rounds - len(run.begun)
        detail = f"the {what} is not closed in the ledger: what was never begun of it ({left}) stays charged"
        found.add("run-open", detail, site)
    elif run.is_left:
        returned = run.charged != run.charge
        detail = f"the site left the {what} after {len(run.begun)} of {run.rounds} rounds; the rest is " + (
            "returned" if returned else "charged all the same"
        )
        found.add("site-left", detail, site)
    elif receipts.closing is not None and not run.is_whole and run.closed != receipts.closing:
        found.add("closing-mismatch", f"the {what} was closed with other params than the receipts say", site)


def _difference(charged: Charge, planned: Charge) -> str:
    one, other = charged.event, planned.event
    if isinstance(one, GaussianEvent) and isinstance(other, GaussianEvent):
        names = ("noise_multiplier", "sample_rate", "count", "group")
        told = [
            f"{name} {getattr(one, name):g} instead of {getattr(other, name):g}"
            for name in names
            if getattr(one, name) != getattr(other, name)
        ]
        if told:
            return f"charged is not what the plan asks: {', '.join(told)}"
    return "charged is not what the plan asks: another unit, or another place of the noise"
