"""One process per core for what arithmetic bounds: each trains some sites of a round, as one process would.

A worker is a fork: it has task and data without a copy, and is told no secret but the seeds of its sites' dropout.
Which rows make a batch is drawn here, so the result does not depend on how many workers there are, to the last bit.
A worker ends with this process, whatever ends it, and where one is lost its sites are trained here.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Protocol, Self
from weakref import finalize

import torch
from torch import Tensor

Job = tuple[str, list[Tensor], float, int]
"""A site, the rows of each step's batch, its expected size, and the seed of dropout, 0 if there is none."""
_PARENT_DEATH = 1  # PR_SET_PDEATHSIG
_AHEAD = 2  # jobs that wait at each worker
_PAYS = 1e10  # operations of a round: about a tenth of a second of one core
_PATIENCE = 5.0  # seconds for a worker to end its job


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Work(Protocol):
    """What a worker does."""

    def begin(self, params: Tensor) -> None:
        """A round begins at these params (d,)."""

    def result(self, job: Job) -> Tensor:
        """What training changed at a site, (d,) float64."""


class Pool:
    """Workers that each do `work`, for vectors of `dimension` numbers."""

    def __init__(self, work: Work, dimension: int, workers: int) -> None:
        self._work, self._context, self._round = work, get_context("fork"), 0
        self._params = _shared(torch.zeros(dimension))
        self._found = _shared(torch.zeros((workers, _AHEAD, dimension), dtype=torch.float64))
        self._pipes: list[Connection] = []
        processes = [self._start(number) for number in range(workers)]
        self._end = finalize(self, _close, self._pipes, processes)

    @classmethod
    def where_it_pays(cls, work: Work, dimension: int, sites: int, operations: float) -> Self | None:
        """A pool if there is more than one core and enough to do in a round; else None."""
        workers = min(cores(), sites)
        if sys.platform != "linux" or workers < 2 or operations * sites < _PAYS:
            return None
        return cls(work, dimension, workers)

    def results(self, params: Tensor, jobs: Iterable[Job]) -> Iterator[Tensor]:
        """What every job gives, in order. Jobs are taken as workers have room for them."""
        self._params.copy_(params)
        self._round += 1
        left, waiting, number = iter(jobs), deque[Job](), 0
        room = _AHEAD * len(self._pipes)
        try:
            for job in islice(left, room):
                self._send(len(waiting), job)
                waiting.append(job)
            while waiting:
                found = self._receive(number, waiting.popleft())
                for job in islice(left, 1):
                    self._send(number + room, job)
                    waiting.append(job)
                number += 1
                yield found
        finally:
            if (
                waiting
            ):  # nobody wants the rest; what workers still answer must not be taken for another round's
                self.close()

    def close(self) -> None:
        """End the workers."""
        self._end()

    def _send(self, number: int, job: Job) -> None:
        name, rows, expected, seed = job
        with suppress(OSError):  # of a worker that is gone; what it should have done is done here
            pipe = self._pipes[number % len(self._pipes)]
            pipe.send(
                (self._round, self._slot(number), name, [each.numpy() for each in rows], expected, seed)
            )

    def _receive(self, number: int, job: Job) -> Tensor:
        worker = number % len(self._pipes)
        try:
            if self._pipes[worker].recv():
                found: Tensor = self._found[worker, self._slot(number)].clone()
                return found
        except (EOFError, OSError):
            pass
        self._work.begin(self._params)
        return self._work.result(job)

    def _slot(self, number: int) -> int:
        return number // len(self._pipes) % _AHEAD

    def _start(self, number: int) -> BaseProcess:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve,
            args=(theirs, [*self._pipes, ours], self._work, self._params, self._found[number]),
            daemon=True,
        )
        with warnings.catch_warnings():  # of threads that a fork does not have: none of theirs is waited for
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        theirs.close()
        self._pipes.append(ours)
        return process


def _serve(pipe: Connection, others: list[Connection], work: Work, params: Tensor, found: Tensor) -> None:
    """A worker's life: until the pipe closes, or the parent dies."""
    for other in others:  # else a worker would hold the ends of pipes whose closing should be seen
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes the pipe
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGKILL)
    torch.set_num_threads(1)
    begun = 0
    with suppress(EOFError, OSError):
        while True:
            number, slot, name, rows, expected, seed = pipe.recv()
            done = False
            with suppress(Exception):  # the parent tries it, and says what it is
                if number != begun:
                    work.begin(params)
                    begun = number
                found[slot] = work.result((name, [torch.from_numpy(each) for each in rows], expected, seed))
                done = True
            pipe.send(done)


def _shared(tensor: Tensor) -> Tensor:
    """In memory that workers see, too."""
    tensor.share_memory_()  # type: ignore[no-untyped-call]
    return tensor


def _close(pipes: list[Connection], processes: list[BaseProcess]) -> None:
    for pipe in pipes:
        pipe.close()
    for process in processes:
        process.join(_PATIENCE)
        process.kill()
