"""Whatever a task's code raises among records concerns the record alone: its batch goes on without it.

If one record could stop a round, a site that falls silent would tell, with certainty, that the record is there. So
the code is called through `attempt`, and records through `apart`: where a batch raises, its halves are tried, and
so on down to the record, which contributes nothing. A record's contribution is by definition what it gives alone; a
batch is a faster way to the same sum, so it does not matter how a batch was taken apart.

Example: of 1,000 records one has a label that the loss does not know. Nine halvings find it; the sum is that of the
other 999, and the noise is as large as ever.

Everything that code can raise is caught: also SystemExit, RecursionError, MemoryError, and a KeyboardInterrupt
unless somebody did interrupt. What code may have left behind in torch and NumPy is put back after every call, so
that it cannot reach the next record.
"""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from privacy.mechanism.noise import Stream

FEW = 8  # records that begin to raise in one step, for which the timing padding has room
_Found = TypeVar("_Found")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Tally:
    """How many records raised. It stays at the site: its people read the number in the log, and nothing else."""

    raised: int = 0
    rehearsed: int = field(default=0, repr=False)  # a rehearsal: this many of each batch are taken to raise

    def spoils(self, places: Tensor, size: int) -> bool:
        """Whether a rehearsal takes one of these places in a batch of `size` to raise."""
        if self.rehearsed == 0 or size == 0:
            return False
        step = max(1, size // self.rehearsed)
        return bool((places % step == step - 1).any())


_ended: list[BaseException] = []  # what a signal's handler raised


@contextmanager
def listening() -> Iterator[None]:
    """Within the context a signal is told apart from an exception of the same name that code raises itself.

    A handler that raises (Ctrl-C) still ends the work, even if the code swallowed what it raised. Signals reach the
    main thread only; a site answers in another one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    ours = {number: handler for number, handler in before.items() if callable(handler)}
    _ended.clear()

    def noted(number: int, frame: FrameType | None) -> None:
        try:
            ours[signal.Signals(number)](number, frame)
        except BaseException as error:
            _ended.append(error)
            raise

    for number in ours:
        signal.signal(number, noted)
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        _ended.clear()


@contextmanager
def draws_apart() -> Iterator[None]:
    """Whatever is drawn, or seeded, within the context, what is drawn after it is the same, and as secret."""
    seed = int(torch.randint(2**62, (), dtype=torch.int64))
    try:
        yield
    finally:
        torch.default_generator.manual_seed(seed)


def attempt(code: Callable[[], _Found]) -> _Found | None:
    """What the code returns; None if it raised, whatever that was. Its text and its kind go no further."""
    found = None
    with draws_apart(), suppress(BaseException), undisturbed():
        found = code()
    if _ended:
        raise _ended[0]
    return found


def apart(
    compute: Callable[[Tensor], _Found], count: int | Tensor, tally: Tally, at_once: int | None = None
) -> Iterator[_Found]:
    """`compute` of places that together are, in order, all of `count` whose code does not raise.

    `count` may also be the places themselves. At first they come `at_once`. For k of n that raise it takes about
    2 k log2(n) calls, and never more than 2 n.
    """
    places = torch.arange(count) if isinstance(count, int) else count
    left = list(torch.split(places, max(1, at_once or len(places))))[::-1]
    while left:
        part = left.pop()
        if len(part) == 0:
            continue
        found = attempt(partial(compute, part))
        if found is not None and not tally.spoils(part, len(places)):
            yield found
        elif len(part) > 1:
            half = len(part) // 2
            left += [part[half:], part[:half]]
        else:
            tally.raised += 1


def _filter(filters: list[Any]) -> None:
    warnings.resetwarnings()
    warnings.filters[:] = filters  # type: ignore[index]


# What code can leave behind, and what would then end or change the site's own work: how to read it and put it back.
_SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], object]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, torch.set_default_device),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (lambda: list(warnings.filters), _filter),
)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Leaves the settings of torch, NumPy and Python as they were, whatever the code within does to them."""
    before = [read() for read, _ in _SETTINGS]
    try:
        with np.errstate():
            yield
    finally:
        for (read, put_back), value in zip(_SETTINGS, before, strict=True):
            if read() != value:
                put_back(value)


@contextmanager
def coins(stream: Stream) -> Iterator[None]:
    """Within the context dropout and the like draw from a secret seed; torch's generator is as before afterwards.

    With a seed that anyone may know, the records of a batch would share their draws by position: one record more
    would shift the draws of all that follow it, by an amount that the noise is not made for.
    """
    with seeded(seed_of(stream)):
        yield


def seed_of(stream: Stream) -> int:
    """The secret seed that `coins` takes from a stream, once."""
    return int.from_bytes(stream.derive("coins").take(8), "big")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the context torch's generator starts at this seed; it is as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
