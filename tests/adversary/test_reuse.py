"""Every mask key serves once: a registry of all of them over many rounds, attempts and replays."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from privacy.secagg import client
from privacy.secagg.masks import Mask, pair_mask, self_mask
from privacy.secagg.server import Phase
from tests.privacy.secagg.rounds import Round, entropy

ROUNDS = 150


def test_no_mask_key_is_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """36: in each round one self key a site, one pair key a pair at both its ends, and none ever seen before."""
    used: Counter[bytes] = Counter()

    def spy(make: Any) -> Any:
        def made(*arguments: Any) -> Mask:
            mask: Mask = make(*arguments)
            used[mask.key] += 1
            return mask

        return made

    monkeypatch.setattr(client, "pair_mask", spy(pair_mask))
    monkeypatch.setattr(client, "self_mask", spy(self_mask))
    for number in range(ROUNDS):
        round_ = Round(3, session=number.to_bytes(32, "big"))
        round_.until(Phase.MASK)
        for slot in range(3):
            assert round_.answer(slot) == round_.answer(slot)
        round_.until(Phase.DONE)
    assert Counter(used.values()) == {1: 3 * ROUNDS, 2: 3 * ROUNDS}


def test_even_with_the_same_secrets_another_session_or_context_gives_other_masks() -> None:
    """36: a site whose randomness repeats, after a restored backup say, still masks with fresh keys."""
    replies = set()
    for session, context in [(b"1", b"1"), (b"2", b"1"), (b"1", b"2")]:
        round_ = Round(3, session=session.ljust(32), contexts=dict.fromkeys(range(3), context.ljust(32)))
        round_.server = type(round_.server)(round_.roster, round_.parameters, session.ljust(32))
        round_.server.bind(context.ljust(32))
        for client_ in round_.clients:
            client_._entropy = entropy("the same for all rounds" + repr(client_))
        replies.add(round_.until(Phase.MASK).answer(0)[66:])
    assert len(replies) == 3
