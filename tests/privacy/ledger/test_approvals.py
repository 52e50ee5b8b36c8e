"""Two different people approve exactly what they read, for one ledger, once."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest

from privacy.accounting.filters import Budget
from privacy.accounting.units import Limit, Patient
from privacy.errors import MalformedMessage
from privacy.ledger.approvals import Approval, Proposal, Replacement, approve, from_text, is_approved, to_text
from privacy.signing import public_identity
from tests.privacy.ledger.ledgers import ANNA, APPROVERS, BERT, CARL, KEY, NEXT, PEER

RAISE = Proposal(
    "north",
    b"L" * 32,
    Limit("patient", Budget(5.0, 1e-6), Patient(4, 2)),
    "Ethics board, Mar 3: Zürich",
    b"E" * 32,
)
REPLACE = Replacement("north", b"L" * 32, public_identity(KEY), public_identity(NEXT))


@pytest.mark.parametrize("statement", [RAISE, REPLACE])
def test_a_proposal_and_its_approvals_survive_the_file_that_people_read(statement: Any) -> None:
    approvals = (approve(statement, ANNA), approve(statement, BERT))
    for signed in ((), approvals[:1], approvals):
        text = to_text(statement, signed)
        assert from_text(text) == (statement, signed)
        assert is_approved(*from_text(text), APPROVERS) == (len(signed) == 2)
    assert "\\u" not in to_text(RAISE)


def test_a_proposal_without_any_limit_says_so() -> None:
    free = dataclasses.replace(RAISE, limit=Limit("record", Budget(math.inf, 1e-6)))
    assert json.loads(to_text(free))["proposal"]["epsilon"] is None
    assert from_text(to_text(free))[0] == free


def test_two_different_approvers_suffice_and_nothing_else_does() -> None:
    anna, bert, carl, peer = (approve(RAISE, key) for key in (ANNA, BERT, CARL, PEER))
    assert is_approved(RAISE, [anna, bert], APPROVERS)
    assert is_approved(RAISE, [anna, bert, carl], APPROVERS)
    stolen = Approval(bert.key, anna.signature)
    for wrong in (
        [],
        [anna],
        [anna, anna],
        [anna, peer],
        [anna, bert, peer],
        [anna, stolen],
        [anna, bert, bert],
    ):
        assert not is_approved(RAISE, wrong, APPROVERS)
    assert not is_approved(RAISE, [anna, bert], APPROVERS[:1])
    assert not is_approved(RAISE, [anna, bert], ())


@pytest.mark.parametrize(
    "change",
    [
        {"site": "south"},
        {"ledger": b"M" * 32},
        {"after": b"F" * 32},
        {"reason": "Ethics board, Mar 4: Zürich"},
        {"reason": "Ethics board, Mar 3: Zu\u0308rich"},
        {"limit": Limit("record", Budget(5.0, 1e-6), Patient(4, 2))},
        {"limit": Limit("patient", Budget(5.000001, 1e-6), Patient(4, 2))},
        {"limit": Limit("patient", Budget(math.inf, 1e-6), Patient(4, 2))},
        {"limit": Limit("patient", Budget(5.0, 1e-5), Patient(4, 2))},
        {"limit": Limit("patient", Budget(5.0, 1e-6), Patient(3, 2))},
        {"limit": Limit("patient", Budget(5.0, 1e-6), Patient(4, 1))},
    ],
)
def test_an_approval_fits_no_other_proposal(change: dict[str, Any]) -> None:
    approvals = [approve(RAISE, ANNA), approve(RAISE, BERT)]
    assert is_approved(RAISE, approvals, APPROVERS)
    assert not is_approved(dataclasses.replace(RAISE, **change), approvals, APPROVERS)


def test_an_approval_of_a_larger_budget_replaces_no_key() -> None:
    assert not is_approved(REPLACE, [approve(RAISE, ANNA), approve(RAISE, BERT)], APPROVERS)
    changed = dataclasses.replace(REPLACE, new=public_identity(PEER))
    assert not is_approved(changed, [approve(REPLACE, ANNA), approve(REPLACE, BERT)], APPROVERS)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("type", "lower"),
        ("unit", "hospital"),
        ("epsilon", 0),
        ("epsilon", -1),
        ("epsilon", True),
        ("epsilon", "5"),
        ("delta", 0),
        ("delta", 1),
        ("delta", None),
        ("records", 0),
        ("records", 1.5),
        ("sites", True),
        ("reason", None),
        ("reason", "\ud800"),
        ("after", "00"),
        ("more", 1),
    ],
)
def test_what_is_no_proposal_is_malformed(place: str, value: object) -> None:
    content = json.loads(to_text(RAISE))
    content["proposal"][place] = value
    with pytest.raises(MalformedMessage, match="this is no proposal"):
        from_text(json.dumps(content))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"proposal":{},"approvals":[]}', "[" * 100_000, '{"proposal":' * 10_000]
)
def test_other_files_are_malformed(text: str) -> None:
    with pytest.raises(MalformedMessage):
        from_text(text)
    with pytest.raises(MalformedMessage):
        from_text(to_text(RAISE)[:-5])


def test_an_approval_with_a_key_that_is_none_is_malformed() -> None:
    bad = Approval(bytes(32), bytes(64))
    with pytest.raises(MalformedMessage):
        from_text(to_text(RAISE, [bad]))
