"""What the page says beside exact metrics: intervals, which class was taken for which, whether scores are right."""

from __future__ import annotations

from federation.report.numbers import count, figure, plain
from federation.report.report import Evaluation, PrivacyClaim

_MUCH_CLIPPED = 0.5
_UNITS = {"record": "training records", "patient": "patients", "client": "sites"}


def intervals(told: Evaluation) -> list[tuple[str, str]]:
    """Each pooled metric with its 95 % interval, where it has one."""
    return [
        (plain(name), f"{figure(low)} to {figure(high)}")
        for name, of in told.intervals.get("pooled", {}).items()
        if of is not None
        for low, high in [of]
    ]


def answers(told: Evaluation) -> str:
    """Which score makes an answer; "" where there is no confusion matrix."""
    if not told.confusion:
        return ""
    if told.threshold is None:
        return "A record is taken for the class with the highest score."
    return f"A record is taken for the second class where its score is at least {told.threshold:g}."


def in_the_large(told: Evaluation) -> str:
    """Calibration-in-the-large, in words."""
    found = told.calibration
    if found is None or found.predicted is None or found.observed is None:
        return ""
    return (
        f"The mean score is {found.predicted:.3f}; the share of positives is {found.observed:.3f}. Each dot is "
        "about a tenth of the records, next to each other by score; bars are 95 % intervals of chance alone."
    )


def clipping(told: Evaluation, privacy: PrivacyClaim) -> str:
    """How many records clipping shortens, in words; "" where nobody knows."""
    found = told.clipped
    if found is None or found.first is None or found.last is None:
        return ""
    text = (
        f"The clipping norm shortens the gradients of {found.first:.0%} of the {_UNITS[privacy.unit]} at the first "
        f"params and of {found.last:.0%} at the model's (of {count(found.units)} that were looked at)."
    )
    if found.last > _MUCH_CLIPPED:
        text += " Where most are shortened, scores tend to be wrong as probabilities: see the calibration."
    return text
