"""The running hash everyone must agree on: context, then roster, then sharers.

All keys of a round are derived with a link of this chain, so two sites that were shown a different plan,
cohort, set of public keys or set of sharers hold different keys: shares do not open, masks do not cancel. A
server that sends params of its own making to one site gets noise or an abort, at no cost in messages (the
attack: Pasquini, Francati, Ateniese, "Eluding Secure Aggregation", CCS 2022). See docs/protocol.md, section 4.
"""

from __future__ import annotations

from collections.abc import Iterable

from privacy.secagg.messages import Adverts
from privacy.secagg.parameters import Parameters
from privacy.wire import Writer, digest

CONTEXT_BYTES = 32


def bind_parameters(context: bytes, parameters: Parameters) -> bytes:
    """The caller's 32-byte context (run, round, plan, params) with the protocol's parameters. 32 bytes."""
    if len(context) != CONTEXT_BYTES:
        raise ValueError(f"a context has {CONTEXT_BYTES} bytes")
    return digest("secagg/1/context", context, parameters.to_bytes())


def bind_roster(context: bytes, adverts: Adverts) -> bytes:
    """The next link: everyone's public keys and commitments. 32 bytes."""
    return digest("secagg/1/roster", context, adverts.to_bytes())


def bind_sharers(roster: bytes, sharers: Iterable[int]) -> bytes:
    """The last link before masking: the slots of those who shared their secrets. 32 bytes."""
    writer = Writer()
    for slot in sorted(sharers):
        writer.u16(slot)
    return digest("secagg/1/sharers", roster, writer.finish())
