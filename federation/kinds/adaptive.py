"""The kind whose clipping norm follows the sites' updates: one bit of each travels in the vector that is noised.

Andrew, Thakkar, McMahan and Ramaswamy 2021, "Differentially private learning with adaptive clipping". With C the
norm of the round, x what training changed and b = 1 where |x| <= C, else 0, a site sends, in units of C,

    v = (a clip(x, C) / C, h (2 b - 1)),    a^2 + h^2 = 1,    h = z / (2 s n)

so |v| <= 1 whatever the data are, and whatever C is: the noise of z on v is all that the plan is charged for. By
their formula the same follows from two releases, of the update with noise multiplier z_x and of the centered bit
with deviation s n on a sum of n sites: z^-2 = z_x^-2 + (2 s n)^-2, where z_x = z / a. Where the bit would need all
of the noise, h >= 1, there is nothing left for the update.

The guarantee does not depend on C. It is what x is divided by before the noise, and what the sum is multiplied by
after it. A server that sends another norm than follows from the sums learns no more of a site; it spoils the model.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from federation.kinds.base import Parties, Rows, Work, Works, once
from federation.kinds.sums import ClippedUpdate
from privacy.errors import UnsafeParameters
from privacy.mechanism.gaussian import GaussianMechanism

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class AdaptiveUpdate(ClippedUpdate):
    """A clipped update and a bit, together no longer than `privacy.clipping_norm`, where the norm begins.

    The scale of what is sent is that of the first norm in every round, so grid, ring and noise are the same in all.
    """

    @property
    def noise_multiplier(self) -> float:
        """As ever: of the whole vector. UnsafeParameters where the bit takes all of it in the smallest sum."""
        multiplier = super().noise_multiplier
        smallest = self.rules.cohort.minimum // (self.rules.secure_aggregation.groups or 1)
        self._share(multiplier, smallest)
        return multiplier

    def length(self, parties: Parties) -> int:
        """The params and the bit."""
        return parties.dimension + 1

    @once
    def mechanism(self, parties: Parties) -> GaussianMechanism:
        """One bound on one vector: `privacy.clipping_norm`."""
        shares, first = self._shares(parties), self.bound(parties)
        return GaussianMechanism(first, self.noise_multiplier, self.sample_rate, shares, self.length(parties))

    @once
    def shares(self, parties: Parties) -> tuple[float, float]:
        """The longest that an update and a bit are, as shares of the whole vector: squares add up to 1."""
        bit = self._share(super().noise_multiplier, len(parties.sizes))
        return math.sqrt(1 - bit * bit), bit

    def update_noise(self, sites: int) -> float:
        """The noise multiplier of the update alone, in a sum of so many sites: z_x."""
        multiplier = super().noise_multiplier
        return multiplier / math.sqrt(1 - self._share(multiplier, sites) ** 2)

    def _share(self, multiplier: float, sites: int) -> float:
        noise = self.rules.privacy.clipping_noise
        if noise is None:
            raise UnsafeParameters("a plan whose clipping norm stays has no bit")
        share = multiplier / (2 * noise * sites)
        if share >= 1:
            least, place = multiplier / (2 * sites), self.rules.place("privacy", "clipping_noise")
            raise UnsafeParameters(
                f"{place}: a bit of each of {sites} sites takes all of the noise",
                hint=f"set it well above {least:.2g}, raise cohort.minimum, or leave clipping_quantile out",
            )
        return share

    def clipped(self, parties: Parties, site: str, work: Work) -> Tensor:
        """An update over the norm of the round, with its bit, times the site's weight."""
        return self._with_bits(parties, (site,), work.update()[None], work.clipping_norm)[0]

    def clipped_rows(self, parties: Parties, sites: Sequence[str], works: Works) -> Rows:
        """The same of many."""
        norm = works.clipping_norm
        return (
            (places, self._with_bits(parties, sites[places], rows, norm)) for places, rows in works.updates()
        )

    def _with_bits(self, parties: Parties, sites: Sequence[str], rows: Tensor, norm: float) -> Tensor:
        """Rows (k, d) to (k, d + 1). A row that is not finite is zeros, as everywhere, and is not within."""
        import torch

        from privacy.mechanism.clipping import clip_rows, row_lengths

        (update, bit), first = self.shares(parties), self.bound(parties)
        within = row_lengths(rows.to(torch.float64)) <= norm
        bits = bit * (2 * within.to(torch.float64) - 1)[:, None]
        whole = torch.cat([clip_rows(rows.to(torch.float64), norm) * (update / norm), bits], dim=1)
        return first * whole * self.weights(parties, sites)

    def mean(self, parties: Parties, released: Tensor, survivors: Collection[str]) -> Tensor:
        """The mean update in units of the norm of the round (d,), and the share of sites that are within it."""
        (update, bit), first = self.shares(parties), self.bound(parties)
        mean = super().mean(parties, released, survivors) / first
        mean[:-1] /= update
        mean[-1] = mean[-1] / (2 * bit) + 0.5
        return mean

    def noise_variance(self, parties: Parties, survivors: Collection[str], reduced: int = 0) -> float:
        """Of a coordinate of the update, in the same units."""
        scale = self.shares(parties)[0] * self.bound(parties)
        return super().noise_variance(parties, survivors, reduced) / (scale * scale)
