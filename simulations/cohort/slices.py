"""One slice of a cohort in one round: its steps from the first draw to the rows that are handed out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from clients.training.isolation import Tally, coins, listening
from clients.training.work import SiteWork, Trainer
from federation.model.task import Dataset, Task
from federation.round.terms import Terms
from privacy.mechanism.noise import Stream
from simulations.cohort.batches import Drawn, Stack, drawn
from simulations.cohort.descent import Descent
from simulations.cohort.nets import Batch, Net
from simulations.cohort.ways import Way

Noised = Callable[[slice, Tensor], Tensor]
"""Which sites of the cohort, and their clipped sums (k, d) of a step, to what their optimizers may see."""


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
            net.begin(self._params, len(self.names))
            (batch,) = self._batches(stack, None)
            return self._flat(net, net.clipped(batch, norm))

        return self._rows(summed, lambda work, _: work.clipped_gradients(norm))

    def noised_updates(self, norm: float, noised: Noised) -> Tensor:
        """What DP-SGD steps changed."""

        def trained(net: Net, stack: Stack) -> Tensor:
            training, expected = self.setting.terms.plan.training, self._expected[:, None]
            net.begin(self._params, len(self.names))
            descent = Descent(training, net.weights, net.start)
            for batch in self._batches(stack, None):
                totals = self._flat(net, net.clipped(batch, norm))
                seen = noised(self.place, totals).to(self.setting.device)
                descent.step(net.parts(seen / expected))
            return self._moved(net)

        def alone(work: SiteWork, place: slice) -> Tensor:
            return work.noised_update(norm, lambda total: noised(place, total[None])[0])

        return self._rows(trained, alone)

    def _trained(self, net: Net, stack: Stack) -> Tensor:
        training = self.setting.terms.plan.training
        net.begin(self._params, len(self.names))
        descent = Descent(training, net.weights, net.start)
        weights = (1 / self._expected).to(self.setting.dtype)
        for batch in self._batches(stack, weights):
            if not net.descend(batch, training):
                descent.step(net.gradients(batch))
        return self._moved(net)

    def _rows(
        self, together: Callable[[Net, Stack], Tensor], alone: Callable[[SiteWork, slice], Tensor]
    ) -> Tensor:
        """Rows by the tensor program; of the sites for which it has none, by their own code on the same batches."""
        count, dimension = len(self.names), len(self.setting.params)
        rows, left = torch.empty((0, dimension), dtype=torch.float64), list(range(count))
        if self.way.net is not None and self.stack is not None and self.way.takes(self.stack):
            try:
                rows = together(self.way.net, self.stack)
                left = torch.nonzero(~torch.isfinite(rows.sum(dim=1)))[:, 0].tolist()
            except (ArithmeticError, RuntimeError, IndexError, ValueError):
                pass  # the task's code raised, at a record of some site
        if len(left) == count:
            rows = torch.empty((count, dimension), dtype=torch.float64)
        for index in left:
            place = slice(self.start + index, self.start + index + 1)
            rows[index] = self._alone(index, lambda work, place=place: alone(work, place))
        return rows

    def _alone(self, index: int, code: Callable[[SiteWork], Tensor]) -> Tensor:
        """One site by its own code."""
        name, setting = self.names[index], self.setting
        stream = self.streams.derive(name) if isinstance(self.streams, Stream) else self.streams[index]
        trainer = Trainer(setting.task, setting.data[name], lambda _: stream, tally=setting.tally)
        rows = None
        if self.stack is not None:
            for _ in self._draws(self.stack):
                pass  # those steps, too, of which nothing was made
            rows = [each.of(index, self.stack) for each in self._drawn]
        with listening(), coins(stream):
            return code(SiteWork(setting.terms, name, setting.params, trainer, stream, rows))

    def _batches(self, stack: Stack, weights: Tensor | None) -> Iterator[Batch]:
        """Of all steps; a record weighs 1, or what its site's records weigh."""
        device, count = self.setting.device, len(self.names)
        ones = torch.ones(count, dtype=self.setting.dtype) if weights is None else weights
        pad = len(stack.features) - 1
        for each in self._draws(stack):
            rows = each.padded(pad)
            weight = (rows != pad).view(count, -1) * ones[:, None]
            rows = rows.to(device)
            features = stack.features.index_select(0, rows).unflatten(0, (count, each.width))
            if features.is_floating_point():
                features = features.to(self.setting.dtype)
            labels = stack.labels.index_select(0, rows).unflatten(0, (count, each.width))
            units = places = None
            if each.units is not None:
                units = torch.from_numpy(each.units).to(device)
                places = torch.from_numpy(each.places).to(device)
            yield Batch(features, labels, weight.to(device), places, units)

    def _draws(self, stack: Stack) -> Iterator[Drawn]:
        """The steps that are left, each of which is remembered."""
        if self._left is None:
            training, streams = self.setting.terms.plan.training, self.streams
            if not isinstance(streams, Stream):
                streams = [stream.derive("batches") for stream in streams]
            self._left = drawn(stack, streams, training.sample_rate, training.local_steps)
        for each in self._left:
            self._drawn.append(each)
            yield each

    @property
    def _params(self) -> Tensor:
        return self.setting.params.to(self.setting.device, self.setting.dtype)

    @property
    def _expected(self) -> Tensor:
        """The public size of each site's batch, (k,) float64."""
        terms = self.setting.terms
        sizes = torch.tensor([terms.size(name) for name in self.names], dtype=torch.float64)
        return (sizes * terms.plan.training.sample_rate).to(self.setting.device)

    def _flat(self, net: Net, parts: Sequence[Tensor]) -> Tensor:
        out = torch.empty(
            (len(self.names), len(self.setting.params)), dtype=torch.float64, device=parts[0].device
        )
        return net.rows(parts, out).cpu()

    def _moved(self, net: Net) -> Tensor:
        return self._flat(net, net.weights).sub_(self.setting.params.to(torch.float64))
