"""The work of many sites in one round, one site after the other (`federation.kinds.base.Works`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from clients.training.isolation import coins, listening
from clients.training.local import Finish
from clients.training.work import SiteWork, Trainer
from federation.kinds.base import Draws, Rows
from federation.round.terms import Terms
from privacy.mechanism.encoding import Words
from privacy.mechanism.noise import Stream


@dataclass(frozen=True)
class OneByOne:
    """Each site by a trainer of its own: what any task, and any model, can do."""

    terms: Terms
    names: Sequence[str]
    params: Tensor = field(repr=False)
    trainers: Mapping[str, Trainer] = field(repr=False)

    def updates(self) -> Rows:
        """What plain training changed at each."""
        return self._each(lambda place: self.alone(place).update())

    def noised_updates(self, clipping_norm: float, noised: Callable[[slice, Tensor], Tensor]) -> Rows:
        """The same with DP-SGD."""

        def trained(place: int) -> Tensor:
            return self.alone(place).noised_update(
                clipping_norm, lambda total: noised(slice(place, place + 1), total[None])[0]
            )

        return self._each(trained)

    def clipped_gradients(self, clipping_norm: float) -> Rows:
        """The sum over one Poisson batch of each."""
        return self._each(lambda place: self.alone(place).clipped_gradients(clipping_norm))

    def figures(self) -> Rows:
        """What each counts on its held-out records."""
        return self._each(lambda place: self.alone(place).figures())

    def alone(self, place: int) -> Alone:
        """The work of one."""
        name = self.names[place]
        trainer = self.trainers[name]
        stream = trainer.stream(self.terms.round)
        return Alone(SiteWork(self.terms, name, self.params, trainer, stream), stream)

    def _each(self, work: Callable[[int], Tensor]) -> Iterator[tuple[slice, Tensor]]:
        for place in range(len(self.names)):
            yield slice(place, place + 1), work(place)[None]


@dataclass(frozen=True)
class Alone:
    """One site's work, with torch's own chance from its stream, and with the code's words held back."""

    work: SiteWork
    stream: Stream = field(repr=False)

    def update(self) -> Tensor:
        """See `SiteWork`; so for all."""
        return self._apart(self.work.update)

    def noised_update(self, clipping_norm: float, noised: Finish) -> Tensor:
        """With DP-SGD."""
        return self._apart(lambda: self.work.noised_update(clipping_norm, noised))

    def clipped_gradients(self, clipping_norm: float) -> Tensor:
        """Of one batch."""
        return self._apart(lambda: self.work.clipped_gradients(clipping_norm))

    def figures(self) -> Tensor:
        """Of held-out records."""
        return self._apart(self.work.figures)

    def _apart(self, work: Callable[[], Tensor]) -> Tensor:
        with listening(), coins(self.stream):
            return work()


def draws_of(terms: Terms, names: Sequence[str], stream: Callable[[str, int], Stream]) -> Draws:
    """The chance in the sum of these sites. `stream`: a site's in a round.

    With privacy one secret stream serves all: what it gives is independent, site by site and step by step, as the
    streams of the sites would be. Without, each site rounds by the coins of its own stream, as in any engine.
    """
    own = stream("", terms.round) if terms.plan.is_private else None
    shared = own.derive("rounding") if own is not None else None

    def words(places: slice, count: int) -> Words:
        if shared is not None:
            asked = names[places]
            return shared.words(len(asked) * count).reshape(len(asked), count)
        return np.stack([stream(name, terms.round).derive("rounding").words(count) for name in names[places]])

    return Draws(own.derive("noise") if own is not None else Stream(bytes(32)), words)
