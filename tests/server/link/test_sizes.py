"""The gate's limit is above whatever an honest site sends, and not far above it."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.model.params import initial_params
from federation.model.task import build_task
from federation.plan.plan import load
from federation.round.messages import FRAME_ROOM, PEER_ROOM, Member
from federation.round.terms import Terms
from privacy.secagg.ring import packed_size
from server.link.gate import seconds_for
from server.link.sizes import largest_reply
from server.link.superlink import push_seconds
from tests.worlds import text_of


@pytest.mark.parametrize("sites", [3, 4, 20, 100])
def test_no_honest_reply_is_longer_and_none_much_longer_is_taken(sites: int, tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text_of())
    plan = load(path)
    dimension = initial_params(build_task(plan).model, 1).numel()
    members = tuple(Member(f"{number:03}", 30) for number in range(sites))
    rules = Terms(plan, b"run", 1, 0, members, dimension).parameters
    around = FRAME_ROOM + PEER_ROOM * sites
    limit = largest_reply(plan, sites)
    assert (
        around + packed_size(rules.length, rules.ring_bits) <= limit <= around + 8 * rules.length + PEER_ROOM
    )


@pytest.mark.parametrize("bits", range(1, 63))
def test_eight_bytes_hold_an_element_of_every_ring(bits: int) -> None:
    for length in (1, 63, 64, 65, 1000, 99_999):
        assert packed_size(length, bits) <= 8 * (length + 64)


def test_flower_waits_as_long_as_the_gate_for_a_long_reply_and_no_longer_for_a_short_one() -> None:
    from flwr.supercore.corestate import in_memory_corestate

    assert in_memory_corestate.__dict__["OBJECT_PUSH_SESSION_TTL_SECONDS"] == 180  # read as a push begins
    assert push_seconds(1 << 20) == 180
    assert push_seconds(1 << 28) >= seconds_for(1 << 28) > (1 << 28) / (1 << 17) / 8
