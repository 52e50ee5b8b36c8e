"""A run that kept transcripts, shared by the tests of this room."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.federation.sums.kept import with_a_loss


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sites, three rounds and an evaluation; birch is lost in round 2. To be read, not to be changed."""
    return with_a_loss(tmp_path_factory.mktemp("kept"))
