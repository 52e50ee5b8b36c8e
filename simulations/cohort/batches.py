"""The data of some sites as one tensor, and their Poisson batches as padded rows of it.

Batches are drawn from the sites' own streams, byte for byte as `clients.training.local.poisson_rows` draws them:
with the same streams every site trains on the same records as it would by itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from federation.model.task import Dataset
from privacy.mechanism.noise import Stream
from privacy.mechanism.repeatable import Repeatables

_WORDS = 2**20  # that are drawn at once, unless one step takes more
_WIDTHS = 24  # that are tried
_EXTRA = 8  # rows in whose time a site's weights are copied for a further block
_ANY = 512  # and in whose time the copying begins and ends
HELD = 2**28  # bytes of stacked data that are kept from round to round

_Places = NDArray[np.int64]
_Floats = NDArray[Any]  # float32 or float64


@dataclass(frozen=True)
class Stack:
    """The records of k sites, one site after the other, and a row of zeros at the end for what is padded.

    `units` are what a draw decides about, records or patients: how many each site has, and the unit of each row.
    """

    features: Tensor
    labels: Tensor
    rows: _Places  # (k + 1,) where each site begins
    units: _Places  # (k,)
    unit_of: _Places | None  # (n,) over all sites; None where every record is one
    facts: dict[str, Any] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )  # worked out once

    @classmethod
    def of(cls, parts: Sequence[Dataset], device: torch.device) -> Stack:
        """Of checked data of one shape; with patients where the data have them."""
        features = torch.cat([part.features for part in parts] + [torch.zeros_like(_one(parts[0].features))])
        labels = torch.cat([part.labels for part in parts] + [torch.zeros_like(_one(parts[0].labels))])
        rows = np.cumsum([0, *(len(part) for part in parts)])
        if parts[0].patients is None:
            return cls(features.to(device), labels.to(device), rows, np.diff(rows), None)
        found = [_numbered(part) for part in parts]
        units = np.array([count for count, _ in found], np.int64)
        starts = np.cumsum(units) - units
        unit_of = np.concatenate([start + each for start, (_, each) in zip(starts, found, strict=True)])
        return cls(features.to(device), labels.to(device), rows, units, unit_of)

    @property
    def bytes(self) -> int:
        """What it takes to hold it, and its features once more, in the order of a way to train."""
        return sum(each.numel() * each.element_size() for each in (self.features, self.features, self.labels))

    @cached_property
    def site_of(self) -> _Places:
        """The site of each row, (n,) numbers from 0."""
        return np.repeat(np.arange(len(self.units)), np.diff(self.rows))

    @cached_property
    def labels_within(self) -> tuple[int, int]:
        """The least and the greatest label."""
        labels = self.labels.reshape(-1)
        return (int(labels.min()), int(labels.max())) if len(labels) else (0, 0)


class Drawn(NamedTuple):
    """The batches of k sites in one step: the rows (m,) of the stack, in order, and the site of each.

    Padded, they are blocks of `width` rows: the first k are the sites' own, and where a batch is wider, what is
    left of it takes further blocks, whose sites are `owners` (e,). So one large site among many small ones does not
    make all batches as large as its own. `padded` are the rows of all blocks, with the stack's last for what is
    padded, and `weights` what each counts, 0 for those; `places` (m,) are where the rows are among them.
    """

    rows: _Places
    sites: _Places
    places: _Places
    padded: _Places
    weights: _Floats
    counts: _Places  # (k,)
    width: int
    owners: _Places
    units: _Places | None  # (m,) of the patients, over all sites

    def of(self, site: int, stack: Stack) -> Tensor:
        """The rows of one site, counted from its own first record."""
        end = int(self.counts[: site + 1].sum())
        own = self.rows[end - int(self.counts[site]) : end]
        return torch.from_numpy(own - stack.rows[site])


class Shelf:
    """Stacked data that are kept: those used last, and not more than HELD bytes of them."""

    def __init__(self, data: Mapping[str, Dataset], device: torch.device, *, patients: bool) -> None:
        self._data, self._device, self._patients = data, device, patients
        self._kept: OrderedDict[tuple[str, ...], Stack] = OrderedDict()
        self._bytes = 0

    def stack(self, names: tuple[str, ...]) -> Stack:
        """The data of these sites."""
        found = self._kept.pop(names, None)
        if found is None:
            found = Stack.of([self._read(name) for name in names], self._device)
            self._bytes += found.bytes
        self._kept[names] = found
        while len(self._kept) > 1 and self._bytes > HELD:
            self._bytes -= self._kept.popitem(last=False)[1].bytes
        return found

    def like(self, name: str) -> Dataset:
        """No record of a site: for its shapes."""
        return self._read(name).at(torch.arange(0))

    def _read(self, name: str) -> Dataset:
        data = self._data[name]
        return data if self._patients else Dataset(data.features, data.labels)


def drawn(
    stack: Stack, streams: Sequence[Stream] | Stream, rate: float, steps: int, weights: _Floats
) -> Iterator[Drawn]:
    """The batches of each step; a site's records weigh what `weights` (k,) says.

    From one stream for all, the sites' words come one site after the other.
    """
    at_once = max(1, min(steps, _WORDS // max(1, int(stack.units.sum()))))
    for start in range(0, steps, at_once):
        count = min(at_once, steps - start)
        yield from _batches(stack, _hits(stack, streams, rate, count), weights)


def _hits(stack: Stack, streams: Sequence[Stream] | Stream, rate: float, steps: int) -> NDArray[np.bool_]:
    """Which rows are drawn in which step, (steps, n): as `poisson_sample` decides it, word by word."""
    units = stack.units
    if rate == 1:
        return np.ones((steps, int(stack.rows[-1])), np.bool_)
    counts = (steps * units).tolist()
    if isinstance(streams, Stream):
        words = streams.words(sum(counts))
    elif isinstance(streams, Repeatables):
        words = streams.words(counts)
    else:
        each = [stream.take(8 * count) for stream, count in zip(streams, counts, strict=True)]
        words = np.frombuffer(b"".join(each), "<u8")
    chosen = words < np.uint64(int(rate * 2.0**64))
    if len(units) and (units == units[0]).all():
        hits = chosen.reshape(len(units), steps, -1).transpose(1, 0, 2).reshape(steps, -1)
    else:
        hits = chosen[_places(units, steps)]
    return hits if stack.unit_of is None else hits[:, stack.unit_of]


def _places(units: _Places, steps: int) -> _Places:
    """Where the word of each step and unit is, (steps, units): a site's words come step by step."""
    starts = np.repeat(np.cumsum(units) - units, units)
    own = np.repeat(units, units)
    return steps * starts + np.arange(len(starts)) - starts + np.arange(steps)[:, None] * own


def _batches(stack: Stack, hits: NDArray[np.bool_], weights: _Floats) -> Iterator[Drawn]:
    """Of all steps at once: a batch is that of a step and a site, in this order."""
    shape = len(hits), len(stack.units)
    steps, rows = np.divmod(np.flatnonzero(hits), max(1, hits.shape[1]))
    sites = stack.site_of[rows]
    batches = steps * shape[1] + sites
    counts = np.bincount(batches, minlength=shape[0] * shape[1])
    starts = np.cumsum(counts) - counts
    slots = np.arange(len(rows)) - starts[batches]
    width = _width(counts)
    further = (np.maximum(counts - 1, 0) // width).reshape(shape)
    blocks = shape[1] + further.sum(axis=1)
    length = int(blocks.max()) * width  # of a step
    places = steps * length + sites * width + slots
    if length > shape[1] * width:
        ahead = (np.cumsum(further, axis=1) - further - 1).reshape(
            -1
        )  # the block before the first further one
        beyond = np.flatnonzero(slots >= width)
        block, slot = np.divmod(slots[beyond], width)
        places[beyond] = steps[beyond] * length + (shape[1] + ahead[batches[beyond]] + block) * width + slot
    padded = np.full(shape[0] * length, len(stack.features) - 1)
    padded[places] = rows
    weighed = np.zeros(len(padded), weights.dtype)
    weighed[places] = weights[sites]
    edges = [*starts[:: shape[1]].tolist(), len(rows)]
    for step, count in enumerate(blocks.tolist()):
        part, whole = slice(edges[step], edges[step + 1]), slice(step * length, step * length + count * width)
        own = counts[step * shape[1] : (step + 1) * shape[1]]
        owners = np.repeat(np.arange(shape[1]), further[step]) if count > shape[1] else further[0, :0]
        units = None if stack.unit_of is None else stack.unit_of[rows[part]]
        where = places[part] - step * length
        yield Drawn(rows[part], sites[part], where, padded[whole], weighed[whole], own, width, owners, units)


def _width(counts: _Places) -> int:
    """The width for which the least is computed: rows of all blocks, and what further blocks cost beside theirs."""
    most = int(counts.max(initial=1)) or 1
    tried = np.unique(np.linspace(1, most, min(most, _WIDTHS)).round().astype(np.int64))
    sizes = np.bincount(counts)  # how many batches of each size
    further = (np.maximum(np.arange(len(sizes)) - 1, 0) // tried[:, None]) @ sizes
    return int(tried[np.argmin((len(counts) + further) * tried + _EXTRA * further + _ANY * (further > 0))])


def _numbered(part: Dataset) -> tuple[int, _Places]:
    ids, places = torch.unique(part.patients, return_inverse=True)
    return len(ids), places.numpy()


def _one(like: Tensor) -> Tensor:
    return like.new_empty((1, *like.shape[1:]))
