"""A model card in the form of the Coalition for Health AI, as XML: the Applied Model Card, schema v0.2.

Its text fields are Markdown. Texts of plan and report are escaped as XML; what nobody told is a blank.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from xml.etree import ElementTree

from federation.papers.facts import BLANK, SIMULATED, Facts
from federation.plan.columns.encoder import encoders_of, promise
from federation.plan.personal import kept_of, told_of_kept
from federation.report import wording
from federation.report.fairness.gaps import NO_VERDICT, gaps
from federation.report.fairness.words import figures_by_group, gap_title, ranged
from federation.report.numbers import spent, upward
from federation.report.report import Report, whole

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
            ("ModelDeveloper", f"{BLANK}. Controllers of the data: {facts.purpose('controllers')}"),
            ("DeveloperContact", facts.purpose("contact")),
        ],
    )
    yield (
        "ReleaseInfo",
        [
            ("ReleaseStage", "simulation: not for use" if report.simulated else BLANK),
            ("ReleaseDate", f"{BLANK}. Trained: {facts.date}"),
            ("ReleaseVersion", f"run {facts.audit.run} of plan {facts.audit.plan_digest}"),
            ("GlobalAvailability", f"{BLANK}. Recipients of the model: {facts.purpose('recipients')}"),
        ],
    )
    yield (
        "ModelSummary",
        [
            ("Summary", f"{facts.summary} {facts.guarantee}"),
            ("Keywords", [("Keyword", word) for word in _keywords(facts)]),
        ],
    )
    yield "UsesAndDirections", _uses(facts)
    yield (
        "Warnings",
        [
            (
                "KnownRisksAndLimitations",
                " ".join(
                    [
                        *_simulated(report),
                        *wording.assumptions(report),
                        *_people(facts),
                        *(promise(one.name, one.trained_on) for one in encoders_of(facts.plan.task)),
                        *_base(facts),
                        *facts.risks[:2],
                        _TESTED,
                    ]
                ),
            ),
            (
                "KnownBiasesOrEthicalConsiderations",
                f"{_fairness(facts).rstrip('.')}. Assessment or ethics vote: {facts.purpose('reference')}",
            ),
            ("ClinicalRiskLevel", BLANK),
        ],
    )
    yield (
        "TrustIngredients",
        [("AISystemFacts", _system(facts)), ("TransparencyInformation", _transparency())],
    )
    yield "KeyMetrics", _metrics(facts)
    yield (
        "Resources",
        [
            ("EvaluationReferences", facts.verdict),
            ("PeerReviewedPublications", BLANK),
            ("PatientConsentOrDisclosure", f"{BLANK}. Legal basis: {facts.purpose('legal_basis')}"),
        ],
    )
    yield "Bibliography", ""


def _simulated(report: Report) -> list[str]:
    return [SIMULATED] if report.simulated else []


def _base(facts: Facts) -> list[str]:
    """What of the model was there before, what it lacks, and what is not promised."""
    base, kept = facts.plan.base, kept_of(facts.plan)
    found = [] if base is None else [f"A frozen base, {base.digest}, was trained on: {base.told}"]
    return found if kept is None else [*found, told_of_kept(*kept)]


def _keywords(facts: Facts) -> list[str]:
    return ["federated learning", *(["differential privacy"] if facts.is_private else [])]


def _people(facts: Facts) -> Iterator[str]:
    """What the run costs whoever has more in the data than one unit."""
    for line in facts.report.privacy.units[1:]:
        yield f"Epsilon for {wording.whom(line)}: {spent(whole(line))}."


def _uses(facts: Facts) -> list[_Field]:
    return [
        ("IntendedUseAndWorkflow", facts.purpose("use")),
        ("PrimaryIntendedUsers", f"{BLANK}. Recipients of the model: {facts.purpose('recipients')}"),
        ("HowToUse", _use(facts)),
        ("TargetedPatientPopulation", BLANK),
        ("CautionedOutOfScopeSettings", facts.purpose("out_of_scope")),
    ]


def _use(facts: Facts) -> str:
    if facts.plan.task_is_tally:
        return "Read the statistics in the report; there is no model to be used."
    return (
        f"federation predict RUN TABLE, on a table with the columns {facts.inputs}. In the workflow: {BLANK}"
    )


def _system(facts: Facts) -> list[_Field]:
    report = facts.report
    return [
        ("OutcomesAndOutputs", facts.summary),
        ("ModelType", facts.model),
        ("InputDataSource", f"Records that are {facts.place}"),
        ("OutputAndInputDataTypes", f"Inputs: {facts.inputs}. Output: {facts.predicts}."),
        (
            "DevelopmentDataCharacterization",
            " ".join(
                [
                    f"The sites disclose nothing of their records beyond what the plan makes public. {BLANK}",
                    *_base(facts),
                ]
            ),
        ),
        ("BiasMitigationApproaches", BLANK),
        ("OngoingMaintenance", f"{BLANK}. Retention: {facts.purpose('retention')}"),
        ("Security", " ".join(wording.departures(report))),
        ("Transparency", facts.guarantee),
    ]


def _transparency() -> list[_Field]:
    return [("FundingSource", BLANK), ("StakeholdersConsulted", BLANK)]


def _fairness(facts: Facts) -> str:
    groups = facts.plan.evaluation.groups
    return f"Figures by group were asked for: {', '.join(groups)}. {NO_VERDICT}" if groups else BLANK


def _metrics(facts: Facts) -> list[_Field]:
    """The figures that are known under usefulness; the privacy claim under safety."""
    groups = _by_group(facts)
    claim = [
        ("epsilon", "null" if facts.epsilon is None else upward(facts.epsilon, 4)),
        ("delta", json.dumps(facts.delta)),
    ]
    held_out = "records that were held out of the training"
    none = "none: no figure by group was made"
    return [
        (
            "UsefulnessUsabilityEfficacy",
            _metric([*_published(facts), *facts.figures], "prediction", facts.source, held_out),
        ),
        ("FairnessEquity", _metric(groups, "figures by group", facts.source if groups else none, held_out)),
        (
            "SafetyReliability",
            _metric(
                claim,
                "privacy",
                facts.verdict,
                "none: epsilon is proved of the mechanism, not measured on data",
            ),
        ),
    ]


def _published(facts: Facts) -> list[tuple[str, str]]:
    """The figures of one published evaluation of classes by name; its sentence stands beside them."""
    published = facts.report.evaluation.published
    if published is None or published.accuracy is None:
        return []
    told = {
        "accuracy": published.accuracy,
        "standard error of the accuracy, of the noise alone": published.standard_error,
        "loss": published.loss,
    }
    return [(name, f"{value:.3f}") for name, value in told.items() if value is not None]


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


def _metric(known: list[tuple[str, str]], goal: str, source: str, data: str) -> list[_Field]:
    results = known or [("none", BLANK)]
    return [
        ("MetricGoal", goal),
        (
            "Results",
            [("MetricResult", [("Label", label), ("ValueJson", _json(value))]) for label, value in results],
        ),
        ("Interpretation", BLANK),
        ("TestType", source),
        ("TestingDataDescription", data),
        ("ValidationProcessAndJustification", BLANK),
    ]


def _json(text: str) -> str:
    """The number as JSON, or the text as JSON's string."""
    try:
        return json.dumps(float(text))
    except ValueError:
        return text if text == "null" else json.dumps(text)
