"""The folders of folds: by number, and nothing that is only called like one."""

from __future__ import annotations

from pathlib import Path

from federation.round.plays import fold_name, folds_in


def test_folders_of_folds_are_found_in_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        (tmp_path / fold_name(number)).mkdir()
    for other in ("fold-", "fold-0", "fold-x", "fold-01", "fold-1.bak", "fold-\u0662"):
        (tmp_path / other).mkdir()
    (tmp_path / "fold-3").touch()
    assert [path.name for path in folds_in(tmp_path)] == ["fold-1", "fold-2", "fold-10"]
    assert folds_in(tmp_path / "none") == []
