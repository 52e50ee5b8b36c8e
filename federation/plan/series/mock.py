"""Made-up series: how many rows each has, and when. `federation.plan.made_up.mock` says what is in the rows."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from federation.plan.columns.dates import Date, Form
from federation.plan.columns.features import Numeric
from federation.plan.numerals import as_text
from federation.plan.series.tasks import Series
from privacy.mechanism.noise import Stream

Places = NDArray[np.int64]

_MOST_WINDOWS = 4  # of a series
_BEGIN = date(2000, 1, 1)


def lengths(stream: Stream, rows: int, task: Series) -> tuple[Places, Places]:
    """The patient and the step of each row, from 0: each has a series of one to four windows."""
    many = max(1, -(-rows // task.least))
    windows = (stream.words(many) % np.uint64(_MOST_WINDOWS)).astype(np.int64)
    sizes = task.least + windows * task.stride
    owners = np.repeat(np.arange(many), sizes)[:rows]
    steps = np.arange(len(owners)) - np.searchsorted(owners, owners)
    return owners, steps


def rows_of_windows(task: Series, windows: int) -> int:
    """So many rows that there are as many windows, however the series turn out: the last one is cut off."""
    return windows * max(task.least, task.stride) + task.least + _MOST_WINDOWS * task.stride


def times(task: Series, owners: Places, steps: Places) -> dict[str, tuple[str, ...]]:
    """The cells of the columns that order the rows: a step is 1, or a day."""
    own = next((one for one in task.features if one.name == task.time), None)
    if task.time_format is None:
        low = own.low if isinstance(own, Numeric) else 0.0
        found = tuple(as_text(low + step) for step in steps.tolist())
    else:
        first, form = own.first if isinstance(own, Date) else _BEGIN, Form(task.time_format)
        found = tuple(form.write(first + timedelta(days=step)) for step in steps.tolist())
    named = (
        {} if task.series is None else {task.series: tuple(f"series-{one + 1}" for one in owners.tolist())}
    )
    return {task.time: found, **named}
