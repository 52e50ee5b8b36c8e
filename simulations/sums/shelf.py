"""The layers that simulated sites keep for themselves, of all sites that one process plays.

As at a real site (`clients.journal.layers`), what a round trains from is what an earlier round left, so a round
that is played again begins where it did before. A run that goes on in another process finds them by the round that
it goes on from: the files are beside its checkpoint, and gone with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from clients.training.own import Own
from federation.errors import CheckpointError
from federation.files import kept, replace_file

SHELVES: Final = "layers"
"""The folder beside a checkpoint."""
_ROUNDS: Final = 2  # of which there is a file: the last one may not be on record yet


@dataclass
class Shelf:
    """`begun` makes a site's layers before its first round; `folder` is where they are kept, if anywhere."""

    begun: Callable[[], Tensor]
    folder: Path | None = None
    _left: dict[str, dict[int, Own]] = field(default_factory=dict, init=False, repr=False)

    def own(self, site: str, number: int) -> Own:
        """The layers of a site in a round: what the last round before it left, or as they begin."""
        known = self._left.setdefault(site, {})
        before = max((one for one in known if one < number), default=None)
        found = self.begun() if before is None else _after(known[before])
        for other in [one for one in known if one != before]:
            del known[other]
        known[number] = Own(found)
        return known[number]

    def ended(self) -> Mapping[str, Tensor]:
        """What the last round of each site left."""
        return {site: _after(known[max(known)]) for site, known in self._left.items() if known}

    def write(self, number: int) -> None:
        """Put what all sites have after a round on disk, before the round is on record."""
        if self.folder is None:
            return
        with kept(self.folder):
            path = self.folder / f"{number}.safetensors"
            replace_file(
                path, save({site: one.contiguous() for site, one in self.ended().items()}), is_secret=True
            )
            for other in self.folder.glob("*.safetensors"):
                if int(other.stem) <= number - _ROUNDS:
                    other.unlink()

    def go_on(self, number: int) -> None:
        """Take up what sites had after round `number`, in a process that goes on from there."""
        if self.folder is None or number == 0:
            return
        path = self.folder / f"{number}.safetensors"
        try:
            self._left = {site: {number: Own(one, one)} for site, one in load_file(path).items()}
        except (OSError, ValueError, SafetensorError):
            hint = "start again in another folder"
            raise CheckpointError(
                f"{path} cannot be read: the layers that sites kept are gone", hint=hint
            ) from None


def _after(own: Own) -> Tensor:
    return own.before if own.after is None else own.after
