"""One ledger by itself: what is noted, what is refused, and which budgets held at every moment."""

from __future__ import annotations

from typing import Any

import pytest

from federation.audit.evidence import Ledger
from federation.audit.findings import Findings
from federation.audit.ledgers.ledger import replayed
from privacy.accounting.filters import Budget
from privacy.accounting.units import Limit
from privacy.ledger.approvals import approve
from privacy.ledger.chain import append, rotation
from tests.privacy.ledger.ledgers import ANNA, BERT, FILTER, LIMIT, NEXT, Book, budget_body, genesis, reserved
from tests.privacy.ledger.ledgers import KEY as OWN


def found_in(book: Book) -> list[tuple[str, str | None]]:
    found = Findings()
    replayed("north", Ledger("north.jsonl", tuple(book.entries)), found)
    return [(finding.id, finding.site) for finding in found.sorted()]


def test_an_honest_ledger_gives_nothing_to_note() -> None:
    assert found_in(reserved()) == []


@pytest.mark.parametrize("name", ["does not verify", "is not signed", "anything"])
def test_a_finding_is_chosen_by_what_is_wrong_not_by_words_that_the_ledger_brings(name: str) -> None:
    book = reserved()
    body = {"run": "run", "round": 1, "question": "q"}
    told = Book(book.entries[0])
    told.entries = [*book.entries, append(book.entries[-1], "begin", {**body, name: 1}, OWN)]
    assert found_in(told) == [("ledger-history", "north")]
    told.entries[-1] = append(book.entries[-1], "begin", body, NEXT)
    assert found_in(told) == [("ledger-broken", "north")]


@pytest.mark.parametrize("signers", [(ANNA, BERT), (ANNA,), (ANNA, ANNA), (OWN, NEXT)])
def test_a_raise_needs_two_approvers_and_is_noted_when_it_has_them(signers: tuple[object, ...]) -> None:
    book = reserved()
    proposal = book.account.proposal(Limit("record", Budget(9.0, 1e-5)), "a second study")
    approvals = [approve(proposal, key).to_json() for key in signers]  # type: ignore[arg-type]
    body = {**budget_body(proposal.limit, FILTER), "reason": proposal.reason, "approvals": approvals}
    if signers == (ANNA, BERT):
        book.add("budget", **body)
        assert found_in(book) == [("budget-raised", "north")]
        return
    book.entries.append(append(book.entries[-1], "budget", body, OWN))
    assert found_in(book) == [("budget-raise-unapproved", "north")]


@pytest.mark.parametrize("said_by", ["an earlier release", "the first entry"])
def test_a_release_that_no_longer_says_who_withdrew_is_found(said_by: str) -> None:
    """Of a ledger of an earlier version nobody asks; once it was said, it has to be."""
    said, body = {"withdrawn": "ee" * 32}, {"run": "run", "commitment": "ab" * 32}
    book = Book(genesis(withdrawals=True) if said_by == "the first entry" else None)
    book.budget()
    book.reserve()
    for number in (1, 2):
        book.begin(number)
        book.add("release", round=number, **body, **said)
    assert found_in(book) == []
    book.begin(3)
    book.entries.append(append(book.entries[-1], "release", {**body, "round": 3}, OWN))
    assert found_in(book) == [("ledger-history", "north")]


def test_a_rotated_key_is_noted() -> None:
    book = reserved()
    body: dict[str, Any] = rotation(book.account.tip, NEXT)
    book.add("rotate", **body)
    assert found_in(book) == [("key-rotated", "north")]


def test_a_budget_is_recounted_when_it_was_charged_and_not_only_at_the_end() -> None:
    """What a close returns afterwards was over the limit all the same."""
    book = Book()
    book.budget(Limit("record", Budget(1.0, LIMIT.budget.delta)))
    book.reserve()  # epsilon 1.99
    book.add("close", run="run", params="00" * 32)
    assert found_in(book) == [("budget-exceeded", "north")]


def test_what_fits_the_budget_is_not_over_it() -> None:
    book = Book()
    book.budget(Limit("record", Budget(2.0, LIMIT.budget.delta)))
    book.reserve()
    assert found_in(book) == []


def unblinded(book: Book, number: int) -> None:
    """Let a round be released as earlier versions wrote it."""
    book.begin(number)
    book.add("release", run="run", round=number, payload="ab" * 32)


def test_releases_of_an_earlier_version_are_warned_of_once_a_ledger() -> None:
    book = reserved()
    for number in (1, 2):
        unblinded(book, number)
    found = Findings()
    replayed("north", Ledger("north.jsonl", tuple(book.entries)), found)
    (finding,) = found.sorted()
    assert (finding.id, finding.site, finding.severity) == ("release-unblinded", "north", "warning")
    assert "wrote 2 releases" in finding.detail
    assert "do not hand this ledger on" in finding.detail


def test_a_ledger_of_blinded_releases_is_not_warned_of() -> None:
    book = reserved()
    book.begin(1)
    book.release(1)
    assert found_in(book) == []
