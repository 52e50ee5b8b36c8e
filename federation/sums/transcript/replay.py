"""From an opened sum to the params: the step that the coordinator took, taken again from a transcript.

It is the coordinator's own code (`federation.sums.state`), on purpose. What a round released is settled by its sum,
and what follows has one right answer, bit for bit. A second way of writing the same arithmetic would differ in the
last place of a float and prove nothing more. An auditor trusts neither the file nor the params that it was told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor

from federation.kinds.allowed import Unlikely
from federation.model.params import params_bytes, params_from_bytes
from federation.plan.plan import Plan
from federation.round.parts import by_site, without_excess
from federation.round.sent import model_of, sent_length
from federation.round.terms import Terms
from federation.sums.figures import published
from federation.sums.judging import judge
from federation.sums.state import ServerState, advance, begin
from federation.sums.transcript.record import Transcript
from privacy.errors import MalformedMessage
from privacy.mechanism.encoding import RingVector
from privacy.mechanism.noise import Stream
from privacy.secagg.ring import pack, packed_size, to_lanes, unpack

Excess: TypeAlias = Mapping[int, tuple[int, bytes]]  # level and secret of what was opened of it, by slot


def started(terms: Terms, params: bytes) -> ServerState:
    """The state before the first round with a sum, of its terms. MalformedMessage if these are no params of it."""
    sent = params_from_bytes(params, sent_length(terms))
    state = begin(terms.plan, terms.run, model_of(terms, sent))
    if params_bytes(state.sent) != params:
        raise MalformedMessage("a transcript begins with another clipping norm than the plan")
    return replace(state, round=terms.round - 1)


def follow(
    plan: Plan,
    state: ServerState,
    terms: Terms,
    total: RingVector,
    survivors: Sequence[str],
    excess: Excess,
) -> tuple[ServerState, Unlikely | None]:
    """The state after a round with this sum, and what is odd about it. SumRefused if the plan refuses it.

    `excess`: what of its noise was opened, because the sum does not need it. ValueError under central noise, which
    no transcript holds.
    """
    opened = without_excess(terms, total, survivors, by_site(terms, excess))
    return advance(plan, state, [opened], _no_stream(plan))


def done(plan: Plan, state: ServerState, path: Path, survivors: Sequence[str]) -> ServerState:
    """The state after a round, from a transcript that is one's own: nothing of it is verified."""
    with Transcript.open(path) as transcript:
        terms = transcript.heading.terms(plan)
        opened = transcript.opened(terms)
        bits, size = terms.parameters.ring_bits, packed_size(terms.length, terms.parameters.ring_bits)
        total = from_packed(transcript.own_total(size), terms.length, bits)
    return follow(plan, state, terms, total, survivors, opened.excess)[0]


def figures(
    terms: Terms, total: RingVector, survivors: Sequence[str], excess: Excess
) -> tuple[dict[str, Any], Unlikely | None]:
    """What an evaluation with this sum publishes, and what is odd about it. SumRefused if the plan refuses it."""
    released, reduced = _released(terms, total, survivors, excess)
    return published(terms, released, len(survivors), reduced), judge(terms, (released,), survivors)


def oddity(terms: Terms, total: RingVector, survivors: Sequence[str], excess: Excess) -> Unlikely | None:
    """What is odd about a sum. SumRefused if the plan refuses it."""
    return judge(terms, (_released(terms, total, survivors, excess)[0],), survivors)


def _released(
    terms: Terms, total: RingVector, survivors: Sequence[str], excess: Excess
) -> tuple[Tensor, int]:
    """What a sum releases, and from how many sites' shares excess noise was taken out."""
    opened = without_excess(terms, total, survivors, by_site(terms, excess))
    return terms.kind.released(terms.parties, opened.total, _no_stream(terms.plan)), len(opened.reduced)


def to_packed(total: RingVector, bits: int) -> bytes:
    """A sum as a transcript holds it."""
    return pack(to_lanes(total, bits), bits)


def from_packed(data: bytes, length: int, bits: int) -> RingVector:
    """A sum that a transcript holds. MalformedMessage if it is none of this length."""
    if len(data) != packed_size(length, bits):
        raise MalformedMessage("a transcript holds no sum of this length")
    return unpack(data, length, bits)


def _no_stream(plan: Plan) -> Stream:
    """A stream that nothing is drawn from: all noise is in the sum already."""
    if plan.privacy.noise == "central":
        raise ValueError("the server's noise is in no transcript")
    return Stream(bytes(32))
