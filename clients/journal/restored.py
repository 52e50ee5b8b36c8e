"""What is remembered of restores beside the keys of a site, where the journal's loss does not reach.

Two approvers vouch that nothing is missing after one entry of a ledger. Once the ledger went on from there, that is
no longer true, and never will be again. So the file holds, for every ledger of the site, the number of the newest
entry that ended a restore: a copy that ends before it lacks something beyond doubt, whoever vouches for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clients.journal.remembered import Memory
from privacy.errors import LedgerCorrupt


@dataclass(frozen=True)
class RestoreMemory:
    """The newest restore of each ledger, by the hash of its first entry, in a file beside the keys."""

    path: Path

    @property
    def _memory(self) -> Memory[int]:
        return Memory(self.path, "restores of this site's ledgers", int)

    def newest(self, ledger: bytes) -> int:
        """The number of the entry that ended this ledger's newest restore; 0 if there was none."""
        return self._memory.read().get(ledger.hex(), 0)

    def remember(self, ledger: bytes, entry: int) -> None:
        """From here on, what ends before `entry` is no whole copy of this ledger. Durable when it returns."""
        if self.newest(ledger) < entry:
            key = ledger.hex()
            self._memory.update(lambda known: known | {key: max(entry, known.get(key, 0))})

    def settle(self, ledger: bytes, restored: int, last: int) -> None:
        """Before a site works on a journal: remember its last restore, whatever came between that and its noting.

        LedgerCorrupt for a journal that ends before a restore on record: it is an older copy.
        """
        self.remember(ledger, restored)
        if (known := self.newest(ledger)) > last:
            raise LedgerCorrupt(
                f"the journal ends at entry {last}, and a restore of it went on at entry {known}: an older copy",
                "cut",
                hint="put the newest copy back, or restore from it: federation ledger restore SITE --from FILE",
            )
