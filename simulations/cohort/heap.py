"""Memory that is kept by the process, not handed back to the system after every layer and asked for again."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import cache

_TRIM, _MMAP = -1, -3  # glibc's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD
_KEPT = 2**29  # bytes free at the end of the heap
_LARGE = 2**25  # bytes of one tensor, the most that glibc takes


@cache
def keep_memory() -> None:
    """Have glibc keep what is freed: a page that is new to the process costs more than what is computed in it.

    Elsewhere nothing is changed. The peak is as before; what is kept after it is at most _KEPT.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM, _KEPT)
        libc.mallopt(_MMAP, _LARGE)
