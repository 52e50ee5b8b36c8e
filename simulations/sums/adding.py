"""One sum of a simulated round: what all sites contribute, as one matrix, and what those with rules of their own send.

Nobody is lost here, so of the noise that is there for lost sites nothing is drawn (`privacy.mechanism.excess`). A
site with a site.toml adds its own noise and is charged in its own journal, as in a real run; what may be taken out
of that noise is taken out, as a server would.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from clients.release import excess_of
from clients.site import Site
from clients.training.isolation import Tally
from clients.training.screen import said_of
from clients.training.work import Trainer
from federation.errors import FederationError, TaskError, TrainingDiverged
from federation.kinds.base import Works
from federation.model.task import Dataset, Task
from federation.plan.plan import Plan
from federation.round.parts import Sum, without_excess
from federation.round.terms import Terms
from privacy.errors import PrivacyError
from privacy.mechanism.encoding import EncodingOverflow, RingVector
from simulations.cohort.program import CohortProgram
from simulations.sums.works import Chance, Together

_log = logging.getLogger(__name__)

WorksOf = Callable[[Terms, tuple[str, ...], Tensor, Chance], Works]


@dataclass(frozen=True)
class Adding:
    """Adds up what the sites of a sum contribute: simulated ones, and `own`, with rules of their own.

    `begins` is told of a round before anything of it is computed.
    """

    works: WorksOf
    own: Mapping[str, Site] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    begins: Callable[[Terms, Tensor], None] = lambda _terms, _params: None

    def __call__(self, terms: Terms, params: Tensor) -> Sum:
        """The sum over all members of `terms`."""
        self.begins(terms, params)
        members = terms.parameters.members
        simulated = tuple(name for name in members if name not in self.own) if self.own else members
        total = self.simulated(terms, simulated, params)
        if len(simulated) == len(members):
            ring = np.uint64((1 << terms.codec.ring_bits) - 1)
            return Sum(terms, total & ring, members, members if terms.takes_out else ())
        excess = {}
        for name in (name for name in members if name in self.own):
            secret = excess_of(terms, self.own[name].journal)
            total = total + self.own[name].release(terms, params, excess=secret)  # wraps at 2^64
            if secret:
                excess[name] = secret
        found = without_excess(terms, total, members, excess)
        return replace(found, reduced=members, left=()) if terms.takes_out else found

    def simulated(self, terms: Terms, names: tuple[str, ...], params: Tensor) -> RingVector:
        """The sum of what these simulated sites of a sum contribute."""
        if not names:
            return np.zeros(terms.length, np.uint64)
        chance = Chance(terms, names)
        works = self.works(terms, names, params, chance)
        try:
            return terms.kind.summed(terms.parties, names, works, chance.draws, 0)
        except EncodingOverflow as error:
            place = f"round {terms.round}: the update of {names[error.row]}"
            hint = "lower training.learning_rate or training.local_steps; what was charged stays charged"
            raise TrainingDiverged(f"{place} left the range of the ring", hint=hint) from None
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


def all_at_once(
    plan: Plan,
    task: Task,
    data: Mapping[str, Dataset],
    trainers: Mapping[str, Trainer],
    device: str,
    tally: Tally,
) -> WorksOf:
    """All sites of a sum, or some of them, as one program."""
    program = CohortProgram(plan, task, data, device=device, tally=tally)

    def works(terms: Terms, names: tuple[str, ...], params: Tensor, chance: Chance) -> Works:
        return Together(terms, names, params, trainers, program, chance)

    return works
