"""A state folder that a call made in which nothing began is taken back: nobody looks for a run there."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from server.link.child import Place
from server.showing.snapshot import is_locked


@contextmanager
def taken_back(state: Path, place: Place, runs: Iterable[Path]) -> Iterator[None]:
    """If the body fails before a SuperLink was started, remove what was not there before: plans, `place`, folders.

    Nothing else is removed: a folder only where it is empty, and nothing while another coordinator is at work.
    """
    plans = [folder / "plan.toml" for folder in runs]
    folders = [*(plan.parent for plan in plans), state, *state.absolute().parents]
    fresh = {path for path in (place.folder, *plans, *folders) if not path.exists()}
    try:
        yield
    except BaseException:
        if not (place.log.exists() or is_locked(place.folder)):
            with suppress(OSError):
                for plan in fresh.intersection(plans):
                    plan.unlink(missing_ok=True)
                if place.folder in fresh and place.folder.exists():
                    shutil.rmtree(place.folder)
                for folder in folders:
                    if folder in fresh and folder.exists():
                        folder.rmdir()
        raise
