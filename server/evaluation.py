"""The round after the last, once it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from privacy.ledger.heads import Head


@dataclass(frozen=True)
class Evaluated:
    """The round after the last: its figures, the sites in them, and the ledger heads that these showed.

    `transcript`: the digest of the file that holds its sum and what the sites signed of it, in hex; None without.
    `excess_left`: the sites whose excess noise stayed in, though the sum does not need it.
    """

    figures: Mapping[str, float | None]
    cohort: tuple[str, ...]
    survivors: tuple[str, ...]
    heads: Mapping[str, Head] = field(default_factory=dict)
    transcript: str | None = None
    excess_left: tuple[str, ...] = ()
