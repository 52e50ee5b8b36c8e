"""One sum of a simulated round: what all sites contribute, as one matrix, and what those with own rules send.

Nobody is lost here, so of the noise that is there for lost sites nothing is drawn (`privacy.mechanism.excess`). A
site with a site.toml adds its own noise and is charged in its own journal, as in a real run; what may be taken out
of that noise is taken out, as a server would.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from clients.release import excess_of
from clients.site import Site
from clients.training.isolation import Tally
from clients.training.screening.screen import said_of
from clients.training.work import Trainer
from federation.errors import FederationError, TaskError, TrainingDiverged
from federation.kinds.base import Works
from federation.plan.plan import Plan
from federation.round.parts import Sum, without_excess
from federation.round.terms import Terms
from privacy.errors import PrivacyError
from privacy.mechanism.encoding import EncodingOverflow, RingVector
from simulations.cohort.program import CohortProgram
from simulations.sums.shelf import Shelf
from simulations.sums.works import Chance, OneByOne, Together

_log = logging.getLogger(__name__)

Begins = Callable[[Terms, Tensor, Collection[str] | None], None]  # who charges the round: None for the cohort
WorksOf = Callable[[Terms, tuple[str, ...], Tensor, Chance], Works]


@dataclass(frozen=True)
class Adding:
    """Adds up what the sites of a sum contribute: simulated ones, and `own`, with rules of their own.

    `begins` is told of a round before anything of it is computed.
    """

    works: WorksOf
    own: Mapping[str, Site] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    begins: Begins = lambda _terms, _params, _charged: None
    prepares: Callable[[Terms], None] = lambda _: None
    shelf: Shelf | None = None  # of layers that simulated sites keep for themselves

    def prepare(self, terms: Terms) -> None:
        """Before the first round, of which these are the terms: what follows from plan, model and sizes alone.

        What fails here fails in the round again, which says how.
        """
        with suppress(Exception):
            terms.kind.prepare(terms.parties)
            self.prepares(terms)

    def __call__(self, terms: Terms, params: Tensor) -> Sum:
        """The sum over all members of `terms`."""
        return self.over(terms, params, terms.parameters.members)

    def over(
        self,
        terms: Terms,
        params: Tensor,
        survivors: tuple[str, ...],
        charged: Collection[str] | None = None,
    ) -> Sum:
        """The sum over these of the members of `terms`. Of the cohort, `charged` got the params; all, for None."""
        self.begins(terms, params, charged)
        released = self._released(terms, params, survivors, charged)
        simulated = tuple(name for name in survivors if name not in self.own) if self.own else survivors
        lost = len(terms.members) - len(survivors)
        total = self.simulated(terms, simulated, params, lost)
        if self.shelf is not None:
            self.shelf.write(terms.round)
        levels = terms.levels if terms.takes_out else None
        reduced = survivors if levels is not None and levels.level(lost) < levels.secrets else ()
        if not released:
            ring = np.uint64((1 << terms.codec.ring_bits) - 1)
            return Sum(terms, total & ring, survivors, reduced)
        excess = {}
        for name, (vector, secret) in released.items():
            total = total + vector  # wraps at 2^64
            if secret:
                excess[name] = secret
        return replace(without_excess(terms, total, survivors, excess), reduced=reduced, left=())

    def charge(self, terms: Terms, params: Tensor, charged: Collection[str]) -> None:
        """Charge an attempt that has no sum."""
        self.begins(terms, params, charged)
        self._released(terms, params, (), charged)

    def _released(
        self, terms: Terms, params: Tensor, survivors: tuple[str, ...], charged: Collection[str] | None
    ) -> dict[str, tuple[RingVector, bytes]]:
        """What the survivors among sites with rules of their own release; the others are charged all the same."""
        found = {}
        for name in (name for name in terms.parameters.members if name in self.own):
            if charged is None or name in charged:
                secret = excess_of(terms, self.own[name].journal)
                vector = self.own[name].release(terms, params, excess=secret)
                if name in survivors:
                    found[name] = vector, secret
        return found

    def simulated(self, terms: Terms, names: tuple[str, ...], params: Tensor, lost: int) -> RingVector:
        """The sum of what these simulated sites of a sum contribute, with the noise of one that lost so many."""
        if not names:
            return np.zeros(terms.length, np.uint64)
        chance = Chance(terms, names)
        works = self.works(terms, names, params, chance)
        try:
            return terms.kind.summed(terms.parties, names, works, chance.draws, lost)
        except EncodingOverflow as error:
            raise TrainingDiverged.beyond(f"round {terms.round}: the update of {names[error.row]}") from None
        except (FederationError, PrivacyError):
            raise
        except (Exception, SystemExit) as error:
            kind = type(error).__name__
        finally:
            self._tell()
        raise TaskError(f"training failed with {kind}", hint="try the task's code on made-up records")

    def _tell(self) -> None:
        """How many records raised since the last time: in a simulation this is no secret."""
        if self.tally.raised:
            _log.warning("%s", said_of("the simulated sites", self.tally.raised))
            self.tally.raised = 0


Adds = Callable[[Plan, Adding], Adding]
"""Under which plan, how simulated sites are added up -> how they are, if other processes train them."""


def here(_: Plan, adding: Adding) -> Adding:
    """In this process."""
    return adding


def all_at_once(program: CohortProgram, trainers: Mapping[str, Trainer]) -> WorksOf:
    """All sites of a sum, or some of them, as one program."""

    def works(terms: Terms, names: tuple[str, ...], params: Tensor, chance: Chance) -> Works:
        return Together(terms, names, params, trainers, program, chance)

    return works


def one_by_one(trainers: Mapping[str, Trainer], shelf: Shelf) -> WorksOf:
    """Each site by its own code, with the layers that it keeps for itself."""

    def works(terms: Terms, names: tuple[str, ...], params: Tensor, _: Chance) -> Works:
        return OneByOne(terms, names, params, trainers, shelf=shelf)

    return works
