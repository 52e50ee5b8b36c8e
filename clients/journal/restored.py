"""What is remembered of restores beside the keys of a site, where the journal's loss does not reach.

Two approvers vouch that nothing is missing after one entry of a ledger. Once the ledger went on from there, that is
no longer true, and never will be again. So the file holds, for every ledger of the site, the number of the newest
entry that ended a restore: a copy that ends before it lacks something beyond doubt, whoever vouches for it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from federation.files import replace_file
from privacy.errors import LedgerCorrupt, RecordsUnavailable


@dataclass(frozen=True)
class RestoreMemory:
    """The newest restore of each ledger, by the hash of its first entry, in a file beside the keys."""

    path: Path

    def newest(self, ledger: bytes) -> int:
        """The number of the entry that ended this ledger's newest restore; 0 if there was none."""
        return self._read().get(ledger.hex(), 0)

    def remember(self, ledger: bytes, entry: int) -> None:
        """From here on, what ends before `entry` is no whole copy of this ledger. Durable when it returns."""
        if self.newest(ledger) >= entry:
            return
        with self._alone():
            known = self._read()
            if known.get(ledger.hex(), 0) < entry:
                content = json.dumps(known | {ledger.hex(): entry}, indent=1, sort_keys=True)
                replace_file(self.path, content.encode(), is_secret=True)

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

    def _read(self) -> dict[str, int]:
        try:
            content = json.loads(self.path.read_bytes())
            return {str(ledger): int(entry) for ledger, entry in content.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError):
            raise self._unavailable("it cannot be read") from None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process of this site, for another pool, writes meanwhile. Ends with the process, too."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
                yield
            finally:
                os.close(folder)
        except OSError as error:
            raise self._unavailable(error.strerror or "it cannot be written") from None

    def _unavailable(self, reason: str) -> RecordsUnavailable:
        return RecordsUnavailable(
            f"{self.path}: the restores of this site's ledgers are not known: {reason}",
            hint="check the disk and the permissions, or put its newest copy back",
        )
