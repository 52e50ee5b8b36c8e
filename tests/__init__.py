"""Everything that is claimed, as tests. `ROOT` is the project's folder."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
