"""The page of what left a site: one file, which opens from disk and loads nothing, in words for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from federation.papers.left.facts import Left, Release, Study, left
from federation.plan.plan import Plan
from federation.report.numbers import MISSING, octets, spent, tiny
from federation.report.plots import epsilon_per_round
from federation.report.risks.words import lead
from federation.report.templates import page_template
from federation.report.wording import UNITS
from federation.words import many
from privacy.ledger.chain import Entry

_NEVER = (
    "No record left, no part of one, and no model of this site alone. What left, left in messages that are listed "
    "below: each is one vector of whole numbers, hidden under masks that cancel only in the sum over the sites."
)
_IN_SUM = (
    "The site added its share of the noise before it masked the vector; the sum, once opened, has all of it."
)
_OWN = "The site added all of the noise itself before it masked the vector."
_NONE = "No noise was added under a plan without privacy: what its sum says about a person, it says openly."
_SEEN = (
    ("the coordinator", "which sites took part and when, masked vectors, and sums over sites, once opened"),
    (
        "the other sites",
        "who took part; shares of mask secrets, sealed for each of them; the model of each round",
    ),
    ("whoever gets the model", "the model of the last round, and what the plan publishes"),
    (
        "nobody",
        "this site's own vector without its masks; of two sites, each can tell what the other added to a sum",
    ),
)
_MOST_DRAWN = 20  # runs


def render(entries: Sequence[Entry], plans: Sequence[Plan] = (), withdrawn: Sequence[str] = ()) -> str:
    """The page, as HTML. `plans`: those at hand, for names and purposes; `withdrawn`: what the site's people know.

    LedgerCorrupt if the ledger does not verify.
    """
    found = left(entries)
    told = found.statement
    by_digest = {plan.digest: plan for plan in plans}
    return page_template(Path(__file__).parent, minute, amount, so_far, told_epsilon).render(
        left=found,
        told=told,
        answers=list(_answers(found)),
        budgets=list(_budgets(told)),
        seen=_SEEN,
        units=UNITS,
        names={digest: plan.federation.name for digest, plan in by_digest.items()},
        purposes={digest: _purpose(plan) for digest, plan in by_digest.items()},
        drawings=[_drawn(study) if place < _MOST_DRAWN else "" for place, study in enumerate(found.studies)],
        withdrawn=withdrawn,
    )


def _answers(found: Left) -> Iterator[str]:
    if not found.rounds:
        yield "Nothing left this site."
        return
    size = "" if found.size is None else f", {octets(found.size)} together"
    runs = len({study.name.partition("/")[0] for study in found.studies})
    yield f"{many(found.rounds, 'message')} with a vector could leave, in {many(runs, 'run')}{size}. {_NEVER}"
    ways = {(study.is_private, study.summed) for study in found.studies if study.releases}
    for known, text in (((True, True), _IN_SUM), ((True, False), _OWN)):
        if known in ways:
            yield text
    if any(not is_private for is_private, _ in ways):
        yield _NONE


def _budgets(told: Mapping[str, Any]) -> Iterator[str]:
    for unit, line in told["units"].items():
        limit = "" if line["epsilon_max"] is None else f" of {line['epsilon_max']:g} that the site allows"
        yield (
            f"For {UNITS[unit]}, epsilon {spent(line['epsilon'])}{limit} is charged, at delta "
            f"{tiny(line['delta'])}, for all runs together. {lead(line.get('risk'), unit)}"
        )


def _purpose(plan: Plan) -> str:
    return "" if plan.purpose is None else " ".join(plan.purpose.use or ())


def _drawn(study: Study) -> str:
    told = [(release.number, release.epsilon) for release in study.releases if release.epsilon is not None]
    if len(told) < 2:
        return ""
    drawing = epsilon_per_round([number for number, _ in told], [epsilon for _, epsilon in told])
    return Markup(drawing)  # noqa: S704  our own plot; text in it is escaped


def minute(at: str) -> str:
    """A minute as people read it; n/a where an earlier ledger says none.

    >>> minute("2026-11-29T10:31Z"), minute("")
    ('2026-11-29 10:31 UTC', 'n/a')
    """
    return f"{at[:10]} {at[11:16]} UTC" if at else MISSING


def amount(release: Release) -> str:
    """How many bytes left; "nothing" if the round stopped before."""
    return octets(release.size) if release.sent else "nothing"


def so_far(epsilon: float | None) -> str:
    """An epsilon, or that there is none."""
    return "no bound" if epsilon is None else spent(epsilon)


def told_epsilon(epsilon: float | None, delta: float) -> str:
    """A charge in words."""
    return "without any bound" if epsilon is None else f"epsilon {spent(epsilon)} at delta {tiny(delta)}"
