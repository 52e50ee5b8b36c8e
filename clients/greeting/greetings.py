"""The newest greeting that was answered, of each coordinator, in a file beside the site's keys.

A HELLO counts for a while after it was made, so whoever recorded one could send it once more. One of another run,
older than the newest that was answered, is refused: by a process that was started in between, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from clients.journal.remembered import Memory
from privacy.errors import FaultyServer

_Newest: TypeAlias = tuple[int, str]  # when the newest greeting was issued, and of which run
_Known: TypeAlias = dict[str, _Newest]  # by the coordinator's key


@dataclass
class Greetings:
    """`path` is None where a site is simulated: it outlives no process."""

    path: Path | None = None
    _held: _Known = field(default_factory=dict, init=False)

    def check(self, coordinator: bytes, issued: int, run: bytes) -> None:
        """FaultyServer for a greeting that is older than one of another run."""
        memory = self._memory
        known = self._held if memory is None else memory.read()
        newest, before = known.get(coordinator.hex(), (0, ""))
        if issued < newest and run.hex() != before:
            raise FaultyServer(
                f"a HELLO of run {run.hex()} that is older than the newest, of run {before}",
                hint="it was kept back, or sent again by somebody else: nothing is to be done",
            )

    def remember(self, coordinator: bytes, issued: int, run: bytes) -> None:
        """From here on this greeting is the newest, unless a newer one of this run is known."""

        def change(known: _Known) -> _Known:
            newest, _ = known.get(coordinator.hex(), (0, ""))
            return known if issued < newest else {**known, coordinator.hex(): (issued, run.hex())}

        memory = self._memory
        if memory is None:
            self._held = change(self._held)
        else:
            memory.update(change)

    @property
    def _memory(self) -> Memory[_Newest] | None:
        return None if self.path is None else Memory(self.path, "greetings that were answered", _newest)


def _newest(content: tuple[int, str]) -> _Newest:
    issued, run = content
    return int(issued), str(run)
