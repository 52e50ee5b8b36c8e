"""Made-up targets for made-up records (`federation.plan.made_up.mock`): drawn around the level of each record.

Levels stand in for classes where a plan predicts something else. What follows from them is made up, as all is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.plan.numerals import as_text
from federation.plan.outcomes import Classes, Counts, Range, Survival, Tally
from federation.plan.tabular import TabularTask
from federation.plan.tasks import Classification, Counting, Regression, TimeToEvent

Levels = NDArray[np.int64]
Draw = Callable[[int], NDArray[np.float64]]
"""So many numbers from 0 to 1."""
Cells = dict[str, tuple[str, ...]]

LEVELS: Final = 4
_STEPS = 1000  # of a range
_COUNTED = 8  # at most, on one unit of exposure
_OVER = 12  # of exposure, at most
_LOST = 0.4  # of the times are not until an event
_BEYOND = 1.25  # times the last bin, at most


def levels_of(task: TabularTask) -> int:
    """How many levels records are on."""
    return task.outcome.count if isinstance(task.outcome, Classes) else LEVELS


def targets(task: TabularTask, levels: Levels, draw: Draw) -> Cells:
    """The cells of the columns that say what is predicted, by column."""
    return _MAKERS[type(task.outcome)](task, levels, draw)


def _classes(task: TabularTask, levels: Levels, draw: Draw) -> Cells:
    assert isinstance(task, Classification)  # noqa: S101  # by its outcome
    if task.grouped is None:
        return {task.target: tuple(task.classes[level] for level in levels.tolist())}
    of_class = [task.grouped.get(name, (name,)) for name in task.classes]
    cells = (
        of_class[level][min(int(share * len(of_class[level])), len(of_class[level]) - 1)]
        for level, share in zip(levels.tolist(), draw(len(levels)).tolist(), strict=True)
    )
    return {task.target: tuple(cells)}


def _range(task: TabularTask, levels: Levels, draw: Draw) -> Cells:
    assert isinstance(task, Regression)  # noqa: S101
    low, high = task.target_range.low, task.target_range.high
    shares = np.round(_STEPS * _shares(levels, draw)) / _STEPS
    values = (low * (1 - share) + high * share for share in shares.tolist())
    return {task.target: tuple(as_text(min(max(float(f"{value:.6g}"), low), high)) for value in values)}


def _survival(task: TabularTask, levels: Levels, draw: Draw) -> Cells:
    assert isinstance(task, TimeToEvent)  # noqa: S101
    times = _BEYOND * task.bins[-1] * _shares(levels, draw)
    lost = draw(len(levels)) < _LOST
    times = np.where(lost, times * draw(len(levels)), times)
    ended = tuple(task.events[0] if each else task.events[1] for each in lost.tolist())
    return {task.target: tuple(as_text(float(f"{time:.4g}")) for time in times.tolist()), task.event: ended}


def _counts(task: TabularTask, levels: Levels, draw: Draw) -> Cells:
    assert isinstance(task, Counting)  # noqa: S101
    rates, found = min(task.most, _COUNTED) * _shares(levels, draw), Cells()
    if task.exposure is not None:
        over = 1 + np.floor(draw(len(levels)) * _OVER)
        rates, found[task.exposure] = rates * over / _OVER, tuple(map(as_text, over.tolist()))
    counts = np.minimum(np.floor(rates + draw(len(levels))), task.most)
    return {task.target: tuple(map(as_text, counts.tolist())), **found}


def _nothing(task: TabularTask, levels: Levels, draw: Draw) -> Cells:
    return _survival(task, levels, draw) if isinstance(task, TimeToEvent) else {}


def _shares(levels: Levels, draw: Draw) -> NDArray[np.float64]:
    """Where on a range records of these levels are, from 0 to 1."""
    return (levels + draw(len(levels))) / LEVELS


_MAKERS: Final[Mapping[type, Callable[[TabularTask, Levels, Draw], Cells]]] = {
    Classes: _classes,
    Range: _range,
    Survival: _survival,
    Counts: _counts,
    Tally: _nothing,
}
