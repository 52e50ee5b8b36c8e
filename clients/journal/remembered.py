"""What a site remembers beside its keys, where neither another pool nor the loss of a journal reaches it.

One small file for each thing: a table as JSON, replaced as a whole. A file that cannot be read is an error, never
an empty memory: whoever forgets is easily deceived.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from federation.files import replace_file
from privacy.errors import RecordsUnavailable

Value = TypeVar("Value")


@dataclass(frozen=True)
class Memory(Generic[Value]):
    """The table in the file at `path`. `what` it holds, in the plural, is for errors; `parse` reads one entry.

    RecordsUnavailable where the file can neither be read nor written.
    """

    path: Path
    what: str
    parse: Callable[[Any], Value]

    def read(self) -> dict[str, Value]:
        """All that is remembered; nothing if there is no file yet."""
        try:
            content = json.loads(self.path.read_bytes())
            return {str(key): self.parse(value) for key, value in content.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError):
            raise self._unavailable("it cannot be read") from None

    def update(self, change: Callable[[dict[str, Value]], dict[str, Value]]) -> None:
        """Replace what is remembered by what `change` makes of it. Durable when it returns."""
        with self._alone():
            known = self.read()
            after = change(known)
            if after != known:
                replace_file(self.path, json.dumps(after, indent=1, sort_keys=True).encode(), is_secret=True)

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
            f"{self.path}: the {self.what} are not known: {reason}",
            hint="check the disk and the permissions, or put its newest copy back",
        )
