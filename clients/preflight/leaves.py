"""What leaves a site under a plan, how many bytes a round, to whom, and what that means in risk."""

from __future__ import annotations

from collections.abc import Iterator

from clients.policy import SiteFile
from federation.config.tables import SMALLEST
from federation.errors import FederationError
from federation.model.params import Layout
from federation.model.task import build_task
from federation.plan.guarantee import cost_for
from federation.plan.plan import Plan
from federation.report.numbers import octets, spent, upward
from federation.report.risks.words import lead
from federation.round.cohort import stand_ins
from federation.round.excess import planned_cohort
from federation.round.messages import Member
from federation.round.terms import Terms
from privacy.accounting.risks.charged import risk_for, told
from privacy.accounting.units import Patient
from privacy.errors import PrivacyError

_ALWAYS, _NEIGHBOR = (
    2400,
    1500,
)  # bytes of a round beside the vector: keys and signatures; what is sealed for one site


def bytes_a_round(plan: Plan, size: int) -> tuple[int, int]:
    """About how many bytes a site sends in a round of the planned cohort, and of how many numbers its vector is."""
    dimension = Layout.of(build_task(plan).model()).dimension
    members = tuple(Member(site, size) for site in stand_ins(planned_cohort(plan)))
    terms = Terms(plan, bytes(16), 1, 1, members, dimension).groups[0]
    vector = (terms.length * terms.codec.ring_bits + 7) // 8
    return vector + _ALWAYS + _NEIGHBOR * terms.parameters.shape.degree, terms.length


def leaves(plan: Plan, rules: SiteFile) -> Iterator[tuple[str, str]]:
    """Each thing that leaves, or does not, by name and in words."""
    to = "the coordinator that the roster names" if rules.server is None else rules.server.address
    yield "to whom", f"{to}, which passes on to the other sites what is sealed for them"
    yield (
        "at the start",
        f"this site's id, its declared size {rules.data.size}, its signed consent, its ledger's head",
    )
    try:
        count, length = bytes_a_round(plan, rules.data.size or 1)
        noise = "without noise" if plan.privacy.noise in ("none", "central") else "with noise"
        yield (
            "each round",
            f"about {octets(count)}: a masked vector of {length} numbers, {noise}; keys, sealed shares, signatures",
        )
    except (FederationError, PrivacyError) as error:
        yield "each round", f"unknown: {error.message}"
    least = rules.policy.survivors_demanded(plan)
    yield (
        "is opened",
        f"the sum over {least} sites or more, and whose it is; never what this site alone added to it"
        if least > SMALLEST
        else "the sum over 2 sites or more, and whose it is; of two, the other site sees what this one added, "
        "with its noise",
    )
    yield from _evaluation(plan)
    yield "never leaves", "a record, how many there are, a loss, a metric of this site, the text of an error"
    yield "risk", risk_of(plan)


def _evaluation(plan: Plan) -> Iterator[tuple[str, str]]:
    if plan.evaluation.epsilon is not None:
        yield (
            "at the end",
            "sums over this site's held-out records (answers, scores or errors), with noise and masked: the sum of "
            "all sites is published",
        )


def risk_of(plan: Plan) -> str:
    """What the whole plan may tell of one unit that it protects, in words."""
    if not plan.is_private or plan.privacy.delta is None:
        return 'NOT PRIVATE: noise = "none", so what is opened may show whether a record was trained on'
    unit, delta = plan.privacy.unit, plan.privacy.delta
    epsilon = cost_for(plan, unit, Patient()).together
    one = "this whole site" if unit == "client" else f"one {unit}"
    risk = risk_for(plan.charges, unit, Patient(), delta)
    most = upward(1.0 if risk is None else risk.advantage, 3)
    seen = (
        " (the coordinator adds the noise and sees the sum without it)"
        if plan.privacy.noise == "central"
        else ""
    )
    return (
        f"epsilon {spent(epsilon)} at delta {delta:g} for {one}{seen}: whoever guesses from all that is opened "
        f"whether it was in has a hit rate at most {most} above the rate of false alarms (0: blind, 1: certain). "
        f"{lead(told(risk), unit)}"
    )
