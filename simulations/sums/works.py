"""The work of many sites in one round (`federation.kinds.base.Works`), and the chance in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from clients.training.isolation import coins, listening
from clients.training.local import Finish
from clients.training.work import SiteWork, Trainer, open_streams
from federation.kinds.base import Draws, Rows
from federation.round.sent import model_of, norm_of
from federation.round.terms import Terms
from privacy.mechanism.encoding import Words
from privacy.mechanism.noise import Stream
from privacy.mechanism.repeatable import Repeatables
from simulations.cohort.program import CohortProgram
from simulations.sums.shelf import Shelf


@dataclass(frozen=True)
class OneByOne:
    """Each site by a trainer of its own: what any task, and any model, can do."""

    terms: Terms
    names: tuple[str, ...]
    params: Tensor = field(repr=False)
    trainers: Mapping[str, Trainer] = field(repr=False)
    shelf: Shelf | None = field(
        default=None, repr=False, kw_only=True
    )  # where sites keep layers for themselves

    @property
    def clipping_norm(self) -> float:
        """As it was sent to all."""
        return norm_of(self.terms, self.params)

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
        if self.shelf is not None:
            trainer = replace(trainer, own=self.shelf.own(name, self.terms.round))
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

    @property
    def clipping_norm(self) -> float:
        """See `SiteWork`; so for all."""
        return self.work.clipping_norm

    def update(self) -> Tensor:
        """Of plain training."""
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


class Chance:
    """The chance in one sum over these sites.

    With privacy one secret stream serves all: what it gives is independent, site by site and step by step, as the
    streams of the sites would be. Without, each site draws and rounds by its own stream, as in any engine.
    """

    def __init__(self, terms: Terms, names: Sequence[str]) -> None:
        self.training: Stream | Repeatables
        self._rounding: Stream | Repeatables
        if terms.plan.is_private:
            secret = Stream(os.urandom(32))
            self.training = secret.derive("training")
            self._rounding, noise = secret.derive("rounding"), secret.derive("noise")
        else:
            self.training = open_streams(terms.plan, names, terms.round)
            self._rounding = self.training.derive("rounding")
            noise = Stream(bytes(32))  # of which nothing is drawn
        self.draws = Draws(noise, self._words)

    def _words(self, places: slice, count: int) -> Words:
        sites = places.stop - places.start
        if isinstance(self._rounding, Repeatables):
            words = self._rounding.words([count] * sites, places)
        else:
            words = self._rounding.words(sites * count)
        return words.reshape(sites, count)


@dataclass(frozen=True)
class Together(OneByOne):
    """All sites as one tensor program (`simulations.cohort`), but for what only each by itself can do."""

    program: CohortProgram
    chance: Chance

    @property
    def _model(self) -> Tensor:
        return model_of(self.terms, self.params)

    def updates(self) -> Rows:
        """What plain training changed at each."""
        return self.program.updates(self.terms, self._model, self.chance.training, self.names)

    def noised_updates(self, clipping_norm: float, noised: Callable[[slice, Tensor], Tensor]) -> Rows:
        """The same with DP-SGD."""
        return self.program.noised_updates(
            self.terms, self._model, self.chance.training, clipping_norm, noised, self.names
        )

    def clipped_gradients(self, clipping_norm: float) -> Rows:
        """The sum over one Poisson batch of each."""
        given = self.terms, self._model, self.chance.training, clipping_norm, self.names
        return self.program.clipped_gradients(*given)
