"""The engines that carry a run, by the names that reports have.

"flower-ray" is what `--engine flower --ray` stands for.
"""

from __future__ import annotations

from typing import Final

ENGINES: Final = ("vectorized", "protocol", "flower", "flower-ray")
ADDS_UP: Final = frozenset({"vectorized", "flower-ray"})
"""Those that add up the ring integers of simulated sites, with neither messages between parties nor masks."""


def option(engine: str) -> str:
    """What a command line says for an engine."""
    return "--engine flower --ray" if engine == "flower-ray" else f"--engine {engine}"
