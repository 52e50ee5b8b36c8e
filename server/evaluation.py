"""The round after the last, once it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from federation.kinds.allowed import Unlikely
from federation.round.parts import Sum
from federation.sums.figures import published
from federation.sums.judging import judge
from privacy.ledger.heads import Head
from privacy.mechanism.noise import Stream


@dataclass(frozen=True)
class Evaluated:
    """The round after the last: its figures, the sites in them, and the ledger heads that these showed.

    `unlikely`: what is odd about the sums, where the plan has that reported. `transcript`: the digest of the file
    that shows the sums, in hex; None where none is kept.
    `excess_left`: the sites whose excess noise stayed in, though the sum does not need it.
    """

    figures: Mapping[str, Any]
    cohort: tuple[str, ...]
    survivors: tuple[str, ...]
    heads: Mapping[str, Head] = field(default_factory=dict)
    unlikely: Unlikely | None = None
    transcript: str | None = None
    excess_left: tuple[str, ...] = ()


def evaluated(
    opened: Sum,
    stream: Stream,
    heads: Mapping[str, Head] = MappingProxyType({}),
) -> Evaluated:
    """What an evaluation round publishes. SumRefused: nothing."""
    terms, survivors = opened.terms, tuple(opened.survivors)
    released = terms.kind.released(terms.parties, opened.total, stream)
    found = judge(terms, (released,), survivors)
    figures = published(terms, released, len(survivors), len(opened.reduced))
    return Evaluated(figures, terms.names, survivors, heads, found, excess_left=opened.left)
