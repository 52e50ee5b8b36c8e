"""What a sweep varies: `--sweep KEY=VALUES`, each KEY a number of the plan, or of what nobody has planned yet.

VALUES are separated by commas. LOW:HIGH:COUNT among them are so many numbers, evenly spaced, both ends included.

    rounds=50,100,200     sample_rate=.05:.5:10     unit=record,patient     noise_multiplier=1,2,4
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from federation.config.schema import nearest
from federation.errors import InputError

Value = int | float | str

MOST: Final = 10_000
"""Points of one sweep."""
_FEWER: Final = "sweep fewer values"


@dataclass(frozen=True)
class Key:
    """A number that can be varied: where it stands in a plan, "" for none, and how it is read."""

    place: str
    read: Callable[[float], Value] | None = float

    @property
    def path(self) -> tuple[str, ...]:
        """Table and key."""
        return tuple(self.place.split("."))


def _whole(number: float) -> int:
    if not number.is_integer():
        raise ValueError
    return int(number)


KEYS: Final[Mapping[str, Key]] = {
    "rounds": Key("federation.rounds", _whole),
    "sample_rate": Key("training.sample_rate"),
    "local_steps": Key("training.local_steps", _whole),
    "sites": Key("cohort.minimum", _whole),
    "dropouts": Key("secure_aggregation.dropouts", _whole),
    "colluders": Key("secure_aggregation.colluders", _whole),
    "unit": Key("privacy.unit", None),
    "noise": Key("privacy.noise", None),
    "epsilon": Key("privacy.epsilon"),
    "delta": Key("privacy.delta"),
    "noise_multiplier": Key(""),
    "records": Key("", _whole),
}
"""By the name on the command line. A plan knows no noise multiplier of its own, and no records of a site."""


@dataclass(frozen=True)
class Axis:
    """One thing that is varied, and its values."""

    name: str
    values: tuple[Value, ...]

    @property
    def key(self) -> Key:
        """What it is."""
        return KEYS[self.name]


def axes_of(texts: Sequence[str]) -> tuple[Axis, ...]:
    """The axes of a command line. InputError for what is none, twice the same, or too many points."""
    axes = tuple(map(_axis, texts))
    names = [axis.name for axis in axes]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--sweep {name}: is there twice", hint="write all values after one of them")
    if "epsilon" in names and "noise_multiplier" in names:
        hint = "sweep one of them: the other follows"
        raise InputError("--sweep epsilon: cannot stand beside noise_multiplier", hint=hint)
    if (points := math.prod(len(axis.values) for axis in axes)) > MOST:
        raise InputError(f"--sweep: makes {points:,} points; at most {MOST:,}", hint=_FEWER)
    return axes


def _axis(text: str) -> Axis:
    name, is_given, values = text.partition("=")
    name = _named(name.strip())
    parts = [part.strip() for part in values.split(",")]
    if not is_given or not all(parts):
        raise InputError(f"--sweep {text}: has no values", hint=f"write for example: --sweep {name}=1,2,3")
    found = [value for part in parts for value in _values(name, part)]
    return Axis(name, tuple(dict.fromkeys(found)))


def _named(name: str) -> str:
    """A key by its name, or by its place in the plan."""
    for short, key in KEYS.items():
        if name in (short, key.place) and name:
            return short
    raise InputError(f"--sweep {name}: unknown key", hint=nearest(name.rpartition(".")[2], KEYS))


def _values(name: str, part: str) -> list[Value]:
    read = KEYS[name].read
    if read is None:
        return [part.strip('"')]
    try:
        numbers = [float(number) for number in part.split(":")]
        if len(numbers) == 3 and numbers[2] > MOST and numbers[2].is_integer():
            told = f"--sweep {name}={part}: makes {numbers[2]:,.0f} points; at most {MOST:,}"
            raise InputError(told, hint=_FEWER)
        if not all(map(math.isfinite, numbers)) or len(numbers) not in (1, 3):
            raise ValueError
        return [read(number) for number in (_spaced(numbers, read) if len(numbers) == 3 else numbers)]
    except (ValueError, OverflowError):
        kind = "numbers" if read is float else "whole numbers"
        hint = f"write {kind}: {name}=1,2,3 or {name}=LOW:HIGH:COUNT"
        raise InputError(f"--sweep {name}={part}: cannot be read", hint=hint) from None


def _spaced(numbers: Sequence[float], read: Callable[[float], Value]) -> list[float]:
    """So many numbers from low to high; whole ones where only those are read."""
    low, high, many = numbers[0], numbers[1], _whole(numbers[2])
    if many < 1 or (many == 1 and low != high):
        raise ValueError
    steps = [low + (high - low) * step / max(1, many - 1) for step in range(many)]
    return (
        [float(round(step)) for step in steps]
        if read is _whole
        else [float(f"{step:.12g}") for step in steps]
    )
