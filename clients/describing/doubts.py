"""Doubts: what is right by the plan and probably wrong in the data. Each is a line for the people who own them.

A column of zeros, a -9 for "missing" and a point that parts thousands are all numbers, so no reader can refuse
them; they are clipped to the public range and train a model on nonsense. A doubt never refuses and never changes
what is sent: that would tell of the records. It names a value only if that is one of the well-known codes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from federation.plan.columns.features import Numeric
from federation.plan.numerals import as_text
from federation.plan.outcomes import error_at_first
from federation.plan.plan import Plan
from federation.plan.settings import first_gradient, is_network_of_series
from federation.plan.tabular import TabularTask
from federation.plan.tasks import Classification
from federation.words import many

_CLIPPED = 0.2
_OFF = 0.2
_PILE = 0.05  # of the records, for one value outside the range
_PILE_OF_CODES = 0.02  # the same for a known code that the range allows
_FEWEST = 3
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}\.[0-9]{3}")
_FITTING = 0.9
_UNEVEN = 5  # times the smallest site
_NAMED = 10  # classes without a record
_BLIND = ("accuracy", "specificity", "loss", "brier", "calibration")  # to whether a rare class is found
_RARE = 0.2  # of the records are of the smaller of two classes
_LONG = 2  # times the clipping norm

_NINES = ("9", "99", "999", "9999", "99999", "999999", "99.9", "999.9", "99.99", "999.99")
_OTHERS = ("777", "7777", "888", "8888")
_CODES = np.array(
    [0, -1, -7, -8, -77, -88, *(sign * float(code) for code in (*_NINES, *_OTHERS) for sign in (1, -1))]
)

Numbers = NDArray[np.float64]
Counts = NDArray[np.int64]


Kind = Literal["clipped", "constant", "missing", "thousands", "classes"]


@dataclass(frozen=True, repr=False)
class Doubt:
    """One doubt about a column, or about all of a file if `column` is empty.

    `kind` is what doubts about other columns or sites have in common with it; the one with the largest `share` of
    records tells most.
    """

    kind: Kind
    column: str
    text: str
    share: float = 0.0

    def __str__(self) -> str:
        return f'column "{self.column}": {self.text}' if self.column else self.text


def doubts_of_numbers(
    feature: Numeric, cells: Sequence[str], values: Numbers, found: Numbers, counts: Counts
) -> Iterator[Doubt]:
    """Doubts about a column: its cells, each as a number (or NaN), and the different numbers with their counts."""
    if not len(found):
        return
    column, bounds = feature.name, f"the range {as_text(feature.low)} to {as_text(feature.high)}"
    same = ""
    if 1 < counts[0] == len(values):
        is_code = bool(np.isin(found, _CODES)[0]) and not feature.low <= found[0] <= feature.high
        code = f', {as_text(found[0])} (does it mean "missing"?)' if is_code else ""
        same = f"every record holds the same number{code}, from which no model can learn"
    clipped = _clipped(
        counts[found < feature.low].sum(), counts[found > feature.high].sum(), len(values), bounds
    )
    if clipped is not None:
        yield Doubt("clipped", column, f"{clipped[0]}: {same}" if same else clipped[0], clipped[1])
    elif same:
        yield Doubt("constant", column, same)
    yield from _codes(feature, found, counts, bounds)
    if _parts_thousands(feature, values, cells):
        text = "exactly three digits follow each point. Does it part thousands, so that 1.250 means 1250?"
        yield Doubt("thousands", column, text)


def doubts_of_days(name: str, days: Numbers, ends: tuple[float, float], bounds: str) -> Iterator[Doubt]:
    """Doubts about a column of dates, each as a number of days (or NaN)."""
    known = days[~np.isnan(days)]
    clipped = _clipped((known < ends[0]).sum(), (known > ends[1]).sum(), len(days), f"the range {bounds}")
    if clipped is not None:
        yield Doubt("clipped", name, *clipped)
    elif 1 < len(known) == len(days) and len(np.unique(known)) == 1:
        yield Doubt("constant", name, "every record holds the same day, from which no model can learn")


def _clipped(below: int, above: int, records: int, bounds: str) -> tuple[str, float] | None:
    """What to say of so many clipped records, and their share; None if they are few."""
    share = (below + above) / records
    for clipped, side in ((below, "below"), (above, "above")):
        if clipped > _CLIPPED * records:
            unit = ": is the unit the plan's?" if clipped > records / 2 else ""
            return (
                f"{percent(clipped / records)} of the records are {side} {bounds} and are clipped{unit}",
                share,
            )
    return (f"{percent(share)} of the records are clipped to {bounds}", share) if share > _CLIPPED else None


def doubts_of_values(name: str, counts: Sequence[int], records: int) -> Iterator[Doubt]:
    """Doubts about a column of named values, of which each occurs so often."""
    if 1 < records == max(counts, default=0) and len(counts) > 1:
        yield Doubt("constant", name, "every record holds the same value, from which no model can learn")


def doubts_of_classes(target: str, classes: Sequence[tuple[str, int]]) -> Iterator[Doubt]:
    """Doubts about the labels, of which each class has so many."""
    absent = [name for name, count in classes if not count]
    if classes and len(classes) - len(absent) == 1:
        yield Doubt("classes", target, "all records are of one class", 1.0)
    elif absent and len(absent) < len(classes):
        more = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
        yield Doubt("classes", target, f"no record is of class {', '.join(absent[:_NAMED])}{more}")


def differing(
    doubts: Sequence[Doubt], others: Sequence[Doubt], shares: Mapping[str, float]
) -> Iterator[Doubt]:
    """The doubts about one file of a site that those about another, larger one do not tell already.

    `shares` are those of the other file's records that are clipped, by column: a little more or less is chance.
    """
    told = {(doubt.kind, doubt.column) for doubt in others}
    for doubt in doubts:
        is_near = doubt.kind == "clipped" and doubt.share - shares.get(doubt.column, 0.0) <= _CLIPPED
        if (doubt.kind, doubt.column) not in told and not is_near:
            yield doubt


def doubts_of_size(declared: int | None, fewest: int, most: int, unit: str) -> Iterator[str]:
    """Doubts about the size that a site declares in public, of which a part may be held out."""
    if declared is not None and not (1 - _OFF) * fewest <= declared <= (1 + _OFF) * most:
        yield (
            f"data.size declares {declared}, the files hold {most} {unit}s: "
            "the size scales what this site sends, and weighs it where weights are declared"
        )


def hints_of_length(plan: Plan, length: float) -> Iterator[str]:
    """How long a typical record is beside the norm that its gradient is clipped to.

    The gradient of a linear layer is the error of its outputs times the input and a 1 for the bias. Before anything
    is learned, the error of K classes has the length sqrt(1 - 1/K).
    """
    norm, task = plan.privacy.clipping_norm, plan.task
    if norm is None or plan.privacy.unit == "client" or not isinstance(task, TabularTask):
        return
    error = error_at_first(task.outcome)
    if error is None or is_network_of_series(task):
        return
    gradient = first_gradient(math.sqrt(1 + length**2), error)
    if gradient > _LONG * norm:
        yield (
            f"a typical record is {length:.1f} long as the model's input, so its first gradients are about "
            f"{gradient:.1f} long; privacy.clipping_norm is {norm:g} and keeps {percent(norm / gradient)} of them, "
            f"so probabilities may come out wrong. {gradient / 2:.2g} to {1.5 * gradient:.2g} suits them, the more "
            "records the larger; noise grows with it"
        )


def hints_of_metrics(plan: Plan, classes: Sequence[tuple[str, int]]) -> Iterator[str]:
    """What the plan's metrics cannot show of a rare outcome: two classes, each with so many records.

    For the terminal of those who own the records: the share of a class is an exact figure.
    """
    records, task = sum(count for _, count in classes), plan.task
    if len(classes) != 2 or not records or not isinstance(task, Classification):
        return
    (rare, fewest), asked = min(classes, key=lambda one: one[1]), plan.evaluation.metrics
    if not 0 < fewest < _RARE * records:
        return
    share, blind = percent(fewest / records), 1 - fewest / records
    if not [name for name in asked if name not in _BLIND]:
        yield (
            f'{share} of the records are of class "{rare}", and evaluation.metrics cannot show whether any of '
            f"them is found: an answer that ignores the features has accuracy {blind:.3f}. Ask for auc, "
            "recall_at_10 or recall"
        )
    moved = plan.evaluation.threshold not in (None, 0.5) or task.class_weights
    told = [name for name in asked if name in ("f1", "recall", "precision", "balanced_accuracy")]
    if told and not moved:
        yield (
            f'{share} of the records are of class "{rare}": few or none may score above .5, and then '
            f"{told[0]} says little. Set evaluation.threshold, or task.class_weights, to what the field knows"
        )


def doubts_of_sizes(sizes: Sequence[int]) -> Iterator[str]:
    """Doubts about sites that each add all of the noise and then count alike."""
    if sizes and max(sizes) >= _UNEVEN * min(sizes):
        yield (
            f"sites declare {min(sizes)} to {max(sizes)}, and each adds the whole noise: with uniform weights the "
            'noisiest counts as much as the best; consider weights = "declared", or distributed noise'
        )


def percent(share: float) -> str:
    """A share with one decimal; 0% and 100% only where they are exact."""
    if share in (0, 1):
        return f"{share:.0%}"
    return f"{min(max(share, 0.001), 0.999):.1%}"


def _codes(feature: Numeric, found: Numbers, counts: Counts, bounds: str) -> Iterator[Doubt]:
    """Values that stand for "missing" in many files, and any single value outside the range that piles up."""
    records, most = int(counts.sum()), np.sort(counts)[-2:]
    is_outside, is_code = (found < feature.low) | (found > feature.high), np.isin(found, _CODES)
    outside = int(counts[is_outside].sum())
    for place in np.flatnonzero(is_code & (counts < records)).tolist():
        value, count = float(found[place]), int(counts[place])
        if is_outside[place] and outside - count > records / 2:
            continue  # the unit does not fit, and somebody's number is a code by chance
        if is_outside[place]:
            is_far = max(feature.low - value, value - feature.high) > feature.high - feature.low
            doubtful = count > 1 or is_far or value < 0 <= feature.low
        else:
            next_most = int(most[0] if count == most[-1] else most[-1])
            doubtful = value != 0 and count >= max(_FEWEST, _PILE_OF_CODES * records, 2 * next_most)
        if doubtful:
            where = f"{many(count, 'record')}, {'outside' if is_outside[place] else 'in'} {bounds}"
            text = f'{as_text(value)} stands in {where}: does it mean "missing"?'
            yield Doubt("missing", feature.name, text, count / records)
    piles = is_outside & ~is_code & (counts < records) & (counts >= max(_FEWEST, _PILE * records))
    # Where most numbers are outside, the range or the unit does not fit, and numbers pile up as they do anywhere.
    if piles.any() and outside <= records / 2:
        count = int(counts[piles].max())
        text = f'one and the same number outside {bounds} stands in {count} records: does it mean "missing"?'
        yield Doubt("missing", feature.name, text, count / records)


def _parts_thousands(feature: Numeric, values: Numbers, cells: Sequence[str]) -> bool:
    """Whether points part thousands: a thousand times the number fits the range, and no cell has other decimals."""
    if max(abs(feature.low), abs(feature.high)) < 1000:
        return False
    parted = np.flatnonzero(values != np.trunc(values))  # NaN is among them, and its cell is no match
    meant = 1000 * values[parted]
    if len(parted) < 2 or ((feature.low <= meant) & (meant <= feature.high)).mean() < _FITTING:
        return False
    return all(_THOUSANDS.fullmatch(cell) for cell in cells if "." in cell)
