"""The plans whose files are at hand, held against the site's policy, ledger and data before it joins.

Policy, budget and schema are those checks that a real run makes (`clients.check`). A plan that the ledger holds an
open run of is charged already, so nothing more is asked of its budget: a site that starts again goes on with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clients.check import account_of, admitted, fitting
from clients.policy import SiteFile, consent
from clients.preflight.finding import Finding, fine, looked, odd
from clients.preflight.leaves import leaves
from federation.config.toml import read
from federation.errors import FederationError, PlanError
from federation.plan.plan import Plan, load
from federation.report.numbers import spent
from privacy.errors import PrivacyError
from privacy.ledger.state import Account


@dataclass(frozen=True)
class PlanSeen:
    """A plan as a site sees it before joining: findings, and what leaves under it, a name and words each.

    Nothing leaves under a plan that the policy refuses.
    """

    file: Path
    plan: Plan
    findings: tuple[Finding, ...]
    leaves: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """As the plan calls itself."""
        return self.plan.federation.name

    @property
    def purpose(self) -> tuple[tuple[str, str], ...]:
        """What the plan is for, a name and words each: what its consortium signs with it."""
        return () if self.plan.purpose is None else tuple(self.plan.purpose.lines())


def plans_at_hand(rules: SiteFile, path: Path, named: Sequence[Path]) -> dict[Path, Plan | PlanError]:
    """The plans that the call or `plan_files` names, then those beside the site file that `plans` approves.

    Each plan once. A file that was named and is no plan is an error in the place of one.
    """
    folder = path.parent
    wanted = [*named, *(folder / name for name in rules.policy.plan_files)]
    approved = {plan.digest for plan in rules.policy.plans}
    found: dict[Path, Plan | PlanError] = {}
    known: set[str] = set()
    for file in [*wanted, *sorted(folder.glob("*.toml"))]:
        is_named = file in wanted
        if file in found or not (is_named or _may_be_plan(file)):
            continue
        try:
            plan = load(file)
        except (FederationError, PrivacyError) as error:
            if is_named:
                found[file] = error if isinstance(error, PlanError) else _unusable(file, error)
            continue
        if plan.digest not in known and (is_named or plan.digest in approved):
            known.add(plan.digest)
            found[file] = plan
    return found


def _may_be_plan(file: Path) -> bool:
    try:
        return {"federation", "privacy"} <= read(file).data.keys()
    except FederationError:
        return False


def _unusable(file: Path, error: FederationError | PrivacyError) -> PlanError:
    return PlanError(error.message, hint=error.hint, path=file)


def missing_plans(rules: SiteFile, plans: Iterable[Plan]) -> Iterator[Finding]:
    """A warning for each approved plan that nobody can look at here."""
    known = {plan.digest for plan in plans}
    for approval in rules.policy.plans:
        if approval.digest not in known:
            yield odd(
                "plan",
                f"{approval.digest} is approved, and its file is not here: nobody can tell what it costs",
                'lay it beside the site file, or name it: [policy] plan_files = ["plan.toml"]',
            )


def look_at(plan: Plan, file: Path, rules: SiteFile, path: Path) -> PlanSeen:
    """What a plan asks of this site. Nothing is written; of a plan that the policy refuses no code is loaded."""
    known = looked("plan", lambda: _known(plan, file, rules))
    if known.level == "error":
        return PlanSeen(file, plan, (known,), ())
    budget = looked("budget", lambda: _budget(plan, rules))
    schema = looked("schema", lambda: _schema(plan, rules, path))
    return PlanSeen(file, plan, (known, budget, schema), tuple(leaves(plan, rules)))


def _known(plan: Plan, file: Path, rules: SiteFile) -> str:
    consent(plan, rules.policy)
    return f'{file}: "{plan.federation.name}", {plan.federation.rounds} rounds, {plan.digest}'


def _open_run(plan: Plan, account: Account) -> str | None:
    """In words, the run of this plan that the ledger holds open; None if there is none."""
    for name, run in account.runs.items():
        if run.plan == plan.digest and run.closed is None and "/" not in name:
            return f"run {name} is open and charged: {len(run.begun)} of its {run.rounds} rounds were begun"
    return None


def _budget(plan: Plan, rules: SiteFile) -> str | Finding:
    account = account_of(rules, rules.identity())  # once: a long ledger takes a while to verify
    if (told := _open_run(plan, account)) is not None:
        return told
    most = rules.policy.runs_of(plan.digest)
    if most is not None and account.runs_of(plan.digest) >= most:
        return odd(
            "budget",
            f"policy.plans approves {most} of its runs, and as many were made: another will be refused",
            "agree on another run in policy.plans, or take the plan out",
        )
    charged = (
        f"epsilon {spent(known['epsilon_before'])} charged per {unit}, {spent(known['epsilon_after'])} with this "
        f"plan, {known['epsilon_max']:g} is the limit"
        for unit, known in admitted(plan, rules.policy, account)["units"].items()
    )
    return "; ".join(charged) or "no limit: the plan is not private, and the policy allows that"


def _schema(plan: Plan, rules: SiteFile, path: Path) -> Finding:
    """Without any count: those are for a terminal, and this may be written to a log."""
    records = fitting(plan, rules, path)
    files = " and ".join(str(read.path) for read in records.files)
    return fine("schema", f"{files}: every column and cell is as the plan says")
