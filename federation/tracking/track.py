"""`--mlflow` and `--tensorboard`: a run that is over, in the formats of the registries that people use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from federation.tracking import events, registry
from federation.tracking.library import require
from federation.tracking.told import told


@dataclass(frozen=True)
class Registries:
    """Where runs are written to: the folder of each, or None."""

    mlflow: Path | None = None
    tensorboard: Path | None = None

    def __bool__(self) -> bool:
        return self.mlflow is not None or self.tensorboard is not None

    def require(self) -> None:
        """InputError unless the libraries are here: before a run is begun, not after it."""
        if self.mlflow is not None:
            require(registry.LIBRARY)
        if self.tensorboard is not None:
            require(events.LIBRARY)

    def track(self, run: Path) -> dict[str, str]:
        """Write a run folder into each: the run's id in MLflow and the store's address, the path of the event file.

        Errors as of `told`, and UnusableFile for a folder that cannot be used.
        """
        if not self:
            return {}
        self.require()
        tracked, found = told(run), dict[str, str]()
        if self.mlflow is not None:
            found["mlflow"] = registry.write_run(tracked, self.mlflow)
            found["mlflow_store"] = registry.address_of(self.mlflow)
        if self.tensorboard is not None:
            found["tensorboard"] = str(events.write_events(tracked, self.tensorboard))
        return found
