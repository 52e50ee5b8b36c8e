"""A coordinator that is stopped, killed or left by its terminal goes on by the same command, nothing paid twice."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.scale import SCALE
from tests.stories.real.consortium import SITES, Consortium
from tests.stories.real.party import Nursery
from tests.stories.real.test_lost import STORES, check_ledger
from tests.stories.real.test_undisturbed import check_run

SIGNALS = {signal.SIGINT: 130, signal.SIGKILL: -9}
if SCALE > 1:
    SIGNALS |= {signal.SIGHUP: 129, signal.SIGTERM: 143}


@pytest.mark.soak
@pytest.mark.waits
def test_the_same_command_goes_on_in_the_round_that_it_was_in(nursery: Nursery, tmp_path: Path) -> None:
    """Stopped in each of the first rounds, by another signal each, when it has a sum and not what follows."""
    with Consortium(
        tmp_path / "c", nursery, noise="distributed", rounds=len(SIGNALS) + 1, deadline_seconds=600
    ) as consortium:
        sites = consortium.join_all()
        for done, (number, status) in enumerate(SIGNALS.items()):
            call = 2 if done else 1  # the round before is made up for first
            serve = consortium.serve(halt=(STORES, (call,)))
            serve.halts(call)
            assert len(consortium.receipts()) == done
            serve.signal(number)
            assert serve.ends() == status, serve.told()
            if number != signal.SIGKILL:
                assert "federation serve" in serve.err, "it says how to go on"
        serve = consortium.serve()
        assert serve.ends() == 0, serve.told()
        for name, site in sites.items():
            site.signal(
                signal.SIGINT if name == "ash" else signal.SIGHUP if name == "birch" else signal.SIGTERM
            )
        ends = [sites[name].ends() for name in SITES]
        assert ends == [0, 129, 0, 0], "a service that is told to stop ends well"
        check_run(consortium)
        for name in SITES:
            check_ledger(consortium, name, consortium.receipts())
