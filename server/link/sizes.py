"""The longest reply that an honest site can send in a run."""

from __future__ import annotations

from federation.plan.plan import Plan
from federation.round.messages import FRAME_ROOM, PEER_ROOM
from federation.round.sizes import PARAM_BITS, require_carried
from federation.round.transport import LARGEST

_ELEMENT, _PERIOD = 8, 64  # bytes of one element of the largest ring, and elements that are packed together


def largest_reply(plan: Plan, sites: int) -> int:
    """Bytes of it, whatever the cohort is, with so many sites on the roster.

    TaskError or CodeError if the plan's task cannot be built here, or trains more than a message can carry.
    """
    from federation.kinds.base import Parties
    from federation.model.params import Layout
    from federation.model.task import build_task

    parties = Parties({}, 0, Layout.of(build_task(plan).model()).dimension, ())
    require_carried(parties.dimension, PARAM_BITS, sites)
    kinds = [plan.kind] if plan.figures is None else [plan.kind, plan.figures]
    length = max(kind.length(parties) for kind in kinds)
    return min(FRAME_ROOM + PEER_ROOM * sites + _ELEMENT * (length + _PERIOD), LARGEST)
