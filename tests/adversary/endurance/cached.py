"""Answers of pure functions, remembered while a cohort of a hundred plays in one process.

What takes a round's time is what a hundred sites would do side by side: each verifies and decodes what the others
verify and decode, too. The functions below follow from their arguments alone, so a remembered answer is the answer.
Nothing of a site's state is shared, and whatever is remembered is forgotten after each round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import pytest

from privacy import signing
from privacy.secagg import client, kem, keys, masks, statements
from privacy.secagg.messages import Adverts

MANY = 1 << 18
_PURE = [(signing, "_verify"), (kem, "_loaded"), (statements, "part_digest"), (client, "is_genuine")]


@contextmanager
def remembered() -> Iterator[Callable[[], None]]:
    """Patches the functions for a while; gives what forgets all answers."""
    caches: list[Any] = []

    def kept(function: Callable[..., Any]) -> Any:
        caches.append(lru_cache(MANY)(getattr(function, "__wrapped__", function)))
        return caches[-1]

    def forget() -> None:
        for cache in caches:
            cache.cache_clear()

    one_slot = kept(lambda slot: slot.to_bytes(2, "big"))
    written = keys.slots_bytes

    def slots_bytes(slots: Iterable[int]) -> bytes:
        return one_slot(slots[0]) if isinstance(slots, list) and len(slots) == 1 else written(slots)

    with pytest.MonkeyPatch.context() as patch:
        for module in (keys, masks, statements):
            patch.setattr(module, "slots_bytes", slots_bytes)
        for module, name in _PURE:
            patch.setattr(module, name, kept(getattr(module, name)))
        decode = Adverts.from_bytes.__func__  # type: ignore[attr-defined]  # all sites are sent the same bytes
        patch.setattr(Adverts, "from_bytes", kept(lambda data, levels=0: decode(Adverts, data, levels)))
        try:
            yield forget
        finally:
            forget()
