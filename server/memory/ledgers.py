"""Which ledgers the sites have opened, over all runs of a coordinator: a file beside its key.

A run folder knows the heads of its own run. A site that begins a new ledger for records of an old one does so
between two runs; so the heads outlive them here. They are shown to the sites with the next greeting, and a site
that is shown a ledger of its own that it does not know refuses (docs/sharp-edges.md says what this cannot find).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from federation.errors import CheckpointError
from federation.files import replace_file
from federation.round.messages import few
from privacy.errors import MalformedMessage
from privacy.ledger.heads import Head, head_from_json


@dataclass(frozen=True)
class LedgerMemory:
    """The newest head of each ledger that was ever named; of a site's, the first few."""

    path: Path

    @classmethod
    def beside(cls, key: Path) -> LedgerMemory:
        """That of the coordinator with this key file."""
        return cls(key.with_suffix(".ledgers"))

    def heads(self) -> tuple[Head, ...]:
        """All on record. CheckpointError if the file cannot be read: whoever forgets is easily deceived."""
        try:
            rows = json.loads(self.path.read_bytes())
            return tuple(map(head_from_json, rows))
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, TypeError, MalformedMessage):
            raise self._unusable("cannot be read") from None

    def remember(self, heads: Iterable[Head]) -> None:
        """Put the newer ones on record, durably."""
        known = self.heads()
        newest = few([*known, *heads])
        if newest != known:
            content = json.dumps([head.to_json() for head in newest], indent=1).encode()
            try:
                replace_file(self.path, content)
            except OSError:
                raise self._unusable("cannot be written") from None

    def _unusable(self, reason: str) -> CheckpointError:
        hint = "put its newest copy back; without it only the sites remember each other's ledgers"
        return CheckpointError(f"{self.path}, where the sites' ledgers are remembered, {reason}", hint=hint)
