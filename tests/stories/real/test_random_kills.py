"""Any process of a federation may die at any instant, again and again: the run ends, and counts right."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from privacy.mechanism.noise import Stream
from tests.scale import SCALE, scaled
from tests.stories.real.consortium import SITES, Consortium
from tests.stories.real.party import Nursery, Party
from tests.stories.real.replayed import replayed
from tests.stories.real.test_lost import check_ledger, superlink

ROUNDS = 12
PAUSE = 8.0  # seconds between two kills, at most
FAILED = 4  # the coordinator's status where too few were there: the same command goes on


@pytest.mark.soak
@pytest.mark.waits
@pytest.mark.skipif(SCALE < 2, reason="minutes of kills: make soak")
def test_any_process_may_die_at_any_instant(nursery: Nursery, tmp_path: Path) -> None:
    """Victims and instants are drawn anew each time: none may matter."""
    lots, kills = Stream(os.urandom(32)), scaled(1)
    with Consortium(tmp_path / "c", nursery, noise="none", rounds=ROUNDS, deadline_seconds=60) as consortium:
        running = {**consortium.join_all(), "serve": consortium.serve()}
        while running["serve"].exit != 0:
            which, instant = (int(lot) for lot in lots.words(2))
            wait(running["serve"], PAUSE * instant / 2**64 if kills > 0 else None)
            if running["serve"].exit in (None, 0) and kills > 0:
                kill(running, [*SITES, "serve", "superlink"][which % (len(SITES) + 2)])
                kills -= 1
            for name, party in list(running.items()):
                if party.exit is not None and party.exit != 0:
                    assert party.exit in (-signal.SIGKILL, FAILED), party.told()
                    running[name] = consortium.serve() if name == "serve" else consortium.join(name)
        consortium.stop()
        receipts = consortium.receipts()
        assert torch.equal(consortium.params(), replayed(consortium, receipts))
        for name in SITES:
            check_ledger(consortium, name, receipts)
        outcome = consortium.audited()
        assert outcome.verdict == "pass", outcome.findings


def wait(serve: Party, seconds: float | None) -> None:
    """So many seconds, or until the coordinator ends; for that alone if None."""
    if seconds is None:
        serve.ends()
        return
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and serve.exit is None:
        time.sleep(0.02)


def kill(running: dict[str, Party], victim: str) -> None:
    """SIGKILL to one process, if it is there."""
    if victim == "superlink":
        if process := superlink(running["serve"]):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    elif running[victim].exit is None:
        running[victim].kill()
