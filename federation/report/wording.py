"""A run in plain words: what its epsilon means, what left each site, what the guarantee assumes.

Read by people who sign for data, so each sentence must stay true without the rest of the page. Keep it so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

UNITS = {
    "record": "one record",
    "patient": "all the records of one patient at a site",
    "client": "all the records of one site",
}


def meaning(privacy: Mapping[str, Any]) -> str:
    """What epsilon and delta say, as one worst-case bet."""
    epsilon, unit = privacy["epsilon"], UNITS[privacy["unit"]]
    sure = 100 / (1 + math.exp(-epsilon))
    return (
        f"Whoever sees everything that was released, and starts at even odds on whether {unit} was used, can end "
        f"at most {_percent(sure)} sure of the answer, except with probability about {tiny(privacy['delta'])}. "
        "That is the worst case over all records, all attackers and all side knowledge."
    )


def departures(report: Mapping[str, Any]) -> list[str]:
    """What left each site, one sentence each."""
    privacy = report["privacy"]
    lines = [
        "In every round, one vector of whole numbers as long as the model, each number hidden under masks that "
        "cancel only in the sum over the sites. By itself it looks random, to the server and to anyone.",
        _noise(privacy),
        "Public keys for that round, and shares of the site's mask secrets, sealed for the other sites.",
        "The number of records that the site declares, and its name.",
        "No record, no gradient of a record, no local model.",
    ]
    if report["engine"] == "vectorized":
        lines[0] += (
            " (This run used the vectorized engine, which adds up the same whole numbers without masking them: "
            "same sum, but the secrecy of each vector was not exercised.)"
        )
    if report["simulated"]:
        lines.append(
            "This is a simulation: all sites ran in one place, and their test records were pooled there to compute "
            "the figures above. A training without privacy, if shown, ran there too, for comparison."
        )
    return lines


def assumptions(report: Mapping[str, Any]) -> list[str]:
    """What has to hold for the guarantee to hold, one sentence each."""
    privacy = report["privacy"]
    if not privacy["private"]:
        return [
            "There is no guarantee. The model may reveal records it was trained on, to anyone who holds it.",
            "Secure aggregation hid each site's own update from the server. It does not hide what their sum says.",
        ]
    return [
        _unit(privacy["unit"]),
        _trust(report),
        "The number of records of each site is public; what epsilon protects is who they are and what they hold.",
        f"Epsilon counts this run from first round to last, by the {privacy['accountant'].upper()} accountant"
        f"{_cross_check(privacy)}. Other runs on the same records add to it; each site's journal counts them all.",
        "The plan's settings were not tuned on these training records: a run tried for tuning spends epsilon too.",
        "Epsilon covers the training records, not the test records behind the figures above, and not the moment at "
        "which a message is sent. Message sizes are fixed by the plan.",
    ]


def upward(epsilon: float) -> str:
    """An epsilon to two places, rounded up: a page must not claim more privacy than there is."""
    return f"{math.ceil(round(epsilon * 100, 6)) / 100:.2f}"


def tiny(delta: float) -> str:
    """A delta as people write it: 1e-5, not 1e-05."""
    return f"{delta:g}".replace("e-0", "e-")


def plain(name: str) -> str:
    """A metric's name as words."""
    return {"auc": "AUC", "f1": "F1"}.get(name, name.replace("_", " "))


def _percent(value: float) -> str:
    return f"{math.ceil(value * 10) / 10:.1f}%" if value < 99.9 else "more than 99.9%"


def _noise(privacy: Mapping[str, Any]) -> str:
    return {
        "distributed": "Inside that vector, the site's own share of the noise, added before it was masked.",
        "site": "Inside that vector, noise enough for the whole guarantee, drawn and added at the site.",
        "central": "No noise of the site's own: the server adds noise to the sum.",
        "none": "No noise at all: what the sum of the sites' updates says about a record, it says openly.",
    }[privacy["noise"]]


def _unit(unit: str) -> str:
    if unit == "client":
        return "The unit is a site: with or without all of its records, the released params are nearly alike."
    if unit == "patient":
        return (
            "The unit is one patient at one site, however many records they have there. A patient at several sites "
            "is protected less, as the table above says."
        )
    return (
        "The unit is one record at one site. A person with several records, or with records at several sites, is "
        "protected less, as the table above says."
    )


def whom(line: Mapping[str, Any]) -> str:
    """Whom one line of the table of units speaks of."""
    records, sites = line["records"], line["sites"]
    if line["unit"] != "patient":
        return UNITS[line["unit"]]
    many = "a record" if records == 1 else f"up to {records} records"
    return (
        f"a patient with {many} at one site"
        if sites == 1
        else f"a patient with {many} at each of {sites} sites"
    )


def published(figures: Mapping[str, float | None]) -> str:
    """What a published evaluation says, as one sentence."""
    accuracy, error = figures["accuracy"], figures["standard_error"]
    if accuracy is None or error is None:
        return "The evaluation that the plan paid for is hidden by its noise: too few records were held out."
    return (
        f"Published, with noise for whoever was held out: accuracy {accuracy:.3f}, give or take {error:.3f} for "
        f"the noise alone, loss {figures['loss']:.3f}, over about {figures['records']:.0f} records."
    )


def _trust(report: Mapping[str, Any]) -> str:
    noise, cohort = report["privacy"]["noise"], report.get("secure_aggregation", {})
    if noise == "site":
        return "Each site has to trust its own software only, not the server and not the other sites."
    if noise == "central":
        return "The server is trusted to add the noise, and to use or show no sum that lacks it."
    colluders = cohort.get("colluders")
    limit = "No more sites than the plan allows" if colluders is None else _at_most(colluders)
    return f"{limit} may work together with the server; the others follow the protocol and draw honest noise."


def _at_most(colluders: int) -> str:
    words = {0: "No site", 1: "At most one site"}
    return words.get(colluders, f"At most {colluders} sites")


def _cross_check(privacy: Mapping[str, Any]) -> str:
    others = [
        f"{name.upper()} says {value:.2f}"
        for name, value in (privacy.get("cross_check") or {}).items()
        if value
    ]
    return f" (cross-check: {', '.join(others)})" if others else ""
