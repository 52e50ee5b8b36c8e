"""Turns off what Flower does unasked: telemetry, update checks, installing packages at run time; Ray's, MLflow's.

All are on by default. Flower reads the first when it is imported, so this comes before `import flwr`; the processes
that we start (`flower-superlink`, `flower-supernode`, `flwr`, Ray's) get it in their environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

QUIET: Final[Mapping[str, str]] = MappingProxyType(
    {
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
)


def quiet_flower() -> None:
    """Set `QUIET` for this process and the processes that it starts."""
    os.environ.update(QUIET)
