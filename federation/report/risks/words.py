"""Risk in words: one sentence for each figure, for people who decide and do no statistics.

Every number is rounded up, and a sentence is true by itself: it says what somebody can do at the most who sees
everything that was released, and knows all other records. Chances become counts of a hundred or a thousand, which
people read more correctly (Gigerenzer 2002).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any, NamedTuple

from federation.report.numbers import UNBOUNDED, tiny, upward

Json = Mapping[str, Any]
NO_PROMISE = "Nothing is promised: whoever sees what was released may be right every time."


class _Of(NamedTuple):
    """How a unit is spoken of: those that are not in the data, those that are, and one of them."""

    out: str
    within: str
    one: str
    holds: str


_OF = {
    "record": _Of(
        "people whose record is not in the data", "people whose record is", "a person's record is in the data",
        "a record holds",
    ),
    "patient": _Of(
        "patients who are not in the data",
        "patients who are",
        "a patient is in the data",
        "a patient's records hold",
    ),
    "client": _Of("sites that took no part", "sites that did", "a site took part", "a site's records hold"),
}  # fmt: skip


class Sentence(NamedTuple):
    """A figure's short name, and what it says."""

    name: str
    text: str


def sentences(risk: Json, unit: str) -> Iterator[Sentence]:
    """One for each figure of `Risk.to_json`."""
    of = _OF[unit]
    for rate, wrong in (("0.01", 100), ("0.001", 1000)):
        yield Sentence(f"hits at {_percent(rate)} false alarms", hits(risk["tpr_at_fpr"][rate], wrong, of))
    yield Sentence(
        "advantage",
        f"An attack finds at most {_points(risk['advantage'])} more of 100 {of.within} than it accuses wrongly of "
        f"100 {of.out} (0 more: blind guessing; 100 more: certainty).",
    )
    told = risk["posterior"]
    for prior, belief in told["from"].items():
        text = _belief(prior, belief, told["delta"], of)
        yield Sentence(f"belief from {_percent(prior)}", text)
    yield Sentence("reconstruction", reconstruction(risk["reconstruction"], of))


def lead(risk: Json | None, unit: str) -> str:
    """The one sentence, where there is room for one."""
    return NO_PROMISE if risk is None else hits(risk["tpr_at_fpr"]["0.01"], 100, _OF[unit])


def hits_of(risk: Json | None) -> str:
    """The figure of `lead` alone.

    >>> hits_of({"tpr_at_fpr": {"0.01": 0.0517}}), hits_of(None)
    ('5.2%', 'no promise')
    """
    return UNBOUNDED if risk is None else f"{_points(risk['tpr_at_fpr']['0.01'])}%"


def hits(share: float, of: int, words: _Of) -> str:
    """As in "Of 100 people whose record is not in the data, ..."."""
    return (
        f"Of {of:,} {words.out}, an attacker who accuses 1 wrongly finds at most {upward(of * share, 1)} of {of:,} "
        f"{words.within}."
    )


def _belief(prior: str, belief: Json, delta: float, of: _Of) -> str:
    before = "is at even odds" if prior == "0.5" else f"begins at {_percent(prior)}"
    mean, most = _share(belief["mean"]), _share(belief["quantile"])
    return (
        f"Whoever {before} on whether {of.one}, and then sees everything, believes it with {mean} on average if it "
        f"is so, and with more than {most} at most {tiny(delta)} of the time."
    )


def reconstruction(chances: Json, of: _Of) -> str:
    """What a guess of a record's content may gain."""
    parts = [
        f"{among(chance, found)} where it was right {among(chance, float(chance))}"
        for chance, found in chances.items()
    ]
    first, *rest = parts
    told = "; ".join([f"{first} without what was released", *rest])
    return f"A guess of what {of.holds} is right at most {told}."


def among(chance: str, share: float) -> str:
    """A share as a count of as many as `chance` is one of.

    >>> among("0.1", 0.2764), among("0.000001", 2.76e-5)
    ('2.8 times in 10', '28 times in 1,000,000')
    """
    of = round(1 / float(chance))
    times = upward(of * share, 0 if of > 1000 else 1).removesuffix(".0")
    return f"{times} {'time' if times == '1' else 'times'} in {of:,}"


def _points(share: float) -> str:
    return upward(100 * share, 1)


def _percent(share: str) -> str:
    """A rate as people write it.

    >>> _percent("0.5"), _percent("0.001")
    ('50%', '0.1%')
    """
    return f"{float(share):.6%}".rstrip("%").rstrip("0").rstrip(".") + "%"


def _share(value: float) -> str:
    """A belief in percent, rounded up with as many digits as it takes to be less than certain.

    >>> _share(0.5521), _share(0.99999), _share(1.0)
    ('55.3%', '99.999%', '100%')
    """
    for places in range(1, 7):
        percent = (100 * Decimal(repr(value))).quantize(Decimal(10) ** -places, ROUND_CEILING)
        if percent < 100:
            return f"{percent}%"
    return "100%"
