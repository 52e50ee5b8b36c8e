"""What NIST SP 800-226 (March 2025) asks of a claim of differential privacy, answered from a run, as Markdown.

The questions are ours, in the order of the publication's pyramid: the guarantee and its unit, algorithm and
utility, trust, implementation, security, and the collection of the data. Where an answer is not in the files, it
is left blank.
"""

from __future__ import annotations

from collections.abc import Iterator

from federation.config.tables import SMALLEST
from federation.papers.facts import BLANK, SIMULATED, Facts
from federation.papers.marked import escaped, section
from federation.report import wording
from federation.report.numbers import spent, tiny
from federation.report.report import whole

_Answers = Iterator[tuple[str, str]]


def nist_answers(facts: Facts) -> str:
    """Questions and answers as text."""
    return "\n".join(_lines(facts)) + "\n"


def _lines(facts: Facts) -> Iterator[str]:
    yield f"# {escaped(facts.report.name)}: evaluating a claim of differential privacy (NIST SP 800-226)"
    yield ""
    yield f"Basis: {escaped(facts.verdict)}"
    if facts.report.simulated:
        yield ""
        yield f"**{SIMULATED}**"
    number = 0
    for title, answers in (
        ("The guarantee", _guarantee(facts)),
        ("The unit of privacy", _unit(facts)),
        ("Composition", _composition(facts)),
        ("Algorithm, utility and bias", _utility(facts)),
        ("Whom one has to trust", _trust(facts)),
        ("Implementation", _implementation(facts)),
        ("Security and access", _security(facts)),
        ("Collection of the data", _collection(facts)),
    ):
        yield from section(title, ())
        for question, answer in answers:
            number += 1
            yield from (f"**{number}. {question}**", "", escaped(answer), "")


def _guarantee(facts: Facts) -> _Answers:
    privacy = facts.report.privacy
    yield (
        "Which definition of differential privacy is claimed?",
        (
            "Approximate differential privacy, (epsilon, delta)."
            if privacy.private
            else "None. The plan adds no noise."
        ),
    )
    yield "What is epsilon?", facts.guarantee
    yield (
        "Is delta well below one over the number of people?",
        (
            f"delta is {tiny(facts.delta)}; a site refuses a plan whose delta is not below one over its records."
            if facts.delta
            else "There is none."
        ),
    )
    yield (
        "What does epsilon mean for one person?",
        " ".join([wording.meaning(privacy), *facts.risks]).strip() or "Nothing is promised.",
    )
    yield (
        "Has the claim been verified by others than who makes it?",
        (
            "It was recounted by the audit's own accountant, from the ledgers that were handed in: "
            f"{len(facts.report.sites) - len(facts.audit.without_ledger)} of {len(facts.report.sites)} sites."
        ),
    )


def _unit(facts: Facts) -> _Answers:
    privacy = facts.report.privacy
    yield "What is the unit: one event, one record, one person?", wording.UNITS[privacy.unit] + "."
    yield (
        "Are neighbors made by adding and removing, or by replacing?",
        ("By adding or removing. What is replaced is charged as twice the distance."),
    )
    yield (
        "What is promised to people with several records, or at several institutions?",
        (
            "; ".join(f"{wording.whom(line)}: epsilon {spent(whole(line))}" for line in privacy.units) + "."
            if privacy.units
            else "Nothing."
        ),
    )


def _composition(facts: Facts) -> _Answers:
    yield (
        "Does the claim cover every release of the run?",
        wording.assumptions(facts.report)[-1] if (facts.is_private) else "There is no claim.",
    )
    yield (
        "What of other releases on the same data?",
        (
            "Each site's ledger charges all plans on one population against one limit, fixed before the first "
            "release; releases outside of this program are not in it."
        ),
    )
    yield (
        "Was budget spent on tuning, and is it counted?",
        (
            " ".join(wording.tried(facts.report.privacy))
            or f"The run knows of no other on these data. {BLANK}"
        ),
    )
    yield (
        "Can people ask adaptive questions (an interactive query model)?",
        (
            "No. A run is one plan, fixed before its first round; later plans need room in the same limit, by a "
            "filter that allows for choices made after seeing results."
        ),
    )


def _utility(facts: Facts) -> _Answers:
    figures = "; ".join(f"{name}: {value}" for name, value in facts.figures)
    yield (
        "Which mechanism makes the guarantee?",
        (
            f"Discrete Gaussian noise on sums of gradients clipped to {facts.plan.privacy.clipping_norm:g}, "
            f"{facts.report.privacy.noise_multiplier:.3f} times that norm; sampling at a rate of "
            f"{facts.plan.training.sample_rate:g}."
            if facts.is_private and facts.plan.privacy.clipping_norm and facts.report.privacy.noise_multiplier
            else "None."
        ),
    )
    yield (
        "How accurate is the result, and how was that measured?",
        figures or ("The plan publishes no evaluation: nothing about accuracy left the sites."),
    )
    yield (
        "Could noise or clipping fall harder on small groups?",
        (
            f"Figures by group were published for {', '.join(facts.plan.evaluation.groups)}; see the report."
            if facts.plan.evaluation.groups
            else f"Not measured in this run: the plan names no evaluation.groups. {BLANK}"
        ),
    )
    yield "Systemic and human bias: who is missing from the data, and who decides with the model?", BLANK


def _trust(facts: Facts) -> _Answers:
    noise = facts.plan.privacy.noise
    where = {
        "distributed": "Each site adds a share of the noise before it masks its vector; nobody has the exact sum.",
        "site": "Each site adds all of the noise itself.",
        "central": "The coordinator adds the noise, and sees the exact sum before.",
        "none": "Nobody adds noise.",
    }
    yield "Central, local, or between: who adds the noise?", where[noise]
    yield "Who must be honest for the claim to hold?", " ".join(wording.assumptions(facts.report)[1:2])
    yield (
        "What does the coordinator see?",
        (
            "Sums over the sites of a round, and who took part; not what one site added."
            if facts.plan.cohort.minimum > SMALLEST
            else "Sums over two sites: each of the two can take its own part away and see the other's."
        ),
    )
    yield (
        "What is made public or given to others?",
        (f"{'; '.join(wording.departures(facts.report))} Recipients: {facts.purpose('recipients')}"),
    )


def _implementation(facts: Facts) -> _Answers:
    yield (
        "Is noise drawn without floating-point gaps?",
        (
            "Yes. The discrete Gaussian is drawn exactly, in whole numbers, from an AES-256-CTR keystream under a "
            "key of the operating system's randomness; no plan seeds it."
        ),
    )
    yield (
        "Is the sensitivity proven for what the code computes?",
        (
            "Clipped vectors are rounded to whole numbers; what rounding can add is in the bound that is charged."
        ),
    )
    yield (
        "Timing and size side channels?",
        (
            "Lengths follow from the plan alone, errors are one byte, and an answer that read records leaves at "
            "whole paces. What others measure on the same machine is not protected."
        ),
    )
    yield (
        "Which software, which version, and how is it tested?",
        (
            f"private-federation {facts.report.made.version if facts.report.made else BLANK}; docs/assurance.md "
            "lists each property and its tests. federation rehearse tries an installation with made-up records."
        ),
    )


def _security(facts: Facts) -> _Answers:
    yield "Who can reach the records?", f"They stay at the sites: {facts.sites}. Access there: {BLANK}"
    yield (
        "How are parties authenticated, and messages protected?",
        (
            "By Ed25519 keys on a roster that the consortium signs; every message is signed, what passes through "
            "the coordinator is sealed for its reader, and lines are TLS."
        ),
    )
    yield "What is kept, where, and for how long?", facts.purpose("retention")
    yield (
        "Can anybody change the record of what was spent?",
        (
            "Not without it showing: each ledger is a chain of signed entries whose heads peers and receipts hold."
        ),
    )


def _collection(facts: Facts) -> _Answers:
    yield (
        "What is the purpose, and on which legal basis?",
        (f"{facts.purpose('intended')}; {facts.purpose('legal_basis')}"),
    )
    yield "What is out of scope?", facts.purpose("out_of_scope")
    yield "Is it known what was collected, and minimized?", f"The plan reads: {facts.inputs}. {BLANK}"
    yield (
        "Could the raw data leak before privacy is applied?",
        (f"Differential privacy says nothing about the sites' own systems. {facts.purpose('assessment')}"),
    )
    yield "Who answers questions?", facts.purpose("contact")
