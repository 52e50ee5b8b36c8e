"""Which way a model is trained at many sites at once, if any: decided on made-up records, before it sees data.

The same care as `clients.training.dpsgd`: code that draws (dropout), whose path follows values, or that mixes records
is left to the sites' own code, and a way is taken only if it finds the gradients that a site finds, plain or clipped.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from clients.training.dpsgd import clipped_gradient
from clients.training.local import made_up, plain_gradient
from clients.training.trial import Trial
from federation.model.task import Dataset, Task
from simulations.cohort.batches import Stack
from simulations.cohort.dense import Dense, layers_of
from simulations.cohort.general import General
from simulations.cohort.nets import Batch, Net

_CACHE = 2**20  # bytes of weights and activations of a slice: what a core's own cache holds
_MOST = 1024  # sites at once
_TRIED = (3, 0, 5)  # records of made-up sites
_NORM_SHARE = 0.5  # of the median length: some are clipped, some are not


@dataclass(frozen=True)
class Way:
    """How a cohort is trained: `at_once` sites by `net`, or each by its own code where that is None."""

    at_once: int
    net: Net | None = field(default=None, repr=False)
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
    layers = layers_of(task)
    if layers is not None and like.features.is_floating_point() and like.labels.dim() == 1:
        dense = Dense(layers)
        if _is_right(dense, task, like, dtype, device):
            widths = batch * sum(layer.inputs + layer.outputs for layer in layers)
            size = sum(layer.size + layer.outputs for layer in layers)
            at_once = int(_CACHE // ((size + widths) * dtype.itemsize))
            return Way(min(_MOST, max(8, at_once)), dense, layers[-1].outputs)
    if _is_fit(task, like, batch, dtype):
        general = General(task, device, dtype)
        if _is_right(general, task, like, dtype, device):
            size = general.size + batch * like.features[:0].numel()
            return Way(min(_MOST, max(1, int(16 * _CACHE // (size * dtype.itemsize)))), general)
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
            batch, sites = _made_up(like, dtype)
            norm = _norm(trial, sites) if dtype is torch.float64 else None
            found = net.gradients(batch.to(device)) if norm is None else net.clipped(batch.to(device), norm)
            out = torch.empty((len(_TRIED), len(params)), dtype=dtype, device=device)
            rows = net.rows(found, out).cpu()
            return all(
                trial.close(row, _expected(trial, task, site, norm))
                for row, site in zip(rows, sites, strict=True)
            )
        except Exception:  # the way does not know the model, in whatever words of torch
            return False


def _made_up(like: Dataset, dtype: torch.dtype) -> tuple[Batch, list[Dataset]]:
    """A padded batch of made-up sites, and their records."""
    sites = [made_up(like, count, seed) for seed, count in enumerate(_TRIED)]
    if like.features.is_floating_point():
        sites = [Dataset(site.features.to(dtype), site.labels, site.patients) for site in sites]
    whole = Stack.of([Dataset(site.features, site.labels) for site in sites], torch.device("cpu"))
    width, pad = max(_TRIED), len(whole.features) - 1
    rows = torch.full((len(_TRIED), width), pad)
    for index, count in enumerate(_TRIED):
        rows[index, :count] = torch.arange(count) + int(whole.rows[index])
    weights = (rows != pad).to(dtype)
    features, labels = whole.features[rows], whole.labels[rows]
    if like.patients is None:
        return Batch(features, labels, weights), sites
    places = torch.nonzero(weights.flatten())[:, 0]
    return Batch(features, labels, weights, places, torch.arange(len(places))), sites


def _norm(trial: Trial, sites: list[Dataset]) -> float:
    lengths = trial.rows(sites[-1].features, sites[-1].labels).norm(dim=1)
    return _NORM_SHARE * float(lengths.median()) or 1.0


def _expected(trial: Trial, task: Task, site: Dataset, norm: float | None) -> Tensor:
    if norm is None:
        return plain_gradient(trial.model, task.loss)(site.features, site.labels)
    with clipped_gradient(trial.model, task.loss, norm) as gradient:
        return gradient(site.features, site.labels, site.patients)
