"""Keyed fingerprints of data: without the key, nobody can find data from them by trying."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from hashlib import sha256

import torch

from federation.model.task import Dataset


def fingerprint(key: bytes, parts: Iterable[bytes]) -> str:
    """One HMAC-SHA256 over parts; each is preceded by its length, so that no two lists of parts look alike."""
    state = hmac.new(key, digestmod=sha256)
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.hexdigest()


def parts_of(data: Dataset | None) -> Iterator[bytes]:
    """All that a run sees of a site's data: form and content of each tensor, empty where there is none."""
    for tensor in (data.features, data.labels, data.patients) if data is not None else ():
        if tensor is None:
            yield from (b"", b"")
        else:
            yield f"{tensor.dtype} {tuple(tensor.shape)}".encode()
            yield tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
