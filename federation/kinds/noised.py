"""One site's vector on the grid, with its noise, as ring integers: block by block.

A model can have a hundred million parameters. What is needed beside the vector that comes in and the one that goes
out is a few blocks: no copy of either in float64 or int64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from privacy.secagg.ring import lane_type, reduce

if TYPE_CHECKING:
    from torch import Tensor

    from privacy.mechanism.encoding import Codec, RingVector, Words

BLOCK = 2**16  # numbers: what becomes of so many stays in a core's cache

Integers = NDArray[np.int64]
Blocks = Iterator[Integers]


def noised(codec: Codec, bounded: Tensor, radius: float, noises: Sequence[Blocks]) -> RingVector:
    """A clipped vector (d,), on the grid and not longer than `radius` whatever the data are, and noise (d,) on it.

    In the narrowest words that hold a residue. Box and ball are public and convex: to project moves no two inputs
    apart.
    """
    import torch

    from privacy.mechanism.clipping import into_box, shortened

    box = codec.step * codec.limit

    def boxed(part: Tensor) -> Tensor:
        low, high = torch.aminmax(part)
        return part if -box <= low and high <= box else into_box(part, box)  # NaN fails a comparison

    factor = shortened(lambda: map(boxed, torch.split(bounded, BLOCK)), radius)

    def encoded(start: int) -> Integers:
        inside = boxed(bounded[start : start + BLOCK])
        found: Integers = codec.encode_rows((inside if factor == 1 else inside * factor)[None])[0]
        return found

    return _on_ring(codec, len(bounded), encoded, [_cut(noise, len(bounded)) for noise in noises])


def rounded(codec: Codec, delta: Tensor, weight: float, words: Callable[[int], Words]) -> RingVector:
    """A vector (d,) times its weight, rounded by coins: `words` gives the next so many of them."""

    def encoded(start: int) -> Integers:
        part = delta[start : start + BLOCK]
        found: Integers = codec.encode_rows(
            (part if weight == 1 else part * weight)[None], words(len(part))[None]
        )[0]
        return found

    return _on_ring(codec, len(delta), encoded, [])


def _on_ring(
    codec: Codec, length: int, encoded: Callable[[int], Integers], noises: Sequence[Blocks]
) -> RingVector:
    vector, ring = np.empty(length, lane_type(codec.ring_bits)), codec.ring_bits
    for start in range(0, length, BLOCK):
        integers = encoded(start)
        for noise in noises:
            integers += next(noise)
        part = vector[start : start + BLOCK]
        np.copyto(part, integers, casting="unsafe")  # modulo a power of 2^ring_bits
        reduce(part, ring)
    return vector


def _cut(noise: Blocks, length: int) -> Blocks:
    """The same numbers, in blocks of BLOCK."""
    kept, have = list[Integers](), 0
    for start in range(0, length, BLOCK):
        size = min(BLOCK, length - start)
        while have < size:
            kept.append(next(noise))
            have += len(kept[-1])
        whole = kept[0] if len(kept) == 1 else np.concatenate(kept)
        yield whole[:size]
        kept, have = ([whole[size:]], have - size) if have > size else ([], 0)
