"""A run in plain words: what its epsilon means, what left each site, what the guarantee assumes.

Read by people who sign for data, so each sentence must stay true without the rest of the page. Keep it so.
"""

from __future__ import annotations

import math

from federation.plan.guarantee import TWO
from federation.plan.personal import told_of_kept
from federation.report.numbers import tiny, upward
from federation.report.report import (
    ExcessChoice,
    PrivacyClaim,
    Report,
    Transcripts,
    Tried,
    UnitCost,
    whole,
    whole_risk,
)
from federation.report.risks.words import Sentence, hits_of, lead, sentences
from federation.report.telling.evaluated import folds, published
from federation.sums.engines import ADDS_UP
from federation.words import many

UNITS = {
    "record": "one record",
    "patient": "all the records of one patient at a site",
    "client": "all the records of one site",
}
_CHOSEN = "A plan or model chosen by exact figures tells something of these data that no epsilon here covers."
SAME_SETTINGS = "the same settings with neither clipping nor noise; with its own it may do better"
_NOISE = {
    "distributed": "Inside that vector, the site's own share of the noise, added before it was masked.",
    "site": "Inside that vector, noise enough for the whole guarantee, drawn and added at the site.",
    "central": "No noise of the site's own: the server adds noise to the sum.",
    "none": "No noise at all: what the sum of the sites' updates says about a record, it says openly.",
}
_CHECKS = {"coordinate": "a coordinate", "norm": "its L2 norm"}
_OF_CHANCE = {"away_rounds": "restarts", "delay_seconds": "stragglers", "late_rounds": "late"}
_TOLD_SITES = 10  # of those that were lost on purpose
_WORST = "That is the worst case over all records, all attackers and all side knowledge."
NOT_AUDITED = "not audited when this page was written; anyone can: federation audit RUN"


def meaning(privacy: PrivacyClaim) -> str:
    """What epsilon and delta say, as one worst-case bet; "" without privacy.

    Where a report tells the risk of its own mechanism, that says more.
    """
    if told := risk_lead(privacy):
        return f"{told[0]} {_WORST}"
    epsilon, delta, unit = whole(privacy), privacy.delta, UNITS[privacy.unit]
    if not privacy.private or epsilon is None or delta is None:
        return ""
    percent = 100 / (1 + math.exp(-epsilon))
    sure = f"{upward(percent, 1)}%" if percent < 99.9 else "more than 99.9%"
    return (
        f"Whoever sees everything that was released, and starts at even odds on whether {unit} was used, can end "
        f"at most {sure} sure of the answer, except with probability about {tiny(delta)}. {_WORST}"
    )


def risk_lead(privacy: PrivacyClaim) -> list[str]:
    """The one sentence on risk, if there is one."""
    found = whole_risk(privacy)
    return [] if found is None else [lead(found.to_json(), privacy.unit)]


def risk(privacy: PrivacyClaim) -> list[Sentence]:
    """A sentence for each figure of the risk; none where it is not told."""
    found = whole_risk(privacy)
    return [] if found is None else list(sentences(found.to_json(), privacy.unit))


def hits(line: UnitCost) -> str:
    """How many of a unit are found, as a share."""
    found = whole_risk(line)
    return hits_of(None if found is None else found.to_json())


def tried(privacy: PrivacyClaim) -> list[str]:
    """How often the data of a simulation were tried, and what that cost; one sentence each."""
    return [] if privacy.tried is None else tries(privacy.tried, privacy.delta)


def tries(known: Tried, delta: float | None) -> list[str]:
    """The same, of a count and the delta of its plan."""
    if known.runs is None or known.without_privacy is None:
        return [f"Nobody counted how often these data were simulated: {known.reason}.", _CHOSEN]
    times = "1 simulation, this one" if known.runs == 1 else f"{known.runs} simulations, this one included"
    sentences = [f"On this machine these data were used in {times}."]
    if known.study is not None:
        sentences.append(f"This run is one of {known.study} of a trade-off, made to choose by.")
    if known.without_privacy:
        sentences.append(f"Without privacy: {known.without_privacy} of them, which no epsilon covers.")
    if delta is not None:
        who = "The others" if known.without_privacy else "Together they" if known.runs > 1 else "It"
        sentences.append(f"{who} cost {_total(known, tiny(delta))}.")
    return [*sentences, _CHOSEN]


def _total(known: Tried, delta: str) -> str:
    if known.epsilon is None:
        return "one unit more than any number bounds"
    how = "" if known.exact else ": the least limit that, set before the first, would have admitted them all"
    return f"epsilon {upward(known.epsilon)} at delta {delta}{how}"


def departures(report: Report) -> list[str]:
    """What left each site, one sentence each."""
    groups = report.secure_aggregation.get("groups")
    whose = "sites" if groups is None else f"sites of its group, one of {groups}"
    length = "the model" if report.kept is None else "the shared layers"
    lines = [
        f"In every round, one vector of whole numbers as long as {length}, each number hidden under masks that "
        f"cancel only in the sum over the {whose}. By itself it looks random, to the server and to anyone.",
        _NOISE[report.privacy.noise],
        "Public keys for that round, and shares of the site's mask secrets, sealed for the other sites.",
        "The number of records that the site declares, and its name.",
        "No record, no gradient of a record, no local model.",
    ]
    if report.engine in ADDS_UP:
        lines[0] += (
            f" (This run used the {report.engine} engine, which adds up the same whole numbers without masking "
            "them: same sum, but the secrecy of each vector was not exercised.)"
        )
    if report.simulated:
        lines.append(
            "This is a simulation: all sites ran in one place, and their test records were pooled there to compute "
            "exact figures. A training without privacy, if shown, ran there too, for comparison."
        )
    return lines


def assumptions(report: Report) -> list[str]:
    """The assumptions of the guarantee, one sentence each."""
    privacy = report.privacy
    if not privacy.private:
        return [
            "There is no guarantee. The model may reveal records it was trained on, to anyone who holds it.",
            "Secure aggregation hid each site's own update from the server. It does not hide what their sum says.",
            *of_two(report),
        ]
    return [
        _unit(privacy.unit),
        _trust(report),
        *of_two(report),
        "The number of records of each site is public; what epsilon protects is who they are and what they hold.",
        f"Epsilon counts this run from first round to last{_and_evaluation(privacy)}, by {_accountant(privacy)}"
        f"{_cross_check(privacy)}. Other runs on the same records add to it{_elsewhere(report)}.",
        "Epsilon covers no choice of settings: a run that was tried on these records to choose them costs its own.",
        _covered(report),
    ]


def evaluation(report: Report) -> str:
    """The published evaluation as one sentence, or that what was paid for is not there; "" if none was planned."""
    if report.folds is not None:
        return folds(report.folds)
    if report.evaluation.published is None and report.privacy.together is not None:
        return "The evaluation that the plan pays for was charged and not published: its epsilon counts."
    return published(report.evaluation.published)


def model(report: Report) -> str:
    """What the model is, where it is not the params of the last round; else ""."""
    kept = "" if report.kept is None else told_of_kept(report.kept.layers, report.kept.numbers)
    decay = report.iterate_average
    if decay is None:
        return kept
    said = (
        "The model is an average of the params after each round, newer ones counting more "
        f"(iterate_average = {decay:g})."
    )
    free = " It is made of what the rounds released anyway, so it costs no privacy."
    return said + free * report.privacy.private + (kept and f" {kept}")


def clipping(report: Report) -> str:
    """How the clipping norm moved, where the plan has it move; else ""."""
    moved = report.privacy.clipping
    if moved is None:
        return ""
    ended = "" if moved.last is None else f"; that of the last round was {moved.last:.3g}"
    return (
        f"The clipping norm began at {report.privacy.clipping_norm:.3g} and followed the {moved.quantile:g} "
        f"quantile of the sites' updates between {moved.bounds[0]:g} and {moved.bounds[1]:g}{ended}. What it "
        "followed is one bit of each site in the same noised vector: it is paid for by the same epsilon."
    )


def fold(report: Report) -> str:
    """Which part of a cross-validation the run is; "" for a run by itself."""
    part = report.fold
    if part is None:
        return ""
    return (
        f"This is fold {part.number} of {part.of} of a cross-validation: it is tested on the records of that fold, "
        "and trained on all others. It is a try; what all of them would cost as a real run is in folds.json."
    )


def sums(told: Transcripts | None) -> str:
    """What there is to recompute the sums of the run from."""
    if told is None:
        return "nothing is known of transcripts"
    if told.left_out is not None:
        return f"no transcripts: {told.left_out}"
    many = "1 transcript" if told.kept == 1 else f"{told.kept} transcripts"
    return f"{many} in rounds/: an audit recomputes sums from what the sites signed, and params from the sums"


def unlikely(report: Report) -> list[str]:
    """The sums that honest sites do not make, one sentence each; none where no sum was one."""
    odd = [(f"The sum of round {line.round}", line.unlikely) for line in report.rounds]
    odd.append(("The sums of the evaluation", report.evaluation.unlikely))
    return [
        f"{what} is {found.ratio:.3g} times what honest sites can send, by {_CHECKS[found.check]}: at least one "
        "site sent what the plan does not allow. A sum does not say which."
        for what, found in odd
        if found is not None
    ]


def lost(report: Report) -> list[str]:
    """The rounds without a sum, one sentence each."""
    return [
        f"Round {line.round} has no sum, and what it cost stays charged: "
        f"{', '.join(f'{site} ({reason})' for site, reason in sorted(line.lost.items()))}."
        for line in report.rounds
        if line.lost is not None
    ]


def faults(report: Report) -> list[str]:
    """What was lost on purpose in a simulation, one sentence each; none where nothing was."""
    told = report.faults
    if told is None:
        return []
    moot = {name for name, chance in _OF_CHANCE.items() if not told.rules.get(chance)}
    rules = ", ".join(f"{n} = {value:g}" for n, value in told.rules.items() if value and n not in moot)
    often = sorted(told.missed.items(), key=lambda each: (-each[1], each[0]))
    first = [f"{site} {many(times, 'time')}" for site, times in often[:_TOLD_SITES]]
    rest = len(often) - len(first)
    shown = [*first, *([f"{many(rest, 'other site')} as often or less"] if rest else [])]
    return [
        f"This simulation lost sites on purpose, by a public seed: {rules}.",
        f"Its rounds would have taken {told.simulated_seconds:,.0f} seconds; nobody waited for them.",
        "Where a round had no sum and nobody was charged, all who had joined came back for it; real sites may not.",
        f"Missing in the sum of a round to which it was invited: {', '.join(shown) or 'no site'}.",
    ]


def excess(report: Report) -> str:
    """How much more noise there is than epsilon needs, in words; "" where there is none to tell of."""
    of, factor = report.privacy.noise_excess_of, report.privacy.noise_excess
    if of is None or factor is None:
        return ""
    planned = of.choices[0]
    said = (
        f"In a round of {of.sites} sites in which none drops out, the noise is {factor:.2f} times what epsilon "
        f"needs: the plan allows for {allowing(planned)}, and the guarantee does not count on their shares of it."
    )
    if not of.levels:
        return said
    said += " What is added for dropouts is taken out of a sum again if they do not come."
    if stayed := sum(line.excess_left > 0 for line in report.rounds):
        said += f" In {many(stayed, 'round')} some of it could not be taken out."
    return said


def allowing(choice: ExcessChoice) -> str:
    """A choice of dropouts and colluders, as in "1 dropout and 0 colluders"."""
    return f"{many(choice.dropouts, 'dropout')} and {many(choice.colluders, 'colluder')}"


def _and_evaluation(privacy: PrivacyClaim) -> str:
    return "" if privacy.together is None else ", and the evaluation after it, both composed"


def _covered(report: Report) -> str:
    timing = "the moment at which a message is sent. Message sizes are fixed by the plan."
    if report.privacy.together is None:
        held_out = "the test records behind the exact figures of a simulation, and not "
        return f"Epsilon covers the training records, not {held_out if report.simulated else ''}{timing}"
    exact = ", not the exact figures that only a simulation has" if report.simulated else ""
    return (
        "Epsilon covers the training records, and the held-out records behind the published evaluation"
        f"{exact}, and not {timing}"
    )


def _elsewhere(report: Report) -> str:
    """Who counts other runs: the journals of a simulation begin and end with it."""
    return "" if report.simulated else "; each site's journal counts them all"


def charging(report: Report) -> str:
    """How what the rounds of a site cost and what its ledger holds are told apart."""
    where = "" if report.simulated else "; federation ledger show SITE says it at the site"
    return (
        "Of its rounds: what the rounds that a site was in cost. Charged is what counts in its ledger: the same, "
        f"or the whole plan where the site's limit had room for that plan only{where}."
    )


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
            "is protected less."
        )
    return (
        "The unit is one record at one site. A person with several records, or with records at several sites, is "
        "protected less."
    )


def whom(line: UnitCost) -> str:
    """The unit of one row of the table, as in "a patient with up to 3 records at each of 2 sites"."""
    if line.unit != "patient":
        return UNITS[line.unit]
    many = "a record" if line.records == 1 else f"up to {line.records} records"
    where = "at one site" if line.sites == 1 else f"at each of {line.sites} sites"
    return f"a patient with {many} {where}"


def of_two(report: Report) -> list[str]:
    """What is to be said of sums of two sites."""
    count = sum(line.cohort == 2 for line in report.rounds)
    if not count:
        return []
    kept = (
        "Only the noise that each adds itself protects its records from the other."
        if report.privacy.private
        else "Nothing is hidden from the other."
    )
    where = "In every round" if count == len(report.rounds) else f"In {many(count, 'round')}"
    return [f"{where} there were two sites: of two, {TWO}. {kept}"]


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


def _accountant(privacy: PrivacyClaim) -> str:
    """As in "the PLD accountant", or with a remark in brackets after it."""
    name, _, remark = str(privacy.accountant).partition(" ")
    return f"the {name.upper()} accountant {remark}".rstrip()


def _cross_check(privacy: PrivacyClaim) -> str:
    others = [f"{name.upper()} says {value:.2f}" for name, value in privacy.cross_check.items() if value]
    what = "cross-check" if privacy.together is None else "cross-check of the training"
    return f" ({what}: {', '.join(others)})" if others else ""
