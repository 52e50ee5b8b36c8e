"""What a frontier says in plain words. Each sentence stays true without the rest of the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from federation.report.numbers import MISSING, figure, plain, tiny, upward
from federation.words import many
from simulations.tradeoff.plots import is_clear

Json = Mapping[str, Any]

BASELINES = {
    "without_privacy": "all sites together, the same settings without privacy; with its own they may do better",
    "pooled": "all data in one place, the same settings without privacy: what nobody may do",
    "local_only": "each site's own model, without privacy, on its own records: what there is today",
    "local_only_elsewhere": "each site's own model, without privacy, on the records of all (mean of the models)",
    "majority": "always the majority class",
}


def lead(found: Json, metric: str) -> str:
    """The frontier in two sentences."""
    points = [point for point in found["points"] if not point["refused"]]
    points = [point for point in points if point["noise"] == points[0]["noise"]]
    parts = [
        f"{figure(point['metrics'][metric]['mean'])} at epsilon {point['epsilon']:g}"
        for point in points[:1] + points[1:][-1:]
    ]
    noise = f"with {points[0]['noise']} noise"
    beside = [
        f"{words} {figure(of[metric]['mean'])}"
        for name, words in (
            ("without_privacy", "all sites without privacy"),
            ("local_only", "each site alone"),
        )
        if (of := found["baselines"].get(name)) is not None
    ]
    return f"{_title(metric)} {noise}: {', '.join(parts)}. To compare: {', '.join(beside)}."


def _title(metric: str) -> str:
    name = plain(metric)
    return name[:1].upper() + name[1:]


def scale(found: Json) -> list[tuple[str, str]]:
    """What the frontier was made of: names and numbers."""
    sites, runs = found["sites"], found["tried"]["runs"]
    records = [site["records"] for site in sites if site["records"] is not None]
    tried = found["tried"]["on_these_data"] or {}
    known = MISSING if tried.get("runs") is None else str(tried["runs"])
    return [
        ("sites", str(len(sites))),
        ("records to train on", f"{sum(records):,}".replace(",", "\u2009")),
        ("seeds", str(len(found["seeds"]))),
        ("runs to choose by", str(runs)),
        ("trainings beside", str(found["tried"]["comparisons"])),
        ("all runs on these data", known),
    ]


def exchanged(found: Json, metric: str) -> list[tuple[str, Json, Json]]:
    """For each site what it gets by joining, and what its presence gives to the others."""
    told = found["contributions"]
    point = next(
        one for one in found["points"] if (one["epsilon"], one["noise"]) == (told["epsilon"], told["noise"])
    )
    if point["refused"]:
        return []
    return [
        (name, point["sites"][name]["gain"][metric], of["gives"][metric])
        for name, of in told["sites"].items()
    ]


def worse(found: Json, metric: str) -> str:
    """Which sites clearly lose by joining, and where, in a sentence; "" where one seed tells no difference."""
    if len(found["seeds"]) < 2:
        return ""
    lost: dict[str, list[str]] = {}
    for point in found["points"]:
        for name, of in point["sites"].items():
            if (gain := of["gain"][metric]) and _sign(gain) < 0:
                lost.setdefault(name, []).append(f"{point['epsilon']:g} ({point['noise']})")
    if not lost:
        return "No site clearly does worse than alone at any of these points, as far as these seeds can tell."
    said = [f"{name} at epsilon {', '.join(places)}" for name, places in lost.items()]
    return f"Worse with the others than alone, by {plain(metric)}: {'; '.join(said)}."


def given(found: Json, metric: str) -> list[tuple[str, Json, Json, str]]:
    """The same, with a verdict on each."""
    if not found["contributions"]:
        return []
    why = {name: of["refused"] for name, of in found["contributions"]["sites"].items()}
    return [
        (name, gets, gives, f"without it: {why[name]}" if why[name] else verdict(gets, gives))
        for name, gets, gives in exchanged(found, metric)
    ]


def verdict(gets: Json, gives: Json) -> str:
    """Who is better off for whom, as far as the bands can tell; more seeds tell more."""
    if gets["low"] is None and gives["low"] is None:
        return "one seed cannot tell it from chance"
    if not is_clear(gets) and not is_clear(gives):
        return "no clear difference"
    return f"{_said('it', 's', gets)}; {_said('the others', '', gives)}"


def _said(whose: str, ending: str, of: Json) -> str:
    if not is_clear(of):
        return f"{whose}: no clear difference"
    return f"{whose} {'gain' if of['mean'] > 0 else 'lose'}{ending}"


def payers(found: Json, metric: str) -> str:
    """Which site pays for whom, in a sentence; "" where nobody asked."""
    rows = given(found, metric)
    if not rows:
        return ""
    pays = [name for name, gets, gives, _ in rows if _sign(gets) < 0 < _sign(gives)]
    paid = [name for name, gets, gives, _ in rows if _sign(gives) < 0 < _sign(gets)]
    said = [
        f"{name} pays for the others: it loses by joining, and they gain by its presence." for name in pays
    ]
    said += [
        f"The others pay for {name}: it gains by joining, and they lose by its presence." for name in paid
    ]
    if not said:
        if len(found["seeds"]) == 1:
            return "One seed cannot tell whether a site pays for another: --seeds 3 or more can."
        seeds = many(len(found["seeds"]), "seed")
        said = [f"No site clearly pays for another here, as far as {seeds} can tell; more seeds tell more."]
    return " ".join(said)


def _sign(of: Json) -> int:
    return 0 if of["mean"] is None or not is_clear(of) else 1 if of["mean"] > 0 else -1


def notes(found: Json) -> list[tuple[str, str]]:
    """What the figures are and are not: a word and a sentence or two each."""
    told, runs = found["tried"], found["tried"]["runs"]
    known = told["on_these_data"] or {}
    if known.get("runs") is None:
        why = known.get("reason") or "the data are public"
        counted = f"Nobody counted the {runs} runs among those on the same data: {why}."
    else:
        counted = (
            f"Each of the {runs} runs is marked in its report as one of many, and counted on this machine."
        )
    if known.get("epsilon") is not None and not known.get("exact"):
        counted += (
            f" All runs on these data so far come to epsilon {upward(known['epsilon'])} at delta "
            f"{tiny(found['delta'])}: the least limit that, set before the first, would have admitted them all."
        )
    band = [("The band", f"± and shading are {found['interval']['means']}")]
    return [
        *(band if len(found["seeds"]) > 1 else []),
        (
            "The risk",
            "a bound for the worst case: somebody who knows everything but this one thing, starts at even odds, "
            "and sees all that the run releases. It is proved of the mechanism that this plan has, not of epsilon "
            "alone, which would allow more; no attack that anybody knows need reach it. A person with several "
            "records, or at several sites, is protected less: "
            "federation budget PLAN says how much.",
        ),
        (
            "Alone",
            "a site's own model, by the plan's settings: one that trains alone, with settings of its own, "
            "may do better than is shown, and then gains less by joining.",
        ),
        (
            "Tuning",
            f"{counted} The trainings to compare with are counted nowhere; they show exact figures, too.",
        ),
        (
            "Seeds",
            f"{', '.join(map(str, found['seeds']))}: first params, cohorts and held-out records follow from them; "
            "noise never does, so another trade-off of the same plan shows other figures.",
        ),
    ]
