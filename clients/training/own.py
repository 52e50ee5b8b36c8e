"""A site's own layers in one round: what they were before it, and what its training made of them.

They go into no message. What may come of them in later rounds is in docs/decisions/0065.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Own:
    """The layers that never travel (k,), float32; `after` the round's training, once that is done."""

    before: Tensor = field(repr=False)
    after: Tensor | None = field(default=None, repr=False)

    def move(self, change: Tensor) -> None:
        """Take over what training changed (k,), unless that is no number: then they stay as they were."""
        moved = (self.before.to(torch.float64) + change).to(self.before.dtype)
        self.after = moved if bool(moved.isfinite().all()) else self.before
