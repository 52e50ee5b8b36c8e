"""What computing takes: CPU seconds of a process, and joules of the processor where one may read them (RAPL).

Both follow the batches of a site, which are secret. So at a real run they are for the site's own terminal and log,
and for no file and no message.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

RAPL = Path("/sys/class/powercap")
CPU = "CPU seconds of this process and of those that it started and that ended, as the operating system counts them"
JOULES = "joules of the whole processor meanwhile (RAPL), other programs and idling included"
NO_JOULES = "no joules: this machine has no RAPL counters that may be read"


@dataclass(frozen=True)
class Taken:
    """CPU seconds, and joules of the whole processor; None where nobody may read them."""

    cpu_seconds: float
    joules: float | None

    @property
    def method(self) -> str:
        """How each was come by."""
        return f"{CPU}; {NO_JOULES if self.joules is None else JOULES}"


@dataclass(frozen=True)
class Meter:
    """The counters as they were when it was made."""

    cpu: float
    counters: dict[Path, int]

    @classmethod
    def begin(cls, rapl: Path = RAPL) -> Self:
        """From now on."""
        counters = {place: _read(place, "energy_uj") for place in _packages(rapl)}
        return cls(_cpu(), {place: found for place, found in counters.items() if found is not None})

    def taken(self) -> Taken:
        """Since it was made. A counter that went round once is known; one that went round twice is not."""
        joules = [self._joules(place, before) for place, before in self.counters.items()]
        known = [one for one in joules if one is not None]
        is_known = bool(joules) and len(known) == len(joules)
        return Taken(_cpu() - self.cpu, sum(known) if is_known else None)

    def _joules(self, place: Path, before: int) -> float | None:
        now, most = _read(place, "energy_uj"), _read(place, "max_energy_range_uj")
        if now is None or (now < before and most is None):
            return None
        return (now - before + (most or 0) * (now < before)) / 1e6


def _cpu() -> float:
    found = os.times()
    return found.user + found.system + found.children_user + found.children_system


def _packages(rapl: Path) -> list[Path]:
    """The counters of whole processors: those inside of them are counted there already."""
    try:
        return [place for place in sorted(rapl.glob("*-rapl:*")) if place.name.count(":") == 1]
    except OSError:
        return []


def _read(place: Path, name: str) -> int | None:
    try:
        return int((place / name).read_text("ascii"))
    except (OSError, ValueError):
        return None
