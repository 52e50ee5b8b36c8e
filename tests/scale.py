"""How much a test does of what is long by nature: a hundred times as much in `make soak` and `make power`.

FEDERATION_SCALE multiplies the number of games, kills and hostile steps of `make test`. The code stays the same,
and so does every stated false-alarm rate: it holds for any number.
"""

from __future__ import annotations

import os

SCALE = float(os.environ.get("FEDERATION_SCALE", "1"))


def scaled(number: int) -> int:
    """So many in `make test`; a hundred times as many with FEDERATION_SCALE=100."""
    return max(1, round(number * SCALE))
