"""One nursery for all stories of a worker: what it imports is imported once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stories.real.party import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Starts processes, and ends them whatever happens."""
    with Nursery() as running:
        yield running
