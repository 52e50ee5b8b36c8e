"""Ledgers that a coordinator remembers from one run to the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.errors import CheckpointError
from federation.round.messages import MAX_LEDGERS
from server.memory.ledgers import LedgerMemory
from tests.server.memory.test_heads import OTHER, A, B, head, tag


def test_the_newest_head_of_each_ledger_outlives_the_process(tmp_path: Path) -> None:
    memory = LedgerMemory.beside(tmp_path / "coordinator.key")
    assert memory.heads() == ()
    memory.remember([head(A, 3), head(B, 1), head(A, 5)])
    memory.remember([head(A, 4), head(A, 0, OTHER)])
    again = LedgerMemory(tmp_path / "coordinator.ledgers")
    assert again.heads() == (head(A, 5), head(A, 0, OTHER), head(B, 1))
    before = again.path.read_bytes()
    again.remember([head(A, 5)])
    assert again.path.read_bytes() == before


def test_no_number_of_new_ledgers_pushes_out_what_is_known(tmp_path: Path) -> None:
    memory = LedgerMemory(tmp_path / "coordinator.ledgers")
    memory.remember([head(A, 7, tag(9999))])
    for number in range(3 * MAX_LEDGERS):
        memory.remember([head(A, 1, tag(number))])
    assert len(memory.heads()) == MAX_LEDGERS
    assert head(A, 7, tag(9999)) in memory.heads()


@pytest.mark.parametrize("content", ["{", "[1]", '{"a": 1}', "null"])
def test_a_file_that_cannot_be_read_is_no_empty_one(content: str, tmp_path: Path) -> None:
    memory = LedgerMemory(tmp_path / "coordinator.ledgers")
    memory.path.write_text(content)
    with pytest.raises(CheckpointError, match="are remembered, cannot be read; put its newest copy back"):
        memory.heads()
