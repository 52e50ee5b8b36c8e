"""Run folders to be tracked: of a simulation, and of real sites."""

from __future__ import annotations

from pathlib import Path

from server.serve import serve
from simulations.simulate import simulate
from tests.server.test_serve import carrier, hospitals
from tests.worlds import text_of, write_sites


def simulated(folder: Path, rounds: int = 3) -> Path:
    """A run that was simulated, in `folder`/run."""
    plan = folder / "plan.toml"
    plan.write_text(text_of(rounds=rounds))
    simulate(plan, write_sites(folder / "data"), folder / "run", baseline=False)
    return folder / "run"


def real(folder: Path) -> Path:
    """A run of three sites with keys, site files and ledgers of their own, in `folder`/run."""
    plan = folder / "plan.toml"
    plan.write_text(text_of())
    with hospitals(folder / "sites") as sites:
        serve(plan, folder / "sites" / "roster.toml", folder / "run", carrier(sites))
    return folder / "run"
