"""An entry for the OpenDP deployments registry, as YAML: opendp/deployments-registry-data, deployments-schema.yaml.

The scalars are JSON's strings and numbers, which YAML 1.2 reads as they are. Status is always "Draft": whether an
entry is accepted is the registry's to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from federation.papers.facts import BLANK, SIMULATED, Facts
from federation.report import wording
from federation.report.numbers import upward

_ADJACENT = {
    "record": "Two datasets are adjacent if one is the other with one record added or removed at one site.",
    "patient": "Two datasets are adjacent if one is the other with all records of one patient added or removed.",
    "client": "Two datasets are adjacent if one is the other with all records of one site added or removed.",
}
_UNIT = {"record": "One record", "patient": "One patient", "client": "One institution"}


def registry_entry(facts: Facts) -> str:
    """The entry as text."""
    return "\n".join([f"# {facts.verdict}", *_lines(_entry(facts))]) + "\n"


def _entry(facts: Facts) -> dict[str, Any]:
    """Its content, in the order of the schema. Fields that nothing is known for are left out."""
    report = facts.report
    return {
        "url_slug": "-".join(re.findall(r"[a-z0-9]+", f"{report.name} {facts.date[:4]}".lower())) or "run",
        "status": "Draft",
        "tier": 3 if facts.is_private else 1,
        "deployment": {
            "basic": {
                "name": report.name,
                "data_curators": list(_curators(facts)),
                "intended_use": facts.purpose("use"),
                "data_product_type": "Summary statistics"
                if facts.plan.task_is_tally
                else "Machine learning model",
                "data_product_region": BLANK,
                "description": _description(facts),
                "publication_date": facts.date,
            },
            **(_private(facts) if facts.is_private else {}),
            "administrative": {
                "notes": _notes(facts),
                "registry_authors": [f"{BLANK}: who files this entry"],
            },
        },
    }


def _curators(facts: Facts) -> Iterator[str]:
    purpose = facts.plan.purpose
    yield from (purpose.controllers if purpose and purpose.controllers else [facts.purpose("controllers")])


def _description(facts: Facts) -> str:
    return f"{facts.summary} Sites: {facts.sites}. {facts.guarantee}"


def _notes(facts: Facts) -> str:
    said = [facts.verdict, *([SIMULATED] if facts.report.simulated else [])]
    return " ".join(
        [
            *said,
            f"Contact: {facts.purpose('contact')}.",
            f"Assessment or ethics vote: {facts.purpose('reference')}.",
        ]
    )


def _private(facts: Facts) -> dict[str, Any]:
    privacy = facts.report.privacy
    return {
        "dp_variant": {
            "variant_name": "Approximate DP",
            "data_domain": f"Records with the columns that the plan declares, with public ranges: {facts.inputs}.",
            "unprotected_quantities": "The number of records that each site declares, and which sites took part."
            + facts.only_simulated(" In this simulation also exact figures on test records."),
        },
        "privacy_loss": {
            "privacy_unit": _UNIT[privacy.unit],
            "privacy_unit_details": _ADJACENT[privacy.unit],
            "privacy_parameters": _parameters(facts),
            "privacy_parameters_details": facts.meaning[0] if facts.meaning else facts.guarantee,
        },
        "deployment_model": {
            "model_name": "Central" if privacy.noise == "central" else "Federated",
            "actors": f"{wording.assumptions(facts.report)[1]} Sites and coordinator see the params of each round. "
            f"Recipients of the model: {facts.purpose('recipients')}",
            "release_type": "One release",
            "data_source_type": "Static",
            "access_type": "Non-interactive",
        },
        "accounting": {
            "post_processing": "Whatever is made of released params and published sums alone costs nothing.",
            "composition": f"{facts.rounds} rounds{_and_evaluation(facts)} composed by privacy loss distributions, "
            "recounted by a second accountant. "
            + facts.real("A site's ledger limits all runs on one population together."),
        },
        "implementation": {
            "preprocessing_and_hyperparameter_tuning": _tuned(facts),
            "mechanisms": f"{facts.mechanism} It is drawn in integers from a cryptographic stream: no "
            "floating point "
            f"in the noise. Software: private-federation {_version(facts)}. "
            "Sizes of messages follow from the plan, and answers leave at whole paces. Access to the records: "
            f"{BLANK}",
            "justification": BLANK,
        },
    }


def _and_evaluation(facts: Facts) -> str:
    return "" if facts.report.privacy.together is None else " and the published evaluation"


def _version(facts: Facts) -> str:
    return BLANK if facts.report.made is None else facts.report.made.version


def _parameters(facts: Facts) -> dict[str, float]:
    """Epsilon rounded up: a claim may not be below what was spent."""
    epsilon = {} if facts.epsilon is None else {"epsilon": float(upward(facts.epsilon, 4))}
    return epsilon if facts.delta is None else {**epsilon, "delta": facts.delta}


def _tuned(facts: Facts) -> str:
    said = wording.tried(facts.report.privacy)
    return (
        " ".join(said)
        or "Real runs that were tries are charged in the ledgers like any other; of other tuning the run "
        f"knows nothing. {BLANK}"
    )


def _lines(value: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield f"{indent}{key}:"
            yield from _lines(inner, indent + "  ")
        elif isinstance(inner, Sequence) and not isinstance(inner, str):
            yield f"{indent}{key}:"
            yield from (f"{indent}  - {_scalar(item)}" for item in inner)
        else:
            yield f"{indent}{key}: {_scalar(inner)}"


def _scalar(value: str | float) -> str:
    """A text in quotes, on one line; a number as YAML 1.1 reads it, too, to which 1e-05 is a text."""
    if isinstance(value, float) and "e" in repr(value):
        return f"{value:.1e}" if float(f"{value:.1e}") == value else f"{value:.6e}"
    return json.dumps(value)
