"""The kind of a published evaluation: noised sums over the held-out records of all sites.

Three of them, right answers, wrong answers and loss; where the plan says `evaluation.bins`, the cells of a
histogram (`federation.kinds.cells`); of what is no class, bounded sums (`federation.kinds.moments`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from federation.config.schema import Mistake
from federation.kinds.allowed import Span
from federation.kinds.base import Parties, Rows, Work, Works, once
from federation.kinds.cells import Summed, blocks_of
from federation.kinds.folds import evaluations, is_in_one, tests
from federation.kinds.sums import NoisedSum
from privacy.accounting.calibration import noise_multiplier
from privacy.errors import CalibrationFailed, UnsafeParameters
from privacy.mechanism.gaussian import GaussianMechanism

if TYPE_CHECKING:
    from torch import Tensor


# An evaluation publishes right answers, wrong answers, and the loss as a share of LOSS_BOUND.
FIGURES = 3
FIGURES_NORM = math.sqrt(2)  # of one record: it is either right or wrong, and its share of loss at most 1
LOSS_BOUND = 4.0  # nats; a larger loss counts as this one


@dataclass(frozen=True)
class Figures(NoisedSum):
    """A published evaluation, the round after the last: sums over the held-out records of all sites."""

    def check(self) -> None:
        """Refuse noise = "none", and unit = "client": it protects a record or a patient, never a whole site."""
        place = ("evaluation", "epsilon")
        if self.rules.privacy.noise == "none":
            raise Mistake('means nothing beside noise = "none"', "remove it", place)
        if self.rules.privacy.unit == "client":
            hint = 'remove it, or choose privacy.unit = "record" or "patient"'
            raise Mistake("cannot protect a site as a whole", hint, place)

    @property
    def releases(self) -> int:
        """One; with folds, in the evaluations that a unit is in."""
        return evaluations(self.rules)

    @property
    def whole(self) -> int:
        """How many there are, where the plan has folds and a unit that it protects is in one; else 0."""
        return tests(self.rules) if is_in_one(self.rules) else 0

    @property
    def sample_rate(self) -> float:
        """1: every held-out record counts."""
        return 1.0

    @property
    def noise_multiplier(self) -> float:
        """For `evaluation.epsilon`, at the plan's delta."""
        epsilon, delta = self.rules.evaluation.epsilon, self.rules.privacy.delta
        if epsilon is None or delta is None:
            raise UnsafeParameters("a plan without evaluation.epsilon publishes no evaluation")
        try:
            return noise_multiplier(epsilon, delta, 1.0, self.releases)
        except CalibrationFailed as error:
            place = self.rules.place("evaluation", "epsilon")
            raise CalibrationFailed(f"{place}: {error.message}", hint=error.hint) from None

    @property
    def blocks(self) -> Summed | None:
        """What is added up, where it is more than answers and loss."""
        return blocks_of(self.rules)

    @property
    def norm(self) -> float:
        """How far one record, or patient, moves all sums together: one bound on one vector."""
        blocks = self.blocks
        return FIGURES_NORM if blocks is None else blocks.norm

    def length(self, parties: Parties) -> int:
        """Three sums, or one for each number of the blocks."""
        blocks = self.blocks
        return FIGURES if blocks is None else blocks.length

    @once
    def mechanism(self, parties: Parties) -> GaussianMechanism:
        """One record moves the sums by at most `norm`."""
        shares = self._shares(parties)
        return GaussianMechanism(self.norm, self.noise_multiplier, 1.0, shares, self.length(parties))

    def bound(self, parties: Parties) -> float:
        """As if a site held out all of its records."""
        return self.norm * parties.largest

    def reach(self, parties: Parties, site: str) -> float:
        """As if this site held out all of its records."""
        return self.norm * parties.sizes[site]

    def span(self, parties: Parties, survivors: Collection[str]) -> Span:
        """Nothing is counted below zero, but for the rounding; sums of errors are."""
        if (blocks := self.blocks) is not None and blocks.is_signed:
            return super().span(parties, survivors)
        least = -len(survivors) * self.mechanism(parties).step / 2
        return replace(super().span(parties, survivors), lowest=least)

    def clipped(self, parties: Parties, site: str, work: Work) -> Tensor:
        """Zeros where nothing is held out."""
        return work.figures()

    def clipped_rows(self, parties: Parties, sites: Sequence[str], works: Works) -> Rows:
        """The same of many."""
        return works.figures()
