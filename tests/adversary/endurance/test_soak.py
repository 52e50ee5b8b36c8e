"""A hundred sites, a liar and a sleeper among them, over a network that loses, doubles and reorders a tenth.

One round for each lie, of a small cohort, in `make test`; 1,400 of a hundred sites in `make soak`.
"""

from __future__ import annotations

import gc
import resource
from collections import Counter
from collections.abc import Callable

import pytest

from privacy.secagg import states
from privacy.secagg.client import ClientMachine
from privacy.secagg.server import ServerMachine
from tests.adversary.endurance.cached import remembered
from tests.adversary.endurance.liar import PROVEN, REFUSED, SUSPECTED, VOIDING, Lie
from tests.adversary.endurance.played import Played
from tests.privacy.secagg.rounds import site
from tests.scale import SCALE, scaled

SITES = 100 if SCALE >= 10 else 20
ROUNDS = scaled(len(Lie))
BLOCK = 2 * len(Lie)
SECRET = (ClientMachine, ServerMachine, *states.State.__args__)
GROWTH = 64 * 1024  # KiB that a process may grow by after the first rounds


def check(played: Played) -> None:
    """No wrong sum, nobody framed, and a round that was lost was lost for a reason that is known."""
    round_, liar = played.round, site(played.liar)
    if played.void is None:
        survivors = [round_.parameters.slots[name] for name in round_.server.survivors]
        assert round_.result() == round_.sum_over(survivors), "a wrong sum"
        assert len(survivors) >= round_.parameters.required
    else:
        assert round_.server.result is None
        assert played.outcome != "void: unexplained"
        assert played.lie in VOIDING or played.outcome == "void: too few answers came"
    assert set(played.blame) <= {liar}, "an honest site is blamed"
    assert not played.proven or played.lie in PROVEN
    assert not played.blame or played.lie in PROVEN | SUSPECTED
    assert not played.accusers or played.lie in REFUSED


def remains() -> Counter[str]:
    """Machines, and what a site remembers of a round, that anything still refers to."""
    gc.collect()
    return Counter(type(each).__name__ for each in gc.get_objects() if issubclass(type(each), SECRET))


@pytest.mark.soak
@pytest.mark.parametrize("first", range(0, ROUNDS, BLOCK))
def test_rounds_with_a_liar_and_a_sleeper_sum_exactly_or_are_lost_for_a_known_reason(
    first: int, record_property: Callable[[str, object], None]
) -> None:
    """50, 35: no wrong sum, nobody framed, nothing private kept, and no more memory than for one round."""
    told: Counter[str] = Counter()
    gc.collect()
    gc.freeze()  # what other tests left is not looked through after each round
    before, lies = remains(), list(Lie)
    with remembered() as forget:
        for number in range(first, min(first + BLOCK, ROUNDS)):
            played = Played.of(f"round {number}", lies[number % len(lies)], SITES)
            played.play()
            check(played)
            told.update([played.outcome, *(["proven"] if played.proven else [])])
            told.update(played.counts)
            del played
            forget()
            assert remains() == before, "a round is over, and its secrets are not gone"
            if number <= first + 1:
                early = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < early + GROWTH
    assert told["proven"] >= min(BLOCK, ROUNDS - first) / 5, "lies that nobody notices test nothing"
    assert min(told["lost"], told["late"], told["doubled"]) > SITES
    record_property(f"rounds of {SITES} sites", f"{min(BLOCK, ROUNDS - first)}: {dict(sorted(told.items()))}")
