"""Whose word the size of a model is: the sites' that consented to it, and no file of the operator."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from federation.audit.evidence import Params
from federation.audit.examine import audit
from federation.audit.findings import Findings
from federation.audit.rounds import dimension_of
from federation.plan.plan import parse
from tests.federation.audit.audited import ids
from tests.worlds import text_of

PLAN = parse(text_of())


def file_of(size: int) -> Params:
    return Params({"weights": torch.zeros(size)}, {})


def test_a_file_that_was_made_large_is_believed_in_nothing() -> None:
    """It would excuse that no transcript was kept, as if they had been too large."""
    found = Findings()
    assert dimension_of(file_of(1_000_000), PLAN, 6, found) == 6
    assert [each.id for each in found.sorted()] == ["params-mismatch"]


def test_without_consents_the_file_is_all_that_tells() -> None:
    found = Findings()
    assert dimension_of(file_of(5), PLAN, None, found) == 5
    assert dimension_of(file_of(6), PLAN, 6, found) == 6
    assert dimension_of(None, PLAN, 6, found) == 6
    assert found.sorted() == ()


def test_params_of_another_size_than_sites_consented_to_are_found(run: Path) -> None:
    path = run / "params.safetensors"
    save_file({**load_file(path), "more": torch.zeros(3)}, path)
    found = audit(run)
    assert "params-mismatch" in ids(found, "critical")
    assert any("the sites consented to" in each.detail for each in found.findings)
