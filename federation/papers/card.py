"""A model card in the form of the Coalition for Health AI, as XML: the Applied Model Card, schema v0.2.

Its text fields are Markdown. Texts of plan and report are escaped as XML; what nobody told is a blank.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from xml.etree import ElementTree

from federation.papers.facts import BLANK, SIMULATED, Facts
from federation.report import wording
from federation.report.fairness.gaps import NO_VERDICT, gaps
from federation.report.fairness.words import figures_by_group, gap_title, ranged
from federation.report.report import Report

NAMESPACE = "https://mc.chai.org/v0.2/schema.xsd"
_TESTED = (
    "Whoever uses the model judges each case: it was tested for nothing beyond what stands under the metrics."
)
_Field = tuple[str, "str | list[_Field]"]


def model_card(facts: Facts) -> str:
    """The card as text."""
    root = ElementTree.Element("AppliedModelCard", xmlns=NAMESPACE)
    for name, content in _content(facts):
        _add(root, name, content)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add(parent: ElementTree.Element, name: str, content: str | list[_Field]) -> None:
    element = ElementTree.SubElement(parent, name)
    if isinstance(content, str):
        element.text = content
        return
    for inner, told in content:
        _add(element, inner, told)


def _content(facts: Facts) -> Iterator[_Field]:
    """All elements, in the order that the schema has them in."""
    report = facts.report
    yield (
        "BasicInfo",
        [
            ("ModelName", report.name),
            ("ModelDeveloper", facts.purpose("controllers")),
            ("DeveloperContact", facts.purpose("contact")),
        ],
    )
    yield (
        "ReleaseInfo",
        [
            ("ReleaseStage", "simulation: not for use" if report.simulated else BLANK),
            ("ReleaseDate", facts.date),
            ("ReleaseVersion", facts.audit.plan_digest),
            ("GlobalAvailability", facts.purpose("recipients")),
        ],
    )
    yield (
        "ModelSummary",
        [
            ("Summary", f"Predicts {facts.predicts}, trained by federated learning. {facts.guarantee}"),
            ("Keywords", [("Keyword", word) for word in ("federated learning", "differential privacy")]),
        ],
    )
    yield "UsesAndDirections", _uses(facts)
    yield (
        "Warnings",
        [
            (
                "KnownRisksAndLimitations",
                " ".join([*_simulated(report), *wording.assumptions(report), *facts.risks[:2], _TESTED]),
            ),
            ("KnownBiasesOrEthicalConsiderations", _fairness(facts)),
            ("ClinicalRiskLevel", BLANK),
        ],
    )
    yield (
        "TrustIngredients",
        [("AISystemFacts", _system(facts)), ("TransparencyInformation", _transparency(facts))],
    )
    yield "KeyMetrics", _metrics(facts)
    yield (
        "Resources",
        [
            ("EvaluationReferences", facts.verdict),
            ("PeerReviewedPublications", BLANK),
            ("PatientConsentOrDisclosure", facts.purpose("legal_basis")),
        ],
    )
    yield "Bibliography", ""


def _simulated(report: Report) -> list[str]:
    return [SIMULATED] if report.simulated else []


def _uses(facts: Facts) -> list[_Field]:
    return [
        ("IntendedUseAndWorkflow", facts.purpose("intended")),
        ("PrimaryIntendedUsers", facts.purpose("recipients")),
        ("HowToUse", f"federation predict RUN TABLE; inputs: {facts.inputs}"),
        ("TargetedPatientPopulation", BLANK),
        ("CautionedOutOfScopeSettings", facts.purpose("out_of_scope")),
    ]


def _system(facts: Facts) -> list[_Field]:
    report = facts.report
    return [
        ("OutcomesAndOutputs", facts.predicts),
        ("ModelType", facts.plan.code),
        ("InputDataSource", f"Records that stay at: {facts.sites}"),
        ("OutputAndInputDataTypes", f"Inputs: {facts.inputs}. Output: {facts.predicts}."),
        ("DevelopmentDataCharacterization", "Not disclosed beyond the public ranges of the plan, by design."),
        ("BiasMitigationApproaches", BLANK),
        ("OngoingMaintenance", facts.purpose("retention")),
        ("Security", " ".join(wording.departures(report))),
        ("Transparency", facts.guarantee),
    ]


def _transparency(facts: Facts) -> list[_Field]:
    return [("FundingSource", BLANK), ("StakeholdersConsulted", facts.purpose("assessment"))]


def _fairness(facts: Facts) -> str:
    groups = facts.plan.evaluation.groups
    return f"Figures by group were asked for: {', '.join(groups)}. {NO_VERDICT}" if groups else BLANK


def _metrics(facts: Facts) -> list[_Field]:
    """The figures that are known under usefulness; the privacy claim under safety."""
    source = "one published sum with noise, charged to whoever was held out"
    if facts.report.folds is not None:
        source = "a published sum with noise for each fold, charged to whoever was held out"
    elif facts.report.simulated:
        source = "exact figures on held-out records of a simulation"
    claim = [("epsilon", facts.epsilon), ("delta", facts.delta)]
    return [
        ("UsefulnessUsabilityEfficacy", _metric(list(facts.figures), "prediction", source)),
        ("FairnessEquity", _metric(_by_group(facts), "figures by group", source)),
        (
            "SafetyReliability",
            _metric([(name, json.dumps(value)) for name, value in claim], "privacy", facts.verdict),
        ),
    ]


def _by_group(facts: Facts) -> list[tuple[str, str]]:
    told, lacks = facts.report.evaluation, "too few" if facts.report.simulated else "hidden by noise"
    groups = figures_by_group(told)
    each = [
        (f"{name} {part}: {metric}", lacks if value is None or value.value is None else f"{value.value:.3f}")
        for name, parts in groups.items()
        for part, metrics in parts.items()
        for metric, value in metrics.items()
    ]
    between = [
        (
            f"{gap_title(gap.column, gap.part, gap.beside)}: {gap.what}",
            lacks if gap.found is None else ranged(gap.found),
        )
        for gap in gaps(groups)
    ]
    return each + between


def _metric(known: list[tuple[str, str]], goal: str, source: str) -> list[_Field]:
    results = known or [("none", BLANK)]
    return [
        ("MetricGoal", goal),
        (
            "Results",
            [("MetricResult", [("Label", label), ("ValueJson", _json(value))]) for label, value in results],
        ),
        ("Interpretation", BLANK),
        ("TestType", source),
        ("TestingDataDescription", "records that the sites held out; they stay there"),
        ("ValidationProcessAndJustification", BLANK),
    ]


def _json(text: str) -> str:
    """The number as JSON, or the text as JSON's string."""
    try:
        return json.dumps(float(text))
    except ValueError:
        return text if text == "null" else json.dumps(text)
