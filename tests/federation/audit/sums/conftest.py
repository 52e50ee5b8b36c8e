"""Runs that kept transcripts, to be falsified."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest

from tests.federation.sums.kept import with_a_loss


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sites, three rounds and an evaluation; birch is lost in round 2. To be read, not to be changed."""
    return with_a_loss(tmp_path_factory.mktemp("kept"))


@pytest.fixture
def run(kept: Path, tmp_path: Path) -> Path:
    """The same, to be falsified."""
    return copytree(kept, tmp_path / "run")
