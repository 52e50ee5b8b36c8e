"""Which sites are connected: told when that changes, and waited for before a run begins."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from typing import Final

from federation.errors import RosterError
from federation.log import note, warn

_PAUSE: Final = 0.5
_BETWEEN: Final = 3.0
"""Seconds between two looks, while a run goes on."""


class Presence:
    """Notes in the log who comes and goes; `connected` asks who is here."""

    def __init__(self, sites: Sequence[str], connected: Callable[[], AbstractSet[str]]) -> None:
        self._sites, self._connected = tuple(sorted(sites)), connected
        self._known: frozenset[str] = frozenset()
        self._looking = threading.Lock()

    def look(self) -> frozenset[str]:
        """The sites that are connected now; what has changed is told."""
        with self._looking:
            here, before = frozenset(self._connected()), self._known
            self._known = here
            for number, site in enumerate(sorted(here - before), len(here & before) + 1):
                note("site_connected", site=site, connected=number, of=len(self._sites))
            for site in sorted(before - here):
                warn("site_gone", site=site, connected=len(here), of=len(self._sites))
        return here

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look now and then while the context lasts. A look that fails is not told: other calls fail, too."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(_BETWEEN):
                with suppress(Exception):
                    self.look()

        thread = threading.Thread(target=watch, name="presence", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()

    def wait(self, wanted: int, minimum: int, patience: float) -> None:
        """Return when so many sites are connected; after `patience` seconds also with fewer, down to `minimum`.

        RosterError names those that are missing.
        """
        ends = time.monotonic() + patience
        while len(here := self.look()) < wanted:
            if time.monotonic() >= ends:
                return self._begin_without(here, wanted, minimum, patience)
            time.sleep(_PAUSE)
        return None

    def _begin_without(self, here: frozenset[str], wanted: int, minimum: int, patience: float) -> None:
        missing = ", ".join(sorted(set(self._sites) - here))
        if len(here) < minimum:
            told = f"{len(here)} of {wanted} sites are connected after {patience:g} s"
            hint = "start federation join there, then give this command again"
            raise RosterError(f"{told}, cohort.minimum is {minimum} (missing: {missing})", hint=hint)
        warn("warning", detail=f"the run begins without {missing}: --patience is over")
