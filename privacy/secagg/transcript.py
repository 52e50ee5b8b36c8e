"""The transcript: a running hash on which all sites must agree, of session, adverts, params and sharers.

All keys of a round are derived with a link of this chain, so two sites that were shown a different plan, roster,
cohort, set of public keys, params or set of sharers hold different keys: shares do not open, masks do not
cancel. A server that sends params of its own making to one site gets noise or an abort, at no cost in messages
(the attack: Pasquini, Francati, Ateniese, "Eluding Secure Aggregation", CCS 2022). Params enter last, so that a
round's keys can be exchanged before its params exist. See docs/protocol.md, section 4.
"""

from __future__ import annotations

from collections.abc import Iterable

from privacy.secagg.keys import slots_bytes
from privacy.secagg.messages import Adverts
from privacy.secagg.parameters import Parameters
from privacy.suite import label
from privacy.wire import digest

_CONTEXT_BYTES = 32


def bind_session(session: bytes, roster_root: bytes, parameters: Parameters) -> bytes:
    """The first link: the caller's 32-byte session (run, round, attempt, plan), roster and parameters."""
    if len(session) != _CONTEXT_BYTES:
        raise ValueError(f"a session has {_CONTEXT_BYTES} bytes")
    return digest(label("session"), session, roster_root, parameters.to_bytes())


def bind_adverts(session: bytes, adverts: Adverts) -> bytes:
    """The next link: everyone's public keys, commitments and signatures. 32 bytes."""
    return digest(label("adverts"), session, adverts.to_bytes())


def bind_masks(adverts: bytes, context: bytes, sharers: Iterable[int]) -> bytes:
    """The last link: the caller's 32-byte context (params, codec) and the slots of those who shared."""
    if len(context) != _CONTEXT_BYTES:
        raise ValueError(f"a context has {_CONTEXT_BYTES} bytes")
    return digest(label("masks"), adverts, context, slots_bytes(sharers))
