"""Copies what the server's database holds while a run is going on, as somebody who owns that machine could."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from tests.stories.real.wire import database

PAUSE: Final = 0.1
PIECE: Final = 4096  # a page of SQLite


class Watch:
    """All pieces that were ever seen in the databases below a folder, as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._pieces = folder, dict[bytes, None]()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    @property
    def seen(self) -> bytes:
        """One piece after the other, each once."""
        return b"".join(self._pieces)

    def _watch(self) -> None:
        while not self._ended.wait(PAUSE):
            self._look()

    def _look(self) -> None:
        with suppress(OSError):
            data = database(self._folder)
            for place in range(0, len(data), PIECE):
                self._pieces.setdefault(data[place : place + PIECE])
