"""How long the messages of a round are, and which models are too large for them."""

from __future__ import annotations

from federation.errors import TaskError
from federation.round.messages import FRAME_ROOM, PEER_ROOM
from federation.round.transport import LARGEST

PARAM_BITS = 32  # a float32


def longest_request(params: int, sites: int) -> int:
    """Bytes of the longest request of a round, with so many params, and sites on the roster."""
    return FRAME_ROOM + PEER_ROOM * sites + params * PARAM_BITS // 8


def require_carried(params: int, ring_bits: int, sites: int) -> None:
    """TaskError for a model with more params than a message can carry: down as float32, or up in so many bits."""
    around, bits = longest_request(0, sites), max(PARAM_BITS, ring_bits)
    longest, most = around + -(-params * bits // 8), (LARGEST - around) * 8 // bits
    if params > most:
        raise TaskError(
            f"the model trains {params} params, a message of {longest} bytes; Flower carries {LARGEST} at most",
            hint=f"train no more than {most}: freeze a base and train an adapter",
        )
