"""The newest greeting that was answered, of each coordinator, in a file beside the site's keys.

A HELLO counts for a while after it was made, so whoever recorded one could send it once more. One of another run,
older than the newest that was answered, is refused: by a process that was started in between, too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from federation.files import replace_file
from privacy.errors import FaultyServer, RecordsUnavailable


@dataclass
class Greetings:
    """`path` is None where a site is simulated: it outlives no process."""

    path: Path | None = None
    _held: dict[str, tuple[int, str]] = field(default_factory=dict, init=False)  # key -> issued, run

    def check(self, coordinator: bytes, issued: int, run: bytes) -> None:
        """FaultyServer for a greeting that is older than one of another run."""
        newest, known = self._read().get(coordinator.hex(), (0, ""))
        if issued < newest and run.hex() != known:
            raise FaultyServer(
                f"a HELLO of run {run.hex()} that is older than the newest, of run {known}",
                hint="it was kept back, or sent again by somebody else: nothing is to be done",
            )

    def remember(self, coordinator: bytes, issued: int, run: bytes) -> None:
        """From here on this greeting is the newest, unless a newer one of this run is known."""
        known = self._read()
        newest, before = known.get(coordinator.hex(), (0, ""))
        if (issued, run.hex()) == (newest, before) or issued < newest:
            return
        self._held = {**known, coordinator.hex(): (issued, run.hex())}
        if self.path is not None:
            content = json.dumps(self._held, indent=1, sort_keys=True).encode()
            try:
                replace_file(self.path, content, is_secret=True)
            except OSError as error:
                raise self._unavailable(error.strerror or "it cannot be written") from None

    def _read(self) -> dict[str, tuple[int, str]]:
        if self.path is None:
            return self._held
        try:
            content = json.loads(self.path.read_bytes())
            return {str(key): (int(issued), str(run)) for key, (issued, run) in content.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError):
            raise self._unavailable("it cannot be read") from None

    def _unavailable(self, reason: str) -> RecordsUnavailable:
        return RecordsUnavailable(
            f"{self.path}: the greetings that were answered are not known: {reason}",
            hint="check the disk and the permissions, or put its newest copy back",
        )
