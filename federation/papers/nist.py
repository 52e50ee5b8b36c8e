"""What NIST SP 800-226 (March 2025) asks of a claim of differential privacy, answered from a run, as Markdown.

The questions are ours, in the order of the publication's pyramid: the guarantee and its unit, algorithm and
utility, trust, implementation, security, and the collection of the data. Where an answer is not in the files, it
is left blank.
"""

from __future__ import annotations

from collections.abc import Iterator

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
            "Approximate differential privacy, (epsilon, delta): whatever is released is nearly as likely with the "
            "unit in the data as without it. Epsilon bounds the ratio of both chances, delta what may go beyond."
            if privacy.private
            else "None. The plan adds no noise."
        ),
    )
    yield "What is epsilon?", facts.guarantee
    yield (
        "Is delta well below one over the number of people?",
        (
            f"delta is {tiny(facts.delta)}, one in {1 / facts.delta:,.0f}. A site refuses a plan whose delta "
            "is not "
            "below one over the number of units that it holds itself."
            if facts.delta
            else "There is none."
        ),
    )
    yield "What does epsilon mean for one person?", " ".join(facts.meaning) or "Nothing is promised."
    yield (
        "Has the claim been verified?",
        (
            "The audit recounted it with an accountant that shares no code with the one that spent, by the "
            "ledgers of "
            f"{facts.ledgers}. It cannot see whether noise was drawn as signed. "
            f"Whether who gave the audit is independent of who claims: {BLANK}"
        ),
    )


def _unit(facts: Facts) -> _Answers:
    privacy = facts.report.privacy
    yield (
        "What is the unit: one event, one record, one person?",
        wording.UNITS[privacy.unit].capitalize() + (" at one site." if privacy.unit == "record" else "."),
    )
    yield (
        "Are neighbors made by adding and removing, or by replacing?",
        (
            "By adding or removing a unit (unbounded neighbors). Where a unit can only be replaced by "
            "another, twice "
            "the distance is charged."
        ),
    )
    yield (
        "What is promised to people with several records, or at several institutions?",
        (
            "; ".join(f"{wording.whom(line)}: epsilon {spent(whole(line))}" for line in privacy.units) + "."
            if privacy.units
            else "Nothing."
        ),
    )
    yield (
        "What is told exactly, without noise (invariants)?",
        (
            "The number of records that each site declares, and which sites took part."
            + facts.only_simulated(" Exact figures on test records, too, as this is a simulation.")
        ),
    )


def _composition(facts: Facts) -> _Answers:
    counted = f"{facts.rounds} rounds of training" + (
        ", and the published evaluation" if facts.report.privacy.together is not None else ""
    )
    yield (
        "Does the claim cover every release of the run?",
        (
            f"It is that of {counted}, composed. {wording.assumptions(facts.report)[-1]}"
            if facts.is_private
            else "There is no claim."
        ),
    )
    yield (
        "What of other releases on the same data, over time?",
        facts.real(
            "Each site's ledger charges all plans on one population against one limit, fixed before the first "
            "release, and nothing is given back with time. Releases outside of this program are not in it."
        ),
    )
    yield (
        "Was budget spent on tuning, and is it counted?",
        (
            " ".join(wording.tried(facts.report.privacy))
            or "Real runs that were tries are charged in the ledgers like any other. Of others the run knows "
            f"nothing. {BLANK}"
        ),
    )
    yield (
        "Who can ask questions of the data, and may later ones depend on earlier answers?",
        (
            "Nobody asks freely. A run is one plan, fixed before its first round, and a site takes part in "
            "plans that "
            "its own policy approves. Later plans need room in the same limit, by a filter that allows for choices "
            "made after seeing results."
        ),
    )
    yield (
        "Is the result processed further (post-processing)?",
        "Whatever is made of released params and published sums alone costs nothing more.",
    )


def _utility(facts: Facts) -> _Answers:
    figures = "; ".join(f"{name}: {value}" for name, value in facts.figures)
    yield "Which mechanism makes the guarantee?", facts.mechanism
    yield (
        "How are the data prepared before it?",
        (
            f"By the code {facts.plan.code}. What it learns from records: {BLANK}"
            if facts.plan.has_own_code
            else "As the plan says, by public ranges, public values and rules for gaps; a site learns nothing "
            f"from records for it. Where the plan's author has ranges, values and settings from: {BLANK}"
        ),
    )
    yield "How accurate is the result, and how was that measured?", f"{facts.source} {figures}".strip()
    yield (
        "Could noise or clipping fall harder on small groups (statistical bias)?",
        (
            f"The plan asks for figures by group: {', '.join(facts.plan.evaluation.groups)}. Those that there are "
            f"stand in the report and in the model card. What they mean: {BLANK}"
            if facts.plan.evaluation.groups
            else f"It can. Not measured in this run: the plan names no evaluation.groups. {BLANK}"
        ),
    )
    yield "Systemic and human bias: who is missing from the data, and who decides with the model?", BLANK


def _trust(facts: Facts) -> _Answers:
    where = {
        "distributed": "Each site adds a share of the noise before it masks its vector; nobody has the exact sum.",
        "site": "Each site adds all of the noise itself.",
        "central": "The coordinator adds the noise, and sees the exact sum before.",
        "none": "Nobody adds noise.",
    }
    yield "Central, local, or between: who adds the noise?", facts.real(where[facts.plan.privacy.noise])
    yield (
        "Who must be honest for the claim to hold?",
        wording.assumptions(facts.report)[1] if facts.is_private else "There is no claim.",
    )
    yield (
        "What does the coordinator see?",
        facts.real(
            " ".join(
                [
                    "Sums over the sites of a round, and who took part; not what one site added.",
                    *wording.of_two(facts.report),
                ]
            )
        ),
    )
    yield "What leaves a site?", " ".join(wording.departures(facts.report))
    yield (
        "What is made public or given to others?",
        (
            "Every site of the run and the coordinator see the params of each round. The run folder holds the last "
            f"ones, the report and who took part. Recipients: {facts.purpose('recipients')}"
        ),
    )


def _implementation(facts: Facts) -> _Answers:
    yield (
        "Is noise drawn without floating-point gaps?",
        (
            "Yes. The discrete Gaussian is drawn exactly, in whole numbers, from an AES-256-CTR keystream under a "
            "key of the operating system's randomness; no plan seeds it."
            if facts.is_private
            else "There is no noise."
        ),
    )
    yield (
        "Is the sensitivity proven for what the code computes?",
        (
            "Clipped vectors are rounded to whole numbers; what rounding can add is in the bound that is charged."
            if facts.is_private
            else "Nothing is bounded: there is no claim."
        ),
    )
    yield (
        "Timing and size side channels?",
        facts.real(
            "Lengths follow from the plan alone, errors are one byte, and an answer that read records leaves at "
            "whole paces. What others measure on the same machine is not protected."
        ),
    )
    yield (
        "Which software, which version, and how is it tested?",
        (
            f"private-federation {facts.report.made.version if facts.report.made else BLANK}, by the word of "
            "whoever "
            "ran it; docs/assurance.md lists each property and its tests. federation rehearse tries an "
            "installation "
            f"with made-up records: {_measured(facts)}."
        ),
    )


def _measured(facts: Facts) -> str:
    sites = [found.site for found in facts.audit.measured]
    return (
        f"measured, and taken up by the audit, at {', '.join(sites)}"
        if sites
        else "no measurement was handed in"
    )


def _security(facts: Facts) -> _Answers:
    yield "Where are the records, and who can reach them?", f"They are {facts.place}. Who has access: {BLANK}"
    yield (
        "How are parties authenticated, and messages protected?",
        facts.real(
            "By Ed25519 keys on a roster that the consortium signs; every message is signed, what passes through "
            "the coordinator is sealed for its reader, and lines are TLS."
        ),
    )
    yield "What is kept, where, and for how long?", facts.purpose("retention")
    yield (
        "Can anybody change the record of what was spent?",
        facts.real(
            "Not without it showing: each ledger is a chain of signed entries whose heads peers and receipts hold."
        ),
    )


def _collection(facts: Facts) -> _Answers:
    yield (
        "What is the purpose, and on which legal basis?",
        (f"Purpose: {facts.purpose('use')}. Legal basis: {facts.purpose('legal_basis')}"),
    )
    yield "What is out of scope?", facts.purpose("out_of_scope")
    yield (
        "Is it known what was collected, and minimized?",
        f"The plan reads: {facts.inputs}. How they were collected, and whether fewer would do: {BLANK}",
    )
    yield (
        "Could the raw data leak before privacy is applied?",
        (
            "Differential privacy says nothing about the sites' own systems. Protection there: "
            f"{BLANK}. Assessment on file: {facts.purpose('reference')}"
        ),
    )
    yield (
        "Who answers for the data, and who answers questions?",
        (f"Controllers: {facts.purpose('controllers')}. Contact: {facts.purpose('contact')}"),
    )
