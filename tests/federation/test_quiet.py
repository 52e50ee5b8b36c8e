"""Flower does not phone home."""

from __future__ import annotations

import os
import subprocess
import sys

from tests import ROOT


def test_flower_reads_our_switches_when_the_simulation_is_imported_first() -> None:
    program = (
        "import simulations.flower, flwr.supercore.telemetry as t, os\n"
        "print(t.FLWR_TELEMETRY_ENABLED, os.environ['FLWR_DISABLE_UPDATE_CHECK'],"
        " os.environ['FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION'])\n"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FLWR_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**clean, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.split() == ["0", "1", "1"]
