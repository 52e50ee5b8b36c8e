"""A cohort's local training as one tensor program: slices of sites, yielded as rows, in bounded memory.

It computes what `clients.training.work.SiteWork` computes for one site after the other, from the same streams: up
to the rounding of float32 where nothing is clipped, and of float64 where it is. A way is chosen for a model before
it sees data (`simulations.cohort.ways`); whatever the chosen way cannot do as a site would, such as a record whose
gradient is not finite, is done by the site's own code, on the batches that were drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from clients.training.isolation import Tally
from clients.training.places import device_of
from federation.model.task import Dataset, Task
from federation.plan.plan import Plan
from federation.round.terms import Terms
from privacy.mechanism.noise import Stream
from simulations.cohort.batches import Shelf
from simulations.cohort.in_turn import Turn, in_turn
from simulations.cohort.pool import Pool
from simulations.cohort.slices import Noised, Setting, Slice
from simulations.cohort.ways import Way, way_of

Streams = Sequence[Stream] | Stream
"""A site's stream each, in the order of the members, as `site_stream` makes them; or one secret stream for all."""
Rows = tuple[slice, Tensor]
Names = tuple[str, ...] | None
"""Some of the members, in their order; None for all of them."""


class CohortProgram:
    """The training of a run's cohorts: made once, it keeps the data and its buffers from round to round.

    `data` may be lazy: what a slice of sites needs is read when its turn comes. Every method yields the sites in
    order, a slice at a time, with a row for each, (k, d) float64.
    """

    def __init__(
        self,
        plan: Plan,
        task: Task,
        data: Mapping[str, Dataset],
        *,
        device: str = "auto",
        tally: Tally | None = None,
        alone: bool = False,
    ) -> None:
        """`alone`: this process is one of many already, with a core of its own, and starts no others."""
        self._plan, self._task, self._data = plan, task, data
        self._device, self._tally = device_of(device), Tally() if tally is None else tally
        self._shelf = Shelf(data, self._device, patients=plan.kind.draws_patients)
        self._ways: dict[torch.dtype, Way] = {}
        self._pool: Pool | None = None
        self._alone = alone

    def prepare(self, terms: Terms) -> None:
        """What the first round of such terms would do: choose the way, stack what is trained on first."""
        dtype = torch.float64 if terms.kind.clips_records else torch.float32
        way = self.way(terms, dtype)
        if way.net is not None:
            self._shelf.stack(terms.parameters.members[: way.at_once])

    def updates(self, terms: Terms, params: Tensor, streams: Streams, names: Names = None) -> Iterator[Rows]:
        """What plain training changed at every site, or at those of these names."""
        way, setting = self.way(terms, torch.float32), self._setting(terms, params, torch.float32)
        asked = terms.parameters.members if names is None else names
        if way.turns is None:
            for part in self._slices(setting, way, streams, asked):
                yield part.place, part.updates()
            return
        turn = Turn(setting, way.turns)
        if self._pool is None and not self._alone:
            operations = way.operations * terms.plan.training.local_steps
            self._pool = Pool.where_it_pays(turn, len(params), len(asked), operations)
        each = map(streams.derive, asked) if isinstance(streams, Stream) else iter(streams)
        for number, row in enumerate(in_turn(setting, turn, self._pool, asked, each)):
            yield slice(number, number + 1), row[None]

    def clipped_gradients(
        self, terms: Terms, params: Tensor, streams: Streams, clipping_norm: float, names: Names = None
    ) -> Iterator[Rows]:
        """The sums of the clipped gradients of one Poisson batch each."""
        way, setting = self.way(terms, torch.float64), self._setting(terms, params, torch.float64)
        for part in self._slices(setting, way, streams, names):
            yield part.place, part.clipped_gradients(clipping_norm)

    def noised_updates(
        self,
        terms: Terms,
        params: Tensor,
        streams: Streams,
        clipping_norm: float,
        noised: Noised,
        names: Names = None,
    ) -> Iterator[Rows]:
        """What DP-SGD steps changed. `noised` gets a slice's steps in order, then those of the next slice."""
        way, setting = self.way(terms, torch.float64), self._setting(terms, params, torch.float64)
        for part in self._slices(setting, way, streams, names):
            yield part.place, part.noised_updates(clipping_norm, noised)

    def close(self) -> None:
        """End the processes of this program, if it started any. They end with this process, too."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _slices(self, setting: Setting, way: Way, streams: Streams, asked: Names) -> Iterator[Slice]:
        names = setting.terms.parameters.members if asked is None else asked
        for start in range(0, len(names), way.at_once):
            part = names[start : start + way.at_once]
            own = streams if isinstance(streams, Stream) else streams[start : start + len(part)]
            stack = None if way.net is None else self._shelf.stack(part)
            yield Slice(setting, part, start, way, stack, own)

    def _setting(self, terms: Terms, params: Tensor, dtype: torch.dtype) -> Setting:
        return Setting(terms, self._task, self._data, self._tally, params, dtype, self._device)

    def way(self, terms: Terms, dtype: torch.dtype) -> Way:
        """How the sites are trained; float64 is for clipped gradients."""
        if dtype not in self._ways:
            like = self._shelf.like(terms.parameters.members[0])
            batch = terms.plan.training.sample_rate * terms.parties.largest
            self._ways[dtype] = way_of(self._task, like, batch, dtype, self._device)
        return self._ways[dtype]
