"""The drawings of the page, as SVG: they take colors from its style, load nothing, and stand beside tables.

Each is drawn twice, for wide and for narrow windows, so that letters keep their size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

Band = Mapping[str, Any]
_MARKS = (
    '<circle r="4.5"/>',
    '<rect x="-4" y="-4" width="8" height="8"/>',
    '<path d="M0-5.6 5.6 0 0 5.6-5.6 0z"/>',
    '<path d="M0-5.2 5 4H-5z"/>',
)


@dataclass(frozen=True)
class Series:
    """One line of a frontier; `tone` is its number among the page's colors."""

    name: str
    tone: int
    epsilons: tuple[float, ...]
    bands: tuple[Band, ...]
    is_aside: bool = False  # dashed, without a band: to compare with


@dataclass(frozen=True)
class Level:
    """A figure that does not depend on epsilon, as a line across."""

    name: str
    value: float
    style: str


@dataclass(frozen=True)
class Size:
    """Of a drawing: its whole width and height, and the room at its right for words."""

    width: int
    height: int
    words: int = 0


WIDE, NARROW, SMALL = Size(860, 400, 196), Size(350, 300), Size(400, 260)


def mark(tone: int, x: float = 0.0, y: float = 0.0, tip: str = "") -> Markup:
    """The mark of a series."""
    title = Markup("<title>{}</title>").format(tip) if tip else Markup()
    shape = Markup(_MARKS[tone % len(_MARKS)])
    text = '<g class="mark tone{}" transform="translate({:.1f} {:.1f})">{}{}</g>'
    return Markup(text).format(tone, x, y, title, shape)


def frontier(series: Sequence[Series], levels: Sequence[Level], label: str, size: Size) -> Markup:
    """A metric over epsilon: a line and a band for each series, a line across for each level."""
    return _Frontier(tuple(series), tuple(levels), label, size).drawn()


@dataclass(frozen=True)
class _Frontier:
    series: tuple[Series, ...]
    levels: tuple[Level, ...]
    label: str
    size: Size

    def drawn(self) -> Markup:
        low, high = self._range()
        parts = [self._grid(low, high)]
        clip = f"clip-{self.size.width}-{abs(hash_of(self.label)):x}"
        box = Markup('<clipPath id="{}"><rect x="{}" y="{}" width="{:.1f}" height="{:.1f}"/></clipPath>')
        parts.append(box.format(clip, _LEFT, _TOP, self._right - _LEFT, self._bottom - _TOP))
        inside = [self._level(level, low, high) for level in self.levels if low <= level.value <= high]
        inside += [self._shade(one, low, high) for one in self.series if not one.is_aside]
        inside += [self._line(one, low, high) for one in self.series]
        inside += [self._seeds(one, low, high) for one in self.series if not one.is_aside]
        parts.append(Markup('<g clip-path="url(#{})">{}</g>').format(clip, Markup("").join(inside)))
        parts += [self._marks(one, low, high) for one in self.series]
        if self.size.words:
            parts.append(self._words(low, high))
        said = f"{self.label} over epsilon; the table below has the figures"
        return _svg(self.size, said, Markup("").join(parts))

    @property
    def _right(self) -> float:
        return self.size.width - (self.size.words or 14)

    @property
    def _bottom(self) -> float:
        return self.size.height - 44

    def _range(self) -> tuple[float, float]:
        """What is shown: all means and levels, bands as far as there is room, the majority only if it is near."""
        means = [one["mean"] for line in self.series for one in line.bands if one["mean"] is not None]
        core = means + [level.value for level in self.levels if level.style != "majority"]
        if not core:
            return 0.0, 1.0
        room = max(0.5 * (max(core) - min(core)), 0.03)
        bands = [
            one for line in self.series if not line.is_aside for one in line.bands if one["low"] is not None
        ]
        low = max(min(core) - room, min([min(core) - room / 3, *(one["low"] for one in bands)]))
        high = min(max(core) + room, max([max(core) + room / 3, *(one["high"] for one in bands)]))
        if min(core) >= 0 and max(core) <= 1:
            low, high = max(0.0, low), min(1.0, high)
        return low, high

    def _x(self, epsilon: float) -> float:
        known = sorted({each for line in self.series for each in line.epsilons})
        if len(known) < 2:
            return (_LEFT + self._right) / 2
        share = math.log(epsilon / known[0]) / math.log(known[-1] / known[0])
        return _LEFT + 22 + share * (self._right - _LEFT - 44)

    def _y(self, value: float, low: float, high: float) -> float:
        return self._bottom - (value - low) / (high - low) * (self._bottom - _TOP)

    def _grid(self, low: float, high: float) -> Markup:
        lines = []
        for value in ticks(low, high):
            y = self._y(value, low, high)
            text = '<path class="grid" d="M{} {:.1f}H{:.1f}"/><text x="{}" y="{:.1f}" class="end">{}</text>'
            lines.append(
                Markup(text).format(_LEFT, y, self._right, _LEFT - 8, y + 4, _tick(value, high - low))
            )
        before = -math.inf
        for epsilon in sorted({each for line in self.series for each in line.epsilons}):
            x = self._x(epsilon)
            lines.append(Markup('<path class="axis" d="M{:.1f} {:.1f}v5"/>').format(x, self._bottom))
            if x - before >= _APART:
                text = '<text x="{:.1f}" y="{:.1f}" class="middle">{:g}</text>'
                lines.append(Markup(text).format(x, self._bottom + 18, epsilon))
                before = x
        text = (
            '<path class="axis" d="M{} {:.1f}H{:.1f}"/><text x="{:.1f}" y="{}" class="middle soft">'
            "epsilon: less is more private</text>"
        )
        middle = (_LEFT + self._right) / 2
        lines.append(Markup(text).format(_LEFT, self._bottom, self._right, middle, self.size.height - 6))
        return Markup("").join(lines)

    def _level(self, level: Level, low: float, high: float) -> Markup:
        y = self._y(level.value, low, high)
        return Markup('<path class="level {}" d="M{} {:.1f}H{:.1f}"/>').format(
            level.style, _LEFT, y, self._right
        )

    def _points(self, line: Series) -> list[tuple[float, Band]]:
        return [
            (self._x(epsilon), one)
            for epsilon, one in zip(line.epsilons, line.bands, strict=True)
            if one["mean"] is not None
        ]

    def _shade(self, line: Series, low: float, high: float) -> Markup:
        known = [(x, one) for x, one in self._points(line) if one["low"] is not None]
        above = [f"{x:.1f} {self._y(one['high'], low, high):.1f}" for x, one in known]
        below = [f"{x:.1f} {self._y(one['low'], low, high):.1f}" for x, one in reversed(known)]
        if not known:
            return Markup()
        if len(known) == 1:
            return Markup('<path class="whisker tone{}" d="M{}L{}"/>').format(line.tone, above[0], below[0])
        return Markup('<path class="band tone{}" d="M{}Z"/>').format(line.tone, "L".join(above + below))

    def _seeds(self, line: Series, low: float, high: float) -> Markup:
        """A small dot for each run."""
        dot = Markup('<circle class="seed tone{}" cx="{:.1f}" cy="{:.1f}" r="2"/>')
        return Markup("").join(
            dot.format(line.tone, x, self._y(value, low, high))
            for x, one in self._points(line)
            for value in one["values"]
            if value is not None and len(one["values"]) > 1
        )

    def _line(self, line: Series, low: float, high: float) -> Markup:
        path = "L".join(f"{x:.1f} {self._y(one['mean'], low, high):.1f}" for x, one in self._points(line))
        kind = "aside" if line.is_aside else "line"
        return Markup('<path class="{} tone{}" d="M{}"/>').format(kind, line.tone, path) if path else Markup()

    def _marks(self, line: Series, low: float, high: float) -> Markup:
        if line.is_aside:
            return Markup()
        return Markup("").join(
            mark(line.tone, x, self._y(one["mean"], low, high), f"{line.name}: {one['mean']:.3f}")
            for x, one in self._points(line)
        )

    def _words(self, low: float, high: float) -> Markup:
        """The name of each line at its right end, moved apart where two would overlap."""
        shown = [one for one in self.levels if low <= one.value <= high]
        ends = [(self._y(one.value, low, high), one.name, one.style) for one in shown]
        for line in self.series:
            if points := self._points(line):
                ends.append((self._y(points[-1][1]["mean"], low, high), line.name, f"tone{line.tone}"))
        ends.sort()
        places = apart([y for y, _, _ in ends], 17, _TOP + 4, self._bottom)
        text = (
            '<path class="lead" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>'
            '<text x="{:.1f}" y="{:.1f}" class="name {}">{}</text>'
        )
        near, far, at = self._right + 2, self._right + 14, self._right + 18
        return Markup("").join(
            Markup(text).format(near, y, far, place, at, place + 4, style, name)
            for (y, name, style), place in zip(ends, places, strict=True)
        )


_LEFT, _TOP, _APART = 52, 14, 26
_WIDTH = 1e-9  # of a band that has any: below it is rounding


def exchange(rows: Sequence[tuple[str, Band, Band]], size: Size) -> Markup:
    """For each site a bar of what it gets and one of what it gives, from a line of no difference."""
    far = max([0.01, *(abs(one["mean"]) for _, *bands in rows for one in bands if one["mean"] is not None)])
    left, tall = (130 if size.words else 8), 62
    middle, half = (left + size.width - 14) / 2, (size.width - 14 - left) / 2 - 52
    height = tall * len(rows) + 34
    parts = [Markup('<path class="axis" d="M{:.1f} 4V{}"/>').format(middle, height - 28)]
    for number, (name, gets, gives) in enumerate(rows):
        top = 4 + tall * number
        x, anchor = (left - 14, "end") if size.words else (left, "start")
        y = top + (34 if size.words else 13)
        parts.append(Markup('<text x="{}" y="{}" class="{} site">{}</text>').format(x, y, anchor, name))
        for kind, one, at in (("gets", gets, top + 18), ("gives", gives, top + 36)):
            parts.append(_bar(kind, one, at, middle, half / far))
    text = (
        '<text x="{:.1f}" y="{}" class="end soft">← loses</text>'
        '<text x="{:.1f}" y="{}" class="start soft">gains →</text>'
    )
    parts.append(Markup(text).format(middle - 10, height - 8, middle + 10, height - 8))
    said = "what each site gets by joining and gives to the others; the table below has the figures"
    return _svg(Size(size.width, height), said, Markup("").join(parts))


def _bar(kind: str, one: Band, y: float, zero: float, scale: float) -> Markup:
    if one["mean"] is None:
        return Markup('<text x="{:.1f}" y="{}" class="soft start">n/a</text>').format(zero + 6, y + 11)
    wide = abs(one["mean"]) * scale
    x = zero if one["mean"] >= 0 else zero - wide
    sure = "" if is_clear(one) else " unclear"
    text = '<rect class="bar {}{}" x="{:.1f}" y="{}" width="{:.1f}" height="13" rx="2"/>'
    bar = Markup(text).format(kind, sure, x, y, max(wide, 1.5))
    anchor, at = ("start", zero + wide + 6) if one["mean"] >= 0 else ("end", zero - wide - 6)
    return bar + Markup('<text x="{:.1f}" y="{}" class="{} value">{}</text>').format(
        at, y + 11, anchor, signed(one["mean"])
    )


def is_clear(one: Band) -> bool:
    """Whether a difference is one: its band is on one side of zero.

    A band without width is none: seeds agree to the last digit where a site has a handful of test records, of which
    the same one is right or wrong.
    """
    if one["low"] is None or one["high"] - one["low"] < _WIDTH:
        return False
    return bool(one["low"] > 0 or one["high"] < 0)


def signed(value: float) -> str:
    """A difference to three places, with a sign that is as wide as a plus.

    >>> signed(0.0124), signed(-0.0124), signed(0.0)
    ('+0.012', '\u22120.012', '0.000')
    """
    text = f"{value:+.3f}".replace("-", "\u2212")
    return text[1:] if text.strip("+\u22120.") == "" else text


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from low to high, about five.

    >>> ticks(0.61, 0.94)
    [0.7, 0.8, 0.9]
    """
    rough = (high - low) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _tick(value: float, span: float) -> str:
    return f"{value:.{max(1, 1 - math.floor(math.log10(span)))}f}"


def apart(places: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Ascending places, moved as little as is simple so that each is `least` below the one above.

    >>> apart([10, 12, 50], 15, 0, 60)
    [10, 25, 50]
    """
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + least if moved else low))
    for number in range(len(moved) - 1, -1, -1):
        limit = high if number == len(moved) - 1 else moved[number + 1] - least
        moved[number] = min(moved[number], limit)
    return moved


def hash_of(text: str) -> int:
    """A number of a text, the same in every process."""
    return sum(place * ord(letter) for place, letter in enumerate(text, start=1))


def _svg(size: Size, said: str, inside: Markup) -> Markup:
    text = '<svg role="img" aria-label="{}" viewBox="0 0 {} {}">{}</svg>'
    return Markup(text).format(said, size.width, size.height, inside)
