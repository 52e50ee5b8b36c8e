"""One slice of a cohort in one round: its steps from the first draw to the rows that are handed out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clients.training.isolation import Tally, coins, listening
from clients.training.work import SiteWork, Trainer
from federation.model.task import Dataset, Task
from federation.round.terms import Terms
from privacy.mechanism.noise import Stream
from privacy.mechanism.repeatable import Repeatables
from simulations.cohort.batches import Drawn, Stack, drawn
from simulations.cohort.descent import Descent
from simulations.cohort.nets import Batch, Net, batch_of
from simulations.cohort.ways import Way

Noised = Callable[[slice, Tensor], Tensor]
"""Which sites of the cohort, and their clipped sums (k, d) of a step, to what their optimizers may see."""


_Alone = Callable[[SiteWork, slice], Tensor]  # a site, and where it is in the cohort
RAISED = (ArithmeticError, IndexError, RuntimeError, TypeError, ValueError)
"""What the task's code may raise at some record: the sites' own code knows what to do with it."""


@dataclass(frozen=True)
class Setting:
    """What all slices of a round share."""

    terms: Terms
    task: Task
    data: Mapping[str, Dataset]
    tally: Tally
    params: Tensor
    dtype: torch.dtype
    device: torch.device


@dataclass
class Slice:
    """Some sites of a cohort, from number `start` on. Without a stack each is trained by its own code."""

    setting: Setting
    names: Sequence[str]
    start: int
    way: Way
    stack: Stack | None
    streams: Sequence[Stream] | Stream = field(repr=False)
    _drawn: list[Drawn] = field(default_factory=list, repr=False)
    _left: Iterator[Drawn] | None = field(default=None, repr=False)

    @property
    def place(self) -> slice:
        """Which sites of the cohort these are."""
        return slice(self.start, self.start + len(self.names))

    def updates(self) -> Tensor:
        """What plain training changed, (k, d) float64."""
        return self._rows(self._trained, lambda work, _: work.update())

    def clipped_gradients(self, norm: float) -> Tensor:
        """The sums over one batch each."""

        def summed(net: Net, stack: Stack) -> Tensor:
            net.still(self._params, len(self.names))
            (batch,) = self._batches(stack, mean=False)
            return net.clipped(batch, norm, self._empty).cpu()

        return self._rows(summed, lambda work, _: work.clipped_gradients(norm))

    def noised_updates(self, norm: float, noised: Noised) -> Tensor:
        """What DP-SGD steps changed."""

        def trained(net: Net, stack: Stack) -> Tensor:
            training, device = self.setting.terms.plan.training, self.setting.device
            expected = torch.from_numpy(self._expected)[:, None].to(device)
            net.begin(self._params, len(self.names))
            descent = Descent(training, net.weights, net.start)
            for batch in self._batches(stack, mean=False):
                totals = net.clipped(batch, norm, self._empty).cpu()
                seen = noised(self.place, totals).to(device)
                descent.step(net.parts(seen / expected))
            return self._moved(net)

        def alone(work: SiteWork, place: slice) -> Tensor:
            return work.noised_update(norm, lambda total: noised(place, total[None])[0])

        return self._rows(trained, alone)

    def _trained(self, net: Net, stack: Stack) -> Tensor:
        training, sites = self.setting.terms.plan.training, len(self.names)
        if net.plain is not None and net.plain.takes(training, stack, self._params):
            net.plain.begin(self._params, sites)
            for drawn in self._draws(stack, mean=True):
                net.plain.step(stack, drawn, training.learning_rate, self.setting.task.class_weights)
            return net.plain.moved(self._empty)
        net.begin(self._params, sites)
        descent = Descent(training, net.weights, net.start)
        for batch in self._batches(stack, mean=True):
            descent.step(net.gradients(batch))
        return self._moved(net)

    def _rows(self, together: Callable[[Net, Stack], Tensor], alone: _Alone) -> Tensor:
        """Rows by the tensor program; of the sites for which it has none, by their own code on the same batches."""
        count, dimension = len(self.names), len(self.setting.params)
        rows, left = torch.empty((0, dimension), dtype=torch.float64), list(range(count))
        if self.way.net is not None and self.stack is not None and self.way.takes(self.stack):
            with suppress(*RAISED):
                rows = together(self.way.net, self.stack)
                left = torch.nonzero(~torch.isfinite(rows.sum(dim=1)))[:, 0].tolist()
        if len(left) == count:
            rows = torch.empty((count, dimension), dtype=torch.float64)
        for index in left:
            rows[index] = self._alone(index, alone)
        return rows

    def _stream(self, index: int) -> Stream:
        if isinstance(self.streams, Stream):
            return self.streams.derive(self.names[index])
        return self.streams[index]

    def _alone(self, index: int, code: _Alone) -> Tensor:
        """One site by its own code."""
        name, setting = self.names[index], self.setting
        stream = self._stream(index)
        trainer = Trainer(setting.task, setting.data[name], lambda _: stream, tally=setting.tally)
        rows = None
        if self.stack is not None:
            for _ in self._draws(self.stack):
                pass  # those steps, too, of which nothing was made
            rows = [each.of(index, self.stack) for each in self._drawn]
        with listening(), coins(stream):
            place = slice(self.start + index, self.start + index + 1)
            return code(SiteWork(setting.terms, name, setting.params, trainer, stream, rows), place)

    def _batches(self, stack: Stack, *, mean: bool) -> Iterator[Batch]:
        """Of all steps; a record weighs 1, or for a mean its part of its site's; times its class's weight."""
        dtype, class_weights = self.setting.dtype, self.setting.task.class_weights
        return (batch_of(stack, drawn, dtype, class_weights) for drawn in self._draws(stack, mean=mean))

    def _draws(self, stack: Stack, *, mean: bool = False) -> Iterator[Drawn]:
        """The steps that are left, each of which is remembered."""
        if self._left is None:
            training, streams = self.setting.terms.plan.training, self.streams
            if isinstance(streams, Repeatables):
                streams = streams.derive("batches")
            elif not isinstance(streams, Stream):
                streams = [stream.derive("batches") for stream in streams]
            weights = 1 / self._expected if mean else np.ones(len(self.names))
            kind = np.float32 if self.setting.dtype is torch.float32 else np.float64
            self._left = drawn(
                stack, streams, training.sample_rate, training.local_steps, weights.astype(kind, copy=False)
            )
        for each in self._left:
            self._drawn.append(each)
            yield each

    @property
    def _params(self) -> Tensor:
        return self.setting.params.to(self.setting.device, self.setting.dtype)

    @property
    def _expected(self) -> NDArray[np.float64]:
        """The public size of each site's batch, (k,)."""
        terms = self.setting.terms
        sizes = terms.parties.sizes
        return terms.plan.training.sample_rate * np.array([sizes[name] for name in self.names], np.float64)

    @property
    def _empty(self) -> Tensor:
        """Room for rows of the flat form."""
        shape = len(self.names), len(self.setting.params)
        return torch.empty(shape, dtype=torch.float64, device=self.setting.device)

    def _moved(self, net: Net) -> Tensor:
        return net.rows(net.weights, self._empty).cpu().sub_(self.setting.params.to(torch.float64))
