"""A private step of LoRA over a plain one, by the length of texts, the batch and the threads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.adapters.network import Notes, loss, words
from clients.training.dpsgd import chosen_route, clipped_gradient
from clients.training.frozen import prepared
from federation.model.base import trained

LENGTHS, BATCHES, THREADS, TIMES = (16, 32, 64), (8, 32), (1, 2), 3
HEAD = "| words in a text | batch | threads | route | private step, s | plain step, s | private / plain |"


def rows(lengths: tuple[int, ...] = LENGTHS, batches: tuple[int, ...] = BATCHES) -> Iterator[str]:
    """The lines of the table."""
    torch.manual_seed(0)
    model = prepared(Notes(), torch.float64)
    before = torch.get_num_threads()
    for threads in THREADS:
        torch.set_num_threads(threads)
        for length in lengths:
            for batch in batches:
                yield f"| {length} | {batch} | {threads} | {row(model, length, batch)} |"
    torch.set_num_threads(before)


def row(model: torch.nn.Module, length: int, batch: int) -> str:
    """Both steps in turn: the least of several of each, in seconds of the processor."""
    features, labels = words(batch, length), torch.arange(batch) % 2
    route = chosen_route(model, loss, features[:0], labels[:0], batch)
    parameters = list(trained(model).values())

    def plain() -> Tensor:
        gradients = torch.autograd.grad(loss(model(features), labels).sum(), parameters)
        return torch.cat([each.reshape(-1) for each in gradients])

    with clipped_gradient(model, loss, 1.0, batch) as gradient:
        steps = (lambda: gradient(features, labels, None)), plain
        took = [
            min(times)
            for times in zip(*([seconds(step) for step in steps] for _ in range(TIMES)), strict=True)
        ]
    return f"{route} | {took[0]:.2f} | {took[1]:.2f} | {took[0] / took[1]:.2f}"


def seconds(step: Callable[[], object]) -> float:
    """Of the processor, all threads together: what else runs on the machine adds little to it."""
    start = time.process_time()
    step()
    return time.process_time() - start


def load() -> str:
    """How busy the machine is."""
    return f"a load of {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
