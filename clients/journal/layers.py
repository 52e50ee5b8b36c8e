"""The layers that a site keeps for itself from round to round, on disk: beside its ledger, for its owner only.

A folder beside the journal, JOURNAL.layers, holds for a run at most two files:

    RUN.safetensors         after the last round whose release the ledger holds
    RUN.next.safetensors    after a round whose release is perhaps not on record yet

The second becomes the first when the ledger holds the very bytes that the same training gave, and not before. So a
site that is killed at any moment trains from the layers before the round, as if the lost training had never been.
It matters where the noise is in the steps: layers of one training beside a release of another would be two releases
for one charge. A file is replaced as a whole, so there is never half of one. It names its run: no other reads it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from clients.journal.journal import Journal
from federation.errors import UnusableFile
from federation.files import replace_file, sync_folder
from privacy.errors import LedgerRefusal, RecordsUnavailable

_FORMAT: Final = "federation.layers/1"
_NAME: Final = "own"
_ANEW: Final = "remove it: the site's own layers begin anew, and nothing of the run is lost"
_OWNED: Final = 0o700
_NOISED: Final = (
    "noised"  # in the place of a list, which a digest stands for: neither file is taken for the other
)


@dataclass(frozen=True)
class _Held:
    """What a file holds: the layers (k,) after a round, and for which list of people who withdrew."""

    values: Tensor
    round: int
    payload: str
    people: str


@dataclass(frozen=True)
class Layers:
    """The layers of one run at one site. `run` is the ledger's name for it.

    `noised`: its steps are, and charged. If not, `people` stands for the list of those who withdrew: layers made
    under another list hold records of them, and are not taken up again. "" where there is no list. Noised layers
    stay what they are, like a released model: whether they began anew would itself tell who withdrew.
    """

    folder: Path
    run: str
    noised: bool
    people: str = ""

    def before(self, number: int, begun: Tensor, journal: Journal) -> Tensor:
        """What round `number` trains from (k,): what an earlier round left, or `begun`.

        UnusableFile for a file that is damaged, or of another model.
        """
        self._settle_what_was_released(journal)
        found = _read(self._kept)
        if found is None or found.round >= number or found.people != self._people:
            return begun.clone()
        if found.values.shape != begun.shape:
            raise UnusableFile("holds layers of another model", hint=_ANEW, path=self._kept)
        return found.values

    def write(self, number: int, values: Tensor, payload: bytes) -> None:
        """Put what a round's training left on disk, beside what was there: before its release is on record.

        RecordsUnavailable if it cannot be written: nothing is released then.
        """
        told = {
            "format": _FORMAT,
            "run": self.run,
            "round": str(number),
            "payload": _digest(payload),
            "people": self._people,
            "noised": str(self.noised).lower(),
        }
        with _written(self._next):
            self.folder.mkdir(mode=_OWNED, parents=True, exist_ok=True)
            replace_file(self._next, save({_NAME: values.contiguous()}, told), is_secret=True)

    def settle(self, payload: bytes) -> None:
        """The ledger holds this release: what its own training left is what the next round trains from."""
        found = _read(self._next)
        if found is None:
            return
        if found.payload == _digest(payload):
            with _written(self._kept):
                self._next.replace(self._kept)
                sync_folder(self.folder)

    def ended(self) -> Tensor | None:
        """What the last release left (k,), for a model of the site's own; None if there is nothing."""
        found = _read(self._kept)
        return None if found is None or found.people != self._people else found.values

    def _settle_what_was_released(self, journal: Journal) -> None:
        """A process that was killed after its release was on record left this to be done."""
        found = _read(self._next)
        if found is None:
            return
        with suppress(LedgerRefusal):  # the bytes are gone: later rounds began, and settled what was theirs
            if (payload := journal.kept(self.run, found.round)) is not None:
                self.settle(payload)

    @property
    def _people(self) -> str:
        return _NOISED if self.noised else self.people

    @property
    def _kept(self) -> Path:
        return self.folder / f"{self.run}.safetensors"

    @property
    def _next(self) -> Path:
        return self.folder / f"{self.run}.next.safetensors"


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        hint = "make room, or look at its permissions; the round can be played again"
        raise RecordsUnavailable(f"{path} cannot be written ({reason})", hint=hint) from None


def layers_folder(journal: Path) -> Path:
    """Where the layers of the site of a journal are: beside it, whatever links lead there."""
    place = journal.resolve()
    return place.with_name(f"{place.name}.layers")


def forget_layers(folder: Path) -> int:
    """Remove all layers of a site that hold records without noise; how many files that were. Others stay.

    Also what a process that was killed left half written beside them.
    """
    gone = [path for path in sorted(folder.glob("*.safetensors*")) if not _is_noised(path)]
    for path in gone:
        path.unlink(missing_ok=True)
    if gone:
        sync_folder(folder)
    return len(gone)


def _is_noised(path: Path) -> bool:
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("noised") == "true"
    except (OSError, SafetensorError):
        return False


def _digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()


def _read(path: Path) -> _Held | None:
    """What a file holds; None if there is none. UnusableFile for anything but what `Layers.write` wrote."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            values, told = file.get_tensor(_NAME), file.metadata() or {}
        run = path.name.removesuffix(".safetensors").removesuffix(".next")
        if (told.get("format"), told.get("run")) != (_FORMAT, run):
            raise ValueError
        found = _Held(values, int(told["round"]), told["payload"], told["people"])
    except (OSError, ValueError, KeyError, SafetensorError):
        raise UnusableFile("cannot be read as a site's own layers", hint=_ANEW, path=path) from None
    if values.dim() != 1 or not bool(values.isfinite().all()):
        raise UnusableFile("holds what is no number", hint=_ANEW, path=path)
    return found
