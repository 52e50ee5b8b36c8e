"""An attack in plain words, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from federation.report.numbers import upward
from federation.words import many
from privacy.accounting.risks.figures import FALSE_ALARMS
from simulations.attacking.attack import RELEASED, RETRAINED, Attacked, Target
from simulations.attacking.models import USUAL
from simulations.attacking.verdict import FALSE_ALARM
from simulations.scoring.intervals import Estimate

CAVEAT: Final = (
    "A pass is not evidence of epsilon: an attack that fails shows only that this attack failed. Another one may "
    "find more, up to what is proven."
)
EXACT: Final = (
    "Exact figures of records, covered by no epsilon: if the records are private, so are the figures."
)
INTERVALS: Final = (
    "The intervals (95 %) take each guess to be independent, which the guesses on one model are not: they are for "
    "reading, and the verdict does not rest on them."
)
TITLES: Final = {RELEASED: "the params of this run", RETRAINED: "models trained anew by the same plan"}
NAMES: Final = {"loss": "loss", "lira": "LiRA"}
ATTACKS: Final = {
    "loss": "loss: accuses those on whom the model errs least",
    "lira": "LiRA: compares with models whose members the attacker knows",
}


def verdict(of: Attacked) -> tuple[str, str]:
    """A word, and a sentence."""
    if of.proven is None:
        return "NOTHING PROVEN", "this plan promises nothing, so there is nothing to hold the attacks against"
    if of.exceeds:
        return "EXCEEDED", "an attack found more than the plan proves that any attack can"
    if not of.held:
        return "NO VERDICT", "nothing that was found could be held against what is proven"
    return "NOT EXCEEDED", "no attack found more than what the plan proves to be possible"


def meaning(of: Attacked) -> str:
    """What LiRA found of the models trained anew, in a sentence."""
    unit, found = of.people.unit, of.targets[RETRAINED].found["lira"]
    share = 100 * found.hits[0.01].share.value
    most = "" if of.proven is None else f" Proven is: at most {upward(100 * of.proven.tpr(0.01), 1)} of 100."
    return (
        f"Of 100 {unit}s that a model was trained on, LiRA finds {share:.1f} where it accuses 1 of 100 others "
        f"wrongly; blind guessing finds 1.{most}"
    )


def held(of: Target, what: str) -> str:
    """What a target was held against, and how it came out."""
    if not of.counts:
        return f"{TITLES[what]}: not held against what is proven: {of.why}"
    against = (
        "one member in the place of another, paired by chance"
        if what == RELEASED
        else "each in the data by a fair coin"
    )
    worst = [one for one in of.counts if one.exceeds]
    if not worst:
        return f"{TITLES[what]}: within what is proven ({against})"
    one = max(worst, key=lambda each: each.right / each.guesses)
    return (
        f"{TITLES[what]}: EXCEEDED ({against}): {NAMES[one.attack]} was right in {one.right} of the "
        f"{one.guesses} guesses that it was surest of"
    )


def notes(of: Attacked) -> Iterator[str]:
    """What else is to be said, in order."""
    for name, target in of.targets.items():
        yield held(target, name)
    if of.held:
        yield (
            f"EXCEEDED is a false alarm in {100 * FALSE_ALARM:g} % of attacks at most: it is said where the share "
            "of right guesses, at the lower end of its mean over models, is above the most that is proven; of the "
            "one run, by the theorem for guesses from one run"
        )
    one = of.targets[RELEASED].found["loss"]
    seen = 1 / one.others
    if seen > min(FALSE_ALARMS):
        yield (
            f"{many(one.others, of.people.unit)} were left out of the run, so no rate of false alarms below "
            f"{100 * seen:.2g} % is seen: what stands there is found before the first of them is accused"
        )
    if of.models < USUAL:
        yield f"{of.models} models of the attacker's own: more (--models) make LiRA stronger, the verdict sharper"
    yield INTERVALS
    yield EXACT


def percent(of: Estimate) -> str:
    """A share with its interval.

    >>> percent(Estimate(0.0114, 0.0093, 0.0138)), percent(Estimate(0.5, None, None))
    ('1.1% (0.9 to 1.4)', '50.0%')
    """
    if of.low is None or of.high is None:
        return f"{100 * of.value:.1f}%"
    return f"{100 * of.value:.1f}% ({100 * of.low:.1f} to {100 * of.high:.1f})"


def rows(of: Attacked, what: str) -> Iterator[tuple[str, str, str, str, str]]:
    """Of a target: who attacks, hits at either rate, advantage, AUC. The last line is what is proven."""
    for name, one in of.targets[what].found.items():
        hits = (percent(at.share) for at in one.hits.values())
        yield (NAMES[name], *hits, percent(one.advantage), percent(one.auc))  # type: ignore[misc]
    yield ("blind guessing", "1.0%", "0.1%", "0.0%", "50.0%")
    if of.proven is None:
        yield ("proven, at most", *["no promise"] * 4)  # type: ignore[misc]
    else:
        figures = (of.proven.tpr(0.01), of.proven.tpr(0.001), of.proven.risk.advantage, of.proven.auc)
        yield ("proven, at most", *(f"{upward(100 * each, 1)}%" for each in figures))  # type: ignore[misc]


def counted(of: Target, unit: str) -> str:
    """How many guesses there were.

    >>> from types import SimpleNamespace
    >>> counted(SimpleNamespace(found={"loss": SimpleNamespace(members=1200, others=300)}), "record")
    'n = 1,200 records that were in, 300 that were not'
    """
    one = of.found["loss"]
    return f"n = {one.members:,} {unit}s that were in, {one.others:,} that were not"
