"""A run in plain words: what its epsilon means, what left each site, what the guarantee assumes.

Read by people who sign for data, so each sentence must stay true without the rest of the page. Keep it so.
"""

from __future__ import annotations

import math

from federation.report.numbers import tiny, upward
from federation.report.report import PrivacyClaim, Published, Report, UnitCost

UNITS = {
    "record": "one record",
    "patient": "all the records of one patient at a site",
    "client": "all the records of one site",
}
NOT_TUNED = "the same settings with neither clipping nor noise, not tuned for it"
_NOISE = {
    "distributed": "Inside that vector, the site's own share of the noise, added before it was masked.",
    "site": "Inside that vector, noise enough for the whole guarantee, drawn and added at the site.",
    "central": "No noise of the site's own: the server adds noise to the sum.",
    "none": "No noise at all: what the sum of the sites' updates says about a record, it says openly.",
}
NOT_AUDITED = "not audited when this page was written; anyone can: federation audit RUN"


def meaning(privacy: PrivacyClaim) -> str:
    """What epsilon and delta say, as one worst-case bet; "" without privacy."""
    epsilon, delta, unit = privacy.epsilon, privacy.delta, UNITS[privacy.unit]
    if not privacy.private or epsilon is None or delta is None:
        return ""
    percent = 100 / (1 + math.exp(-epsilon))
    sure = f"{upward(percent, 1)}%" if percent < 99.9 else "more than 99.9%"
    return (
        f"Whoever sees everything that was released, and starts at even odds on whether {unit} was used, can end "
        f"at most {sure} sure of the answer, except with probability about {tiny(delta)}. "
        "That is the worst case over all records, all attackers and all side knowledge."
    )


def departures(report: Report) -> list[str]:
    """What left each site, one sentence each."""
    lines = [
        "In every round, one vector of whole numbers as long as the model, each number hidden under masks that "
        "cancel only in the sum over the sites. By itself it looks random, to the server and to anyone.",
        _NOISE[report.privacy.noise],
        "Public keys for that round, and shares of the site's mask secrets, sealed for the other sites.",
        "The number of records that the site declares, and its name.",
        "No record, no gradient of a record, no local model.",
    ]
    if report.engine == "vectorized":
        lines[0] += (
            " (This run used the vectorized engine, which adds up the same whole numbers without masking them: "
            "same sum, but the secrecy of each vector was not exercised.)"
        )
    if report.simulated:
        lines.append(
            "This is a simulation: all sites ran in one place, and their test records were pooled there to compute "
            "the figures above. A training without privacy, if shown, ran there too, for comparison."
        )
    return lines


def assumptions(report: Report) -> list[str]:
    """The assumptions of the guarantee, one sentence each."""
    privacy = report.privacy
    if not privacy.private:
        return [
            "There is no guarantee. The model may reveal records it was trained on, to anyone who holds it.",
            "Secure aggregation hid each site's own update from the server. It does not hide what their sum says.",
        ]
    return [
        _unit(privacy.unit),
        _trust(report),
        "The number of records of each site is public; what epsilon protects is who they are and what they hold.",
        f"Epsilon counts this run from first round to last, by the {str(privacy.accountant).upper()} accountant"
        f"{_cross_check(privacy)}. Other runs on the same records add to it; each site's journal counts them all.",
        "The plan's settings were not tuned on these training records: a run tried for tuning spends epsilon too.",
        "Epsilon covers the training records, not the test records behind any figure above, and not the moment at "
        "which a message is sent. Message sizes are fixed by the plan.",
    ]


def remaining(report: Report) -> str:
    """What is left of a budget, in as far as this page can know it."""
    if not report.privacy.private:
        return "no run without noise fits a budget"
    if report.simulated:
        return "federation ledger show SITE says it for a site that brought a site.toml; others have no limit"
    return "known to each site alone, and counted there: federation ledger show SITE"


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


def whom(line: UnitCost) -> str:
    """The unit of one row of the table, as in "a patient with up to 3 records at each of 2 sites"."""
    if line.unit != "patient":
        return UNITS[line.unit]
    many = "a record" if line.records == 1 else f"up to {line.records} records"
    where = "at one site" if line.sites == 1 else f"at each of {line.sites} sites"
    return f"a patient with {many} {where}"


def published(figures: Published | None) -> str:
    """A published evaluation as one sentence; "" if the run published none."""
    if figures is None:
        return ""
    if None in (figures.accuracy, figures.standard_error):
        return "The evaluation that the plan paid for is hidden by its noise: too few records were held out."
    return (
        f"Published, with noise for whoever was held out: accuracy {figures.accuracy:.3f}, give or take "
        f"{figures.standard_error:.3f} for the noise alone, loss {figures.loss:.3f}, over about "
        f"{figures.records:.0f} records."
    )


def _trust(report: Report) -> str:
    noise = report.privacy.noise
    if noise == "site":
        return "Each site has to trust its own software only, not the server and not the other sites."
    if noise == "central":
        return "The server is trusted to add the noise, and to use or show no sum that lacks it."
    colluders = report.secure_aggregation.get("colluders")
    known = {None: "No more sites than the plan allows", 0: "No site", 1: "At most one site"}
    limit = known.get(colluders, f"At most {colluders} sites")
    return f"{limit} may work together with the server; the others follow the protocol and draw honest noise."


def _cross_check(privacy: PrivacyClaim) -> str:
    others = [f"{name.upper()} says {value:.2f}" for name, value in privacy.cross_check.items() if value]
    return f" (cross-check: {', '.join(others)})" if others else ""
