"""The tests of a module lie where the module lies, so that both are found by the same path."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from tests import ROOT

PACKAGES = ("privacy", "federation", "clients", "server", "simulations")
MODULES: dict[str, set[Path]] = defaultdict(set)
for package in PACKAGES:
    for module in (ROOT / package).rglob("*.py"):
        MODULES[module.stem].add(module.parent.relative_to(ROOT))
TESTS = [
    path.relative_to(ROOT / "tests")
    for package in PACKAGES
    for path in (ROOT / "tests" / package).rglob("test_*.py")
]


@pytest.mark.parametrize("test", TESTS, ids=str)
def test_the_tests_of_a_module_are_in_its_room(test: Path) -> None:
    assert (ROOT / test.parent).is_dir()
    rooms = MODULES[test.stem.removeprefix("test_")]
    assert not rooms or test.parent in rooms
