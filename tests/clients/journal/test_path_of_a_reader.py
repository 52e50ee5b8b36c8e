"""How many files a reader opens who follows one reservation from the journal to the disk."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import privacy
from tests.clients.journal.journals import opened, reserve

HOUSE = Path(privacy.__file__).parents[1]
PACKAGES = ("privacy", "federation", "clients", "server", "simulations")


def visited(call: Callable[[], object]) -> set[str]:
    """Our modules whose code runs in a call."""
    found: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.is_relative_to(HOUSE):
            found.add(str(file.relative_to(HOUSE)))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(before)
    return {name for name in found if name.startswith(PACKAGES)}


def test_a_reservation_is_read_in_fourteen_files(tmp_path: Path) -> None:
    journal = opened(tmp_path / "journal.sqlite")
    reserve(journal, "warm")
    found = visited(lambda: reserve(journal, "next"))
    journal.close()
    assert found <= {
        "clients/journal/journal.py",
        "federation/ledger/store.py",
        "privacy/ledger/chain.py",
        "privacy/ledger/limits.py",
        "privacy/ledger/state.py",
        "privacy/accounting/events.py",
        "privacy/accounting/filters.py",
        "privacy/accounting/merged.py",
        "privacy/accounting/pld.py",
        "privacy/accounting/units.py",
        "privacy/accounting/unsampled.py",
        "privacy/canonical.py",
        "privacy/signing.py",
        "privacy/wire.py",
    }
    assert {"clients/journal/journal.py", "privacy/accounting/pld.py"} <= found  # the control
