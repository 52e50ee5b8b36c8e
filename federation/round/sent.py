"""What the sites of a round are sent: the params, and behind them the norm to clip to, where a plan has it move.

The norm begins at `privacy.clipping_norm`. After each sum it is multiplied by exp(-rate (share - quantile)), where
`share` is the noised share of sites that were within it (Andrew et al. 2021, equation 5): too many within, and it
falls. It is a float32, as the params are, so that every party has the same one.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from federation.config.tables import Privacy
from federation.round.terms import Terms
from privacy.errors import FaultyServer

if TYPE_CHECKING:
    from torch import Tensor

_ROUNDING = 1e-6  # relative, in a round: what float32 may change of a norm


def first_norm(privacy: Privacy) -> float | None:
    """The norm of round 1; None where it stays what the plan says."""
    return _bounded(privacy, privacy.clipping_norm or 0.0) if privacy.adapts else None


def next_norm(privacy: Privacy, norm: float, share: float) -> float:
    """The norm after a sum in which this share of sites was within `norm`; noise may take it beyond 0 and 1.

    >>> plan = Privacy(unit="client", noise="site", epsilon=1, delta=1e-5, clipping_norm=1, clipping_quantile=0.5,
    ...                clipping_bounds=(0.1, 10), clipping_rate=0.2, clipping_noise=0.05)
    >>> round(next_norm(plan, 1.0, 1.0), 4), round(next_norm(plan, 1.0, 0.0), 4), next_norm(plan, 10.0, -3.0)
    (0.9048, 1.1052, 10.0)
    """
    rate, quantile = privacy.clipping_rate or 0.0, privacy.clipping_quantile or 0.0
    return _bounded(privacy, norm * math.exp(-rate * (min(1.0, max(0.0, share)) - quantile)))


def joined(params: Tensor, norm: float | None) -> Tensor:
    """What is sent, float32 (d,) or (d + 1,)."""
    import torch

    return params if norm is None else torch.cat([params, torch.tensor([norm], dtype=params.dtype)])


def sent_length(terms: Terms) -> int:
    """How many numbers the sites of a round are sent."""
    return terms.dimension + (terms.plan.privacy.adapts and not terms.is_evaluation)


def model_of(terms: Terms, sent: Tensor) -> Tensor:
    """The params of what was sent."""
    return sent[: terms.dimension]


def norm_of(terms: Terms, sent: Tensor) -> float:
    """The norm that a round clips to, whoever chose it."""
    if sent_length(terms) == terms.dimension:
        return terms.plan.privacy.clipping_norm or 0.0
    return float(sent[-1])


def require_reachable(terms: Terms, sent: Tensor) -> None:
    """FaultyServer for a norm that no sums of the rounds before can have led to.

    A site does not see the sums, so it cannot know the one norm that follows from them; an audit can. It does know
    where the norm began, how far a round moves it at most, and its bounds.
    """
    privacy = terms.plan.privacy
    if not privacy.adapts or terms.is_evaluation:
        return
    first, norm, steps = first_norm(privacy) or 0.0, norm_of(terms, sent), terms.round - 1
    rate, quantile, slack = privacy.clipping_rate or 0.0, privacy.clipping_quantile or 0.0, _ROUNDING * steps
    lowest, highest = bounds_of(privacy)
    least = max(lowest, first * math.exp(-rate * (1 - quantile) * steps - slack))
    most = min(highest, first * math.exp(min(rate * quantile * steps + slack, 700.0)))
    if not least <= norm <= most:
        raise FaultyServer(f"round {terms.round} clips to a norm that does not follow from the plan's")


def bounds_of(privacy: Privacy) -> tuple[float, float]:
    """The lowest and the highest norm, as float32."""
    lowest, highest = privacy.clipping_bounds or (0.0, math.inf)
    return _float32(lowest), _float32(highest)


def _bounded(privacy: Privacy, norm: float) -> float:
    lowest, highest = bounds_of(privacy)
    return min(highest, max(lowest, _float32(norm)))


def _float32(value: float) -> float:
    found: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return found
