"""Which way a model is trained at many sites at once, if any: decided on made-up records, before it sees data.

The same care as `clients.training.dpsgd`: code that draws (dropout), whose path follows values, or that mixes
records is left to the sites, each by itself, and a way is taken only if it finds the gradients that a site finds,
plain or clipped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from clients.training.dpsgd import clipped_gradient
from clients.training.isolation import draws_apart, seeded
from clients.training.known import is_known
from clients.training.local import made_up, plain_gradient
from clients.training.trial import Trial
from federation.config.tables import Training
from federation.model.base import has_base
from federation.model.losses import Single
from federation.model.task import Dataset, Task
from simulations.cohort.batches import Stack, drawn
from simulations.cohort.dense import Dense
from simulations.cohort.general import General
from simulations.cohort.layered import Layered
from simulations.cohort.layers import chain_of, layers_of
from simulations.cohort.nets import Batch, Net, batch_of
from simulations.cohort.turns import Turns

_CACHE = 2**22  # bytes of weights and activations of a slice, about what a core's own caches hold
_ROOM = 2**24  # bytes of weights, rows and activations of a slice, where they are larger
_REUSE = 64  # operations for each number that is kept, about
MOST = 1024  # sites at once
_TRIED = (3, 0, 5)  # records of made-up sites
_HEAVY = 2e7  # operations of a step from which on many sites at once are no faster than one
_NORM_SHARE = 0.5  # of the median length: some are clipped, some are not
_STEP = Training(optimizer="sgd", learning_rate=1.0, local_steps=1, sample_rate=1.0)


@dataclass(frozen=True)
class Way:
    """How a cohort is trained: `at_once` sites by `net`, or one by one by `turns`, or each by its own code."""

    at_once: int
    net: Net | None = field(default=None, repr=False)
    turns: Turns | None = field(default=None, repr=False)
    operations: int = 0  # of a step of one site, where they go by turns
    classes: int | None = None  # labels that the net may see, where it does not check them itself

    def takes(self, stack: Stack) -> bool:
        """Whether these data are as the net expects them: a site's own code says what it makes of others."""
        if self.classes is None:
            return True
        least, most = stack.labels_within
        return stack.labels.dtype == torch.int64 and least >= 0 and most < self.classes


ALONE = Way(1)


def way_of(task: Task, like: Dataset, batch: float, dtype: torch.dtype, device: torch.device) -> Way:
    """The fastest way that is right for a task, for records shaped like those of `like`."""
    like = Dataset(like.features[:0], like.labels[:0], like.patients)
    if has_base(task.model()):  # what does not travel is left to the sites' own code
        return ALONE
    layers = layers_of(task)
    single = isinstance(task.loss, Single)
    if layers is not None and like.features.is_floating_point() and (single or like.labels.dim() == 1):
        dense = Dense(layers, task.loss)
        if _is_right(dense, task, like, dtype, device):
            widths = batch * sum(layer.inputs + layer.outputs for layer in layers)
            size = sum(layer.size + layer.outputs for layer in layers)
            at_once = int(_CACHE // ((size + widths) * dtype.itemsize))
            return Way(min(MOST, max(8, at_once)), dense, classes=None if single else layers[-1].outputs)
    if dropped := _without_dropout(task):
        right = dtype is torch.float32 and device.type == "cpu" and _is_fit(dropped, like, batch, dtype)
        return _in_turn(task, like, _operations(dropped, like, batch)) if right else ALONE
    fits = _is_fit(task, like, batch, dtype)
    operations = _operations(task, like, batch) if fits else 0
    if operations > _HEAVY and dtype is torch.float32 and device.type == "cpu":
        return _in_turn(task, like, operations)
    makers: list[Callable[[], Layered | General]] = [lambda: Layered(task, like, dtype)] if fits else []
    makers += [lambda: General(task, device, dtype)] if fits else []
    for make in makers:
        with suppress(TypeError):  # it is not for this model
            net = make()
            if _is_right(net, task, like, dtype, device):
                row = net.size if dtype is torch.float64 else 0
                one = net.size + batch * (row + math.prod(like.features.shape[1:])) + operations / _REUSE
                return Way(min(MOST, max(1, int(_ROOM // (one * dtype.itemsize)))), net)
    return ALONE


def _without_dropout(task: Task) -> Task | None:
    """The task of a known chain with the dropout taken out, if there is any: what else it does is tried on that."""
    model = task.model()
    if not is_known(model) or not any(type(part) is nn.Dropout for part in chain_of(model)):
        return None
    layers = [part for part in chain_of(model) if type(part) is not nn.Dropout]
    return replace(task, model=lambda: deepcopy(nn.Sequential(*layers)))


def _operations(task: Task, like: Dataset, batch: float) -> int:
    """Of one step of one site, forward and backward, as far as they are products. 0 where torch cannot count.

    Its counter fails where a layer is called with a parameter, as in `torch.nn.utils.parametrizations`. The number
    decides on speed alone.
    """
    trial = Trial.of(task, like, torch.float32)
    try:
        with torch.random.fork_rng(devices=[]), FlopCounterMode(display=False) as counter:
            losses = trial.losses(*trial.records(max(1, math.ceil(batch)), 0))
            torch.autograd.grad(losses.sum(), trial.parameters, materialize_grads=True)
    except RuntimeError:
        return 0
    return int(counter.get_total_flops())


def _in_turn(task: Task, like: Dataset, operations: int) -> Way:
    """By one model for all, if it takes the step that a site takes on made-up records."""
    made = made_up(like, max(_TRIED))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        try:
            trial, turns = Trial.of(task, like, torch.float32), Turns(task, like)
            params = torch.cat([part.detach().reshape(-1) for part in trial.parameters])
            turns.begin(params)
            found = turns.update([made], _STEP, 1.0)
            with seeded(0):
                with draws_apart():  # a site makes its model first
                    pass
                gradient = plain_gradient(trial.model, task.loss, class_weights=task.class_weights)
                expected = gradient(made.features, made.labels)
            return (
                Way(1, turns=turns, operations=operations)
                if trial.close(-found.to(torch.float32), expected)
                else ALONE
            )
        except Exception:  # it is no such chain
            return ALONE


def _is_fit(task: Task, like: Dataset, batch: float, dtype: torch.dtype) -> bool:
    """Whether the code computes every record by itself, follows no value, and draws nothing."""
    with torch.random.fork_rng(devices=[]):
        try:
            trial = Trial.of(task, like, dtype)
            if trial.mixes() or trial.follows_values(max(trial.sizes(int(batch)))):
                return False
            trial.losses(*trial.records(2, 0))
            state = torch.random.get_rng_state()
            torch.default_generator.manual_seed(0)
            return torch.equal(state, torch.random.get_rng_state())
        except Exception:  # of the task's own code: the sites' code says what
            return False


def _is_right(net: Net, task: Task, like: Dataset, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether a way finds what a site finds, on made-up records of three sites."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        try:
            trial = Trial.of(task, like, dtype)
            params = torch.cat([part.detach().reshape(-1) for part in trial.parameters])
            net.begin(params.to(device), len(_TRIED))
            stack, batch, sites = _made_up(like, dtype, device, task.class_weights)
            norm = _norm(trial, sites) if dtype is torch.float64 else None
            out = torch.empty((len(_TRIED), len(params)), dtype=dtype, device=device)
            if norm is None:
                rows = net.rows(net.gradients(batch), out).cpu()
            else:
                rows = net.clipped(batch, norm, out).cpu()
            expected = [_expected(trial, task, site, norm) for site in sites]
            found = [rows]
            if norm is None and net.plain is not None and net.plain.takes(_STEP, stack, params):
                net.plain.begin(params, len(_TRIED))
                net.plain.step(stack, batch.drawn, _STEP.learning_rate, task.class_weights)
                found.append(-net.plain.moved(out.double()).to(dtype))
            return all(
                trial.close(row, right) for each in found for row, right in zip(each, expected, strict=True)
            )
        except Exception:  # the way does not know the model, in whatever words of torch
            return False


def _made_up(
    like: Dataset, dtype: torch.dtype, device: torch.device, class_weights: Sequence[float]
) -> tuple[Stack, Batch, list[Dataset]]:
    """Padded batches of made-up sites that are drawn whole, and their records, together and apart."""
    sites = [made_up(like, count, seed) for seed, count in enumerate(_TRIED)]
    if like.features.is_floating_point():
        sites = [Dataset(site.features.to(dtype), site.labels, site.patients) for site in sites]
    stack = Stack.of(sites, device)
    ones = np.ones(len(sites), np.float32 if dtype is torch.float32 else np.float64)
    (whole,) = drawn(stack, (), 1.0, 1, ones)
    return stack, batch_of(stack, whole, dtype, class_weights), sites


def _norm(trial: Trial, sites: list[Dataset]) -> float:
    lengths = trial.rows(sites[-1].features, sites[-1].labels).norm(dim=1)
    return _NORM_SHARE * float(lengths.median()) or 1.0


def _expected(trial: Trial, task: Task, site: Dataset, norm: float | None) -> Tensor:
    if norm is None:
        return plain_gradient(trial.model, task.loss, class_weights=task.class_weights)(
            site.features, site.labels
        )
    with clipped_gradient(trial.model, task.loss, norm, class_weights=task.class_weights) as gradient:
        return gradient(site.features, site.labels, site.patients)
