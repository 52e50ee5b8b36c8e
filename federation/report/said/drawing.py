"""Curves of a model as inline SVG, small ones beside each other: lines along a range, bars of values.

Written by hand: a page may have thirty, and matplotlib takes a while for each. Ink is the page's (`currentColor`).
"""

from __future__ import annotations

from html import escape

from federation.model.curves import Curve
from federation.words import printable

COLORS = ("#0f8b8d", "#e07a1f", "#6c5ce7", "#d6336c", "#5b8c2a", "#8d6e63", "#3b82f6")
_WIDE, _HIGH, _LEFT, _TOP, _BOTTOM, _RIGHT = 260.0, 160.0, 34.0, 22.0, 22.0, 8.0
MOST_BARS = 12


def drawn(curves: list[Curve], reach: float, adds_to: str) -> str:
    """The curves of one feature, an outcome each, from -reach to reach, of what it `adds_to`."""
    label = escape(f"what {curves[0].feature} adds to {adds_to}", quote=True)
    inside = [_frame(reach)]
    for number, curve in enumerate(curves):
        color = COLORS[number % len(COLORS)]
        line = [at for at, place in enumerate(curve.at) if place is not None]
        inside.append(_line(curve, line, reach, color) if len(line) > 1 else "")
        bars = [at for at, place in enumerate(curve.at) if place is None or len(line) < 2]
        if bars:
            inside.append(_bars(curve, bars, reach, color, (number, len(curves)), beside=len(line) > 1))
    box = f'viewBox="0 0 {_WIDE:g} {_HIGH:g}"'
    text = 'font-size="9" fill="currentColor"'
    title = f'<text x="{_LEFT:g}" y="10" font-size="11" font-weight="600">{escape(_short(curves[0].feature))}</text>'  # noqa: E501
    return f'<svg role="img" aria-label="{label}" {box} {text}>{title}{"".join(inside)}</svg>'


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= 36 else f"{name[:35]}\u2026"


def _y(value: float, reach: float) -> float:
    middle = (_TOP + _HIGH - _BOTTOM) / 2
    return middle - value / reach * (_HIGH - _BOTTOM - _TOP) / 2


def _frame(reach: float) -> str:
    lines = []
    for value in (-reach, 0.0, reach):
        y, faint = _y(value, reach), 0.5 if value == 0 else 0.15
        lines.append(
            f'<line x1="{_LEFT:g}" x2="{_WIDE - _RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" stroke-opacity="{faint:g}"/>'  # noqa: E501
            f'<text x="{_LEFT - 4:g}" y="{y + 3:.1f}" text-anchor="end">{value:+.2g}</text>'
        )
    return "".join(lines)


def _line(curve: Curve, places: list[int], reach: float, color: str) -> str:
    numbers = [float(curve.at[at] or 0.0) for at in places]
    low, high = numbers[0], numbers[-1]
    end = _WIDE - _RIGHT - (40 if len(places) < len(curve.at) else 0)
    xs = [_LEFT + (number - low) / (high - low) * (end - _LEFT) for number in numbers]
    found = ""
    if curve.noise is not None and any(curve.noise):
        up = [
            f"{x:.1f},{_y(_cut(curve.effect[at] + 2 * curve.noise[at], reach), reach):.1f}"
            for x, at in zip(xs, places, strict=True)
        ]
        down = [
            f"{x:.1f},{_y(_cut(curve.effect[at] - 2 * curve.noise[at], reach), reach):.1f}"
            for x, at in zip(xs, places, strict=True)
        ]
        found = f'<polygon points="{" ".join([*up, *reversed(down)])}" fill="{color}" fill-opacity="0.18"/>'
    points = " ".join(
        f"{x:.1f},{_y(_cut(curve.effect[at], reach), reach):.1f}" for x, at in zip(xs, places, strict=True)
    )
    found += f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>'
    first, last = escape(curve.labels[places[0]]), escape(curve.labels[places[-1]])
    base = _HIGH - 8
    return (
        f'{found}<text x="{_LEFT:g}" y="{base:g}">{first}</text>'
        f'<text x="{end:.1f}" y="{base:g}" text-anchor="end">{last}</text>'
    )


def _bars(
    curve: Curve, places: list[int], reach: float, color: str, slot: tuple[int, int], *, beside: bool
) -> str:
    shown = sorted(sorted(places, key=lambda at: -abs(curve.effect[at]))[:MOST_BARS])
    start = _WIDE - _RIGHT - 34 if beside else _LEFT
    step = (_WIDE - _RIGHT - start) / len(shown)
    wide, zero, found = step * 0.7 / slot[1], _y(0.0, reach), ""
    for number, at in enumerate(shown):
        x = start + step * (number + 0.15) + slot[0] * wide
        y = _y(_cut(curve.effect[at], reach), reach)
        found += f'<rect x="{x:.1f}" y="{min(y, zero):.1f}" width="{wide:.1f}" height="{abs(y - zero):.1f}" fill="{color}"/>'  # noqa: E501
        if curve.noise is not None and curve.noise[at]:
            ends = [_y(_cut(curve.effect[at] + sign * 2 * curve.noise[at], reach), reach) for sign in (1, -1)]
            found += f'<line x1="{x + wide / 2:.1f}" x2="{x + wide / 2:.1f}" y1="{ends[0]:.1f}" y2="{ends[1]:.1f}" stroke="currentColor"/>'  # noqa: E501
        if slot[0] == 0:
            word = curve.labels[at]
            word = (
                word
                if len(word) * 5 < step or len(word) < 4
                else word[: max(2, int(step / 5) - 1)] + "\u2026"
            )
            middle = start + step * (number + 0.5)
            found += f'<text x="{middle:.1f}" y="{_HIGH - 8:g}" text-anchor="middle">{escape(word)}</text>'
    return found


def _cut(value: float, reach: float) -> float:
    return max(-reach, min(reach, value))
