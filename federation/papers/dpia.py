"""A skeleton of a data-protection impact assessment: GDPR Art. 35(7), points a to d, as Markdown.

It says what plan, run and audit say, and asks for the rest. It assesses nothing: that is for the controllers and
their officer.
"""

from __future__ import annotations

from collections.abc import Iterator

from federation.papers.facts import BLANK, SIMULATED, Facts
from federation.papers.marked import bullets, escaped, section, table
from federation.report import wording
from federation.report.numbers import spent


def impact_assessment(facts: Facts) -> str:
    """The skeleton as text."""
    return "\n".join(_lines(facts)) + "\n"


def _lines(facts: Facts) -> Iterator[str]:
    yield f"# Data-protection impact assessment: {escaped(facts.report.name)}"
    yield ""
    yield f"A skeleton after GDPR Art. 35(7). Where it says {BLANK}, the controllers do."
    yield f"Basis: {escaped(facts.verdict)}"
    if facts.report.simulated:
        yield ""
        yield f"**{SIMULATED}**"
    yield from section("a. The processing and its purposes", _processing(facts))
    yield from section("b. Necessity and proportionality", _necessity(facts))
    yield from section("c. Risks to the rights and freedoms of data subjects", _risks(facts))
    yield from section("d. Measures to address the risks", _measures(facts))
    yield from section("Advice and review", _review(facts))


def _processing(facts: Facts) -> Iterator[str]:
    yield from table(
        ("what", "as stated"),
        [
            ("purpose", facts.purpose("intended")),
            ("not for", facts.purpose("out_of_scope")),
            ("controllers and roles", facts.purpose("controllers")),
            ("legal basis", facts.purpose("legal_basis")),
            ("recipients of the model", facts.purpose("recipients")),
            ("retention", facts.purpose("retention")),
            ("contact", facts.purpose("contact")),
            ("whose records", f"{BLANK}: the data subjects"),
            ("where they are", f"at the sites, which they never leave: {facts.sites}"),
            ("personal data used", f"the columns {facts.inputs}; to predict {facts.predicts}"),
            ("operation", f"{facts.rounds} rounds of federated training, finished {facts.date}"),
        ],
    )
    yield ""
    yield "What left each site:"
    yield ""
    yield from bullets(wording.departures(facts.report))


def _necessity(facts: Facts) -> Iterator[str]:
    yield from bullets(
        [
            "Minimization: no record leaves a site; the coordinator sees a sum over sites, with noise where the "
            "plan says so, and no site's own contribution.",
            f"Storage: {facts.purpose('retention')}",
            f"Whether less data, fewer columns or no training would do: {BLANK}",
            f"How data subjects are informed, and how they object: {BLANK}",
        ]
    )


def _risks(facts: Facts) -> Iterator[str]:
    yield "Likelihood and severity are for the controllers to judge. What the mathematics bounds:"
    yield ""
    meaning = wording.meaning(facts.report.privacy)
    yield from bullets([facts.guarantee, *([meaning] if meaning else []), *facts.risks])
    if facts.report.privacy.units:
        yield ""
        yield from table(
            ("who", "epsilon of this run"),
            [
                (wording.whom(line), spent(line.together.epsilon if line.together else line.epsilon))
                for line in facts.report.privacy.units
            ],
        )
    yield ""
    yield "What it does not bound:"
    yield ""
    yield from bullets(
        [
            "What is true of people in general, which the model is meant to learn, and says of anybody.",
            "What a decision made with the model does to a person.",
            "Records, keys or ledgers that are taken from a site's own machines.",
            f"Risks of this use: {BLANK}",
        ]
    )


def _measures(facts: Facts) -> Iterator[str]:
    yield from bullets(
        [
            *wording.assumptions(facts.report),
            "Every site keeps a signed, hash-chained ledger of what it spent, and refuses a plan beyond its limit.",
            "The audit recounts epsilon with a second accountant: federation audit RUN --ledger FILE.",
            f"Organizational measures at the sites: {BLANK}",
        ]
    )


def _review(facts: Facts) -> Iterator[str]:
    yield from table(
        ("what", "as stated"),
        [
            ("assessment or ethics vote on file", facts.purpose("assessment")),
            ("advice of the data-protection officer", BLANK),
            ("views of data subjects (Art. 35(9))", BLANK),
            ("prior consultation (Art. 36)", BLANK),
            ("date and signature", BLANK),
        ],
    )
