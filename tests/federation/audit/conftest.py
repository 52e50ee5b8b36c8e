"""Finished runs that the tests of the audit share: played once, then copied by whoever falsifies one."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest

from tests.federation.audit.audited import EVALUATED, finished


@pytest.fixture(scope="session")
def protocol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that every message and mask went through."""
    return finished(tmp_path_factory.mktemp("protocol"), "protocol")


@pytest.fixture
def run(protocol: Path, tmp_path: Path) -> Path:
    """The same, to be falsified."""
    return copytree(protocol, tmp_path / "run")


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short one that published an evaluation."""
    return finished(tmp_path_factory.mktemp("evaluated"), "protocol", EVALUATED)


@pytest.fixture
def paid(evaluated: Path, tmp_path: Path) -> Path:
    """The same, to be falsified."""
    return copytree(evaluated, tmp_path / "run")
