"""What a site's ledger tells of the time before this process, for its board."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clients.board.board import Board
from clients.board.snapshot import Pool, RunSeen
from federation.ledger.export import load_entries
from federation.ledger.statement import statement


def remind(board: Board, journal: Path) -> None:
    """Tell the board what the ledger at `journal` holds, if there is one. LedgerCorrupt if it does not verify.

    The file is only read; it may be in use.
    """
    if not journal.exists():
        return
    told = statement(load_entries(journal, may_be_backup=False))
    pools = [
        Pool(unit, known["epsilon"], known["epsilon_max"], known["delta"])
        for unit, known in told["units"].items()
    ]
    runs = [_run(known) for known in told["runs"] if "/" not in known["run"]]
    board.begins_with(pools, runs, told["refusals"])


def _run(known: Mapping[str, Any]) -> RunSeen:
    state = "left" if known["left"] else "finished" if known["closed"] else "open"
    return RunSeen(
        run=known["run"],
        plan=known["plan"],
        unit=known["unit"],
        rounds=known["rounds"],
        round=known["rounds_begun"],
        state=state,
        epsilon=known.get("together", known)["of_its_rounds"]["epsilon"],
    )
