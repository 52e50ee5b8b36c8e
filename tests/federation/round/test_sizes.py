"""Which models a message can carry; the largest message goes through Flower's own."""

from __future__ import annotations

import pytest
from flwr.proto.message_pb2 import PullObjectResponse

from federation.errors import TaskError
from federation.round.messages import MAX_SITES, Broadcast, Frame, Kind, Paired
from federation.round.sizes import longest_request, require_carried
from federation.round.transport import LARGEST


@pytest.mark.parametrize(("bits", "most"), [(27, 536_588_288), (32, 536_588_288), (40, 429_270_630)])
def test_a_model_is_carried_up_to_the_limit_and_the_error_says_it(bits: int, most: int) -> None:
    require_carried(most, bits, 4)
    with pytest.raises(TaskError, match=f"trains {most + 1} params") as caught:
        require_carried(most + 1, bits, 4)
    assert str(most) in caught.value.hint
    assert longest_request(most, 4) <= LARGEST < longest_request(most + 1, 4) + (bits > 32) * LARGEST


def test_the_longest_request_has_room_for_the_params_of_a_frame() -> None:
    broadcast = Broadcast(bytes(4 * 1000), bytes(4000 * 3)).to_bytes()
    frame = Frame(Kind.BROADCAST, bytes(16), 1, 1, Paired(broadcast).to_bytes(), bytes(64))
    assert len(frame.to_bytes()) <= longest_request(1000, 3)


def test_flower_carries_what_is_below_the_limit_of_protobuf() -> None:
    """Protobuf holds less than 2^31 bytes in a message: there is room for what Flower puts around ours."""
    around = PullObjectResponse(object_found=True, object_available=True, object_content=b"").ByteSize()
    assert LARGEST + around + 2**16 < 2**31
    assert longest_request(0, MAX_SITES) < LARGEST
