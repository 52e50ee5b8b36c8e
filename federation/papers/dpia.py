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
from federation.words import many


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
            ("purpose", facts.purpose("use")),
            ("not for", facts.purpose("out_of_scope")),
            ("why an assessment is due (Art. 35(1), (3))", BLANK),
            ("controllers and roles", facts.purpose("controllers")),
            ("arrangement of joint controllers (Art. 26)", BLANK),
            ("processors, such as who runs the coordinator, and their contracts (Art. 28)", BLANK),
            ("legal basis, and exception for special categories (Art. 6, 9)", facts.purpose("legal_basis")),
            ("legitimate interest, where that is the basis", BLANK),
            ("recipients of the model", facts.purpose("recipients")),
            ("transfers to third countries (Art. 44 to 49)", BLANK),
            ("retention", facts.purpose("retention")),
            ("contact", facts.purpose("contact")),
            (
                "whose records, how many, from where",
                f"{BLANK}: the data subjects, and the source of their data",
            ),
            ("where they are", facts.place),
            ("columns that are used", facts.inputs),
            ("what comes of them", facts.summary),
            ("operation", f"{many(facts.rounds, 'round')}, finished {facts.date}"),
        ],
    )
    yield ""
    yield "What leaves a site:"
    yield ""
    yield from bullets(wording.departures(facts.report))


def _necessity(facts: Facts) -> Iterator[str]:
    yield from bullets(
        [
            facts.real(
                "Minimization: no record leaves a site; the coordinator sees a sum over sites, with noise "
                "where the "
                "plan says so, and no site's own contribution."
            ),
            f"Storage: {facts.purpose('retention')}",
            f"Whether less data, fewer columns or no training would do: {BLANK}",
        ]
    )
    yield ""
    yield from table(
        ("right of data subjects", "how it is met"),
        [
            ("information (Art. 13, 14)", BLANK),
            (
                "access, rectification, portability (Art. 15, 16, 20)",
                f"At the site, which has the records. {BLANK}",
            ),
            (
                "withdrawal of consent, objection (Art. 7(3), 21)",
                "The program can leave a person's records out of every later round of a site (federation ledger "
                "withdraw); what was released before cannot be taken back. "
                f"How people ask for it: {BLANK}",
            ),
            (
                "erasure (Art. 17)",
                "Records are erased at the site. The model keeps what it learned, which the figures under c bound "
                f"where privacy is claimed. Whether it is personal data: {BLANK}",
            ),
            ("no decision by a machine alone (Art. 22)", BLANK),
        ],
    )


def _risks(facts: Facts) -> Iterator[str]:
    yield "Likelihood and severity are for the controllers to judge. What the mathematics bounds:"
    yield ""
    yield from bullets([facts.guarantee, *facts.meaning])
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
    yield "What that rests on, and what it does not cover:"
    yield ""
    yield from bullets(wording.assumptions(facts.report))
    yield ""
    yield "What no epsilon bounds:"
    yield ""
    yield from bullets(
        [
            "What is true of people in general, which the model is meant to learn, and says of anybody.",
            "What a decision made with the model does to a person.",
            "Records, keys or ledgers that are taken from a site's own machines.",
        ]
    )
    yield ""
    yield from table(
        ("risk", "source, likelihood, severity for people"),
        [
            ("records or the model reach others (confidentiality)", BLANK),
            ("records or the model are changed (integrity)", BLANK),
            ("records or the model are lost (availability)", BLANK),
            ("wrong or unfair predictions", BLANK),
            ("other risks of this use", BLANK),
        ],
    )


def _measures(facts: Facts) -> Iterator[str]:
    noise = (
        [facts.mechanism]
        if facts.is_private
        else ["No noise: nothing bounds what the model tells of a person."]
    )
    yield from bullets(
        [
            *noise,
            *(
                facts.real(text)
                for text in (
                    "Secure aggregation: what a site sends is masked, and only the sum over sites can be opened.",
                    "A site takes part in no plan but those that its own policy approves, and names by their "
                    "digest "
                    "or their task.",
                    "Every site keeps a signed, hash-chained ledger of what it spent, and refuses a plan "
                    "beyond its "
                    "limit.",
                    "Parties are known by keys on a signed roster; messages are signed, and lines are TLS.",
                )
            ),
            "The audit recounts epsilon with a second accountant: federation audit RUN --ledger FILE.",
            f"Measures at the sites, such as access, encryption, training, incidents: {BLANK}",
            f"What risk remains, and whether it is accepted: {BLANK}",
        ]
    )


def _review(facts: Facts) -> Iterator[str]:
    yield from table(
        ("what", "as stated"),
        [
            ("assessment or ethics vote on file", facts.purpose("reference")),
            ("advice of the data-protection officer (Art. 35(2))", BLANK),
            ("codes of conduct (Art. 35(8))", BLANK),
            ("views of data subjects (Art. 35(9))", BLANK),
            ("when it is reviewed (Art. 35(11))", BLANK),
            ("prior consultation (Art. 36)", BLANK),
            ("date and signature", BLANK),
        ],
    )
