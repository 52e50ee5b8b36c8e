"""What a site's own columns hold, as a table and bars on its terminal, and nowhere else."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence

from rich.table import Table

from clients.describing.shapes import SHARES, Shape
from federation.cli.screen import titled
from federation.words import printable

_BARS = "▁▂▃▄▅▆▇█"
_VALUES = 20  # of a column, in a line


def shape_lines(shapes: Sequence[Shape]) -> Iterator[Table | str]:
    """A row for each column, with a bar for each of its bins or values; then how often each value occurs."""
    names = ("missing", "mean", "deviation", *(f"{share:.0%} below" for share in SHARES), "by bin or value")
    table = titled("This site's records, exact: for this screen alone", "column", *names)
    table.columns[-1].justify = "left"
    for shape in shapes:
        figures = [_figure(shape, place) for place in range(2 + len(SHARES))]
        table.add_row(printable(shape.name), str(shape.missing), *figures, bars(shape.counts))
    yield table
    for shape in shapes:
        if shape.figures is None and shape.labels:
            yield _values(shape)


def bars(counts: Sequence[int]) -> str:
    """A bar for each count, the tallest for the largest; a blank for 0, and a bar for one record of many.

    >>> bars([0, 1, 50, 100])
    ' ▁▄█'
    """
    most = max(counts, default=0)
    return "".join(" " if not one else _BARS[-(-one * len(_BARS) // most) - 1] for one in counts)


def _figure(shape: Shape, place: int) -> str:
    if shape.figures is None:
        return ""
    value = shape.figures[place]
    if shape.is_date and place != 1:
        return datetime.date.fromordinal(round(value)).isoformat()
    return format(value, ".4g")


def _values(shape: Shape) -> str:
    pairs = sorted(zip(shape.counts, shape.labels, strict=True), key=lambda one: -one[0])
    told = [f"{printable(label)}: {count}" for count, label in pairs[:_VALUES]]
    rest = sum(count for count, _ in pairs[_VALUES:])
    return f"{printable(shape.name)}: {', '.join(told)}{f', others: {rest}' if rest else ''}"
