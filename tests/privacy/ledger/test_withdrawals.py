"""What a release says of those who withdrew: made again from its definition, and due once it was said."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import pytest

from privacy.errors import LedgerCorrupt
from privacy.ledger.chain import Genesis
from privacy.ledger.state import fold
from privacy.ledger.withdrawals import commitment, mark, salt
from tests.privacy.ledger.ledgers import GENESIS, Book, genesis, reserved

SECRET, PREVIOUS = bytes(range(32)), bytes([7]) * 32
SAID = {"withdrawn": "ee" * 32}


def by_hand(marks: list[bytes]) -> str:
    """RFC 2104, spelled out, and SHA-256 over parts, each after its length."""

    def keyed(label: str, content: bytes) -> bytes:
        inner, outer = (bytes(byte ^ pad for byte in SECRET.ljust(64, b"\0")) for pad in (0x36, 0x5C))
        return hashlib.sha256(
            outer + hashlib.sha256(inner + label.encode() + b"\0" + content).digest()
        ).digest()

    salted = keyed("privacy/withdrawn/salt/1", PREVIOUS)
    people = [keyed("privacy/withdrawn/person/1", person) for person in marks]
    parts = [b"privacy/withdrawn/1", salted, *people]
    return hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).hexdigest()


@pytest.mark.parametrize("people", [[], [b"\1" * 8], [b"\1" * 8, b"\2" * 8]], ids=len)
def test_a_commitment_is_that_of_its_definition(people: list[bytes]) -> None:
    marks = [mark(SECRET, person) for person in people]
    assert commitment(salt(SECRET, PREVIOUS), marks).hex() == by_hand(people)


def test_a_commitment_has_a_vector() -> None:
    """Written down once: ledgers that commit by it are kept for years."""
    one = commitment(salt(SECRET, PREVIOUS), [mark(SECRET, bytes(8))])
    assert one.hex() == "04e78aacdcb6dbaa95582456318ab606f62c240324145960ba312b3eef23b0b6"


def test_every_entry_has_a_salt_of_its_own_and_no_guess_is_confirmed_without_the_secret() -> None:
    previous = [hmac.digest(b"entry", bytes([number]), "sha256") for number in range(64)]
    said = {commitment(salt(SECRET, before), []) for before in previous}
    assert len(said) == 64, "the empty list says another thing in every entry"
    other = bytes(32)
    guesses = {commitment(salt(other, before), []) for before in previous} | {
        commitment(before, []) for before in previous
    }
    assert not said & guesses


def test_the_order_and_the_number_of_people_count() -> None:
    salted, marks = salt(SECRET, PREVIOUS), [mark(SECRET, bytes([number] * 8)) for number in range(3)]
    lists = [[], marks[:1], marks[:2], marks, marks[::-1], [b"".join(marks)]]
    assert len({commitment(salted, each) for each in lists}) == len(lists)


# Which release has to say it.


def released(book: Book, number: int, **said: str) -> None:
    book.begin(number)
    book.add("release", run="run", round=number, commitment="ab" * 32, **said)


def test_an_older_ledger_says_nothing_and_may_begin_to() -> None:
    book = reserved()
    released(book, 1)
    assert not book.account.withdrawn.is_due
    released(book, 2, **SAID)
    assert book.account.withdrawn.is_due
    assert book.account.withdrawn.last == book.entries[-1]
    assert fold(book.entries).withdrawn.last == book.entries[-1]


def test_a_ledger_that_said_it_says_it_for_ever() -> None:
    book = reserved()
    released(book, 1, **SAID)
    with pytest.raises(LedgerCorrupt, match=r"\(release\) does not say who withdrew, and those before it do"):
        released(book, 2)


def test_a_ledger_whose_genesis_says_so_says_it_from_the_first_release_on() -> None:
    first = Genesis(**{**vars(GENESIS), "withdrawals": True})
    assert first.to_json()["withdrawals"] is True
    book = Book(genesis(withdrawals=True))
    book.budget()
    book.reserve()
    with pytest.raises(LedgerCorrupt, match="does not say who withdrew"):
        released(book, 1)


@pytest.mark.parametrize("said", ["", "ee" * 31, "ee" * 33, "EE" * 32, 7, None, ["ee" * 32]], ids=repr)
def test_what_it_says_has_one_form(said: Any) -> None:
    book = reserved()
    with pytest.raises(LedgerCorrupt, match="release"):
        released(book, 1, withdrawn=said)


@pytest.mark.parametrize("kind", ["begin", "mask", "reveal"])
def test_no_other_entry_says_it(kind: str) -> None:
    book, bodies = (
        reserved(),
        {"begin": {"question": "q"}, "mask": {"attempt": 1}, "reveal": {"survivors": "s"}},
    )
    if kind != "begin":
        released(book, 1)
    with pytest.raises(LedgerCorrupt):
        book.add(kind, run="run", round=1, **bodies[kind], **SAID)  # type: ignore[arg-type]


@pytest.mark.parametrize("flag", [False, None, 1, "yes"])
def test_a_genesis_that_says_it_otherwise_is_none(flag: Any) -> None:
    """False would be a second way to write what earlier ledgers leave out."""
    with pytest.raises(LedgerCorrupt):
        Book(genesis(withdrawals=flag))


def test_earlier_genesis_entries_keep_their_form() -> None:
    assert "withdrawals" not in GENESIS.to_json()


MUTANTS: list[Callable[[str], str]] = [lambda said: said[:-1] + "0", lambda said: "0" + said[1:]]


@pytest.mark.parametrize("mutant", MUTANTS, ids=["last", "first"])
def test_an_edited_one_breaks_the_chain(mutant: Callable[[str], str]) -> None:
    book = reserved()
    released(book, 1, **SAID)
    entry = book.entries[-1]
    edited = {**entry.body, "withdrawn": mutant(str(entry.body["withdrawn"]))}
    with pytest.raises(LedgerCorrupt, match="does not verify"):
        fold(
            [
                *book.entries[:-1],
                type(entry)(entry.seq, entry.kind, edited, entry.previous, entry.hash, entry.signature),
            ]
        )
