"""A head names the end of one ledger, and only its site can make one."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import FaultyServer, LedgerCorrupt, MalformedMessage
from privacy.ledger.chain import append, follow, rotation
from privacy.ledger.heads import Head, head_from_json, pool_tag
from privacy.signing import public_identity
from tests.privacy.ledger.ledgers import GENESIS, KEY, NEXT, PEER, Book, head, reserved

PUBLIC = public_identity(PEER)
HEADS = st.builds(
    Head,
    site=st.text(min_size=1, max_size=64).filter(lambda text: text.isprintable()),
    ledger=st.binary(min_size=32, max_size=32),
    seq=st.integers(0, 2**53 - 1),
    hash=st.binary(min_size=32, max_size=32),
    signature=st.binary(min_size=64, max_size=64),
)


@given(HEADS)
def test_a_head_survives_both_of_its_forms(shown: Head) -> None:
    assert Head.from_bytes(shown.to_bytes()) == shown
    assert head_from_json(shown.to_json()) == shown


@given(st.binary(max_size=200))
def test_other_bytes_are_malformed_or_a_head(data: bytes) -> None:
    try:
        shown = Head.from_bytes(data)
    except MalformedMessage:
        return
    assert shown.to_bytes() == data


def test_a_head_longer_than_any_ledger_is_malformed() -> None:
    good = head(2**53 - 1)
    Head.from_bytes(good.to_bytes())
    for wrong in (dataclasses.replace(good, seq=2**53), dataclasses.replace(good, site="")):
        with pytest.raises(MalformedMessage):
            Head.from_bytes(wrong.to_bytes())
        with pytest.raises(MalformedMessage):
            head_from_json(wrong.to_json())
    for data in (None, [], {}, {**good.to_json(), "more": 1}, {**good.to_json(), "hash": "00"}):
        with pytest.raises(MalformedMessage):
            head_from_json(data)


def test_nobody_else_can_make_a_head_and_none_can_be_changed() -> None:
    good = head(5)
    assert good.is_signed_by(PUBLIC)
    assert not good.is_signed_by(public_identity(KEY))
    for change in (
        {"site": "north"},
        {"ledger": bytes(32)},
        {"seq": 6},
        {"hash": b"x" * 32},
        {"signature": bytes(64)},
    ):
        assert not dataclasses.replace(good, **change).is_signed_by(PUBLIC)  # type: ignore[arg-type]


def test_a_pools_tag_is_always_the_same_and_no_others() -> None:
    tag = pool_tag(KEY, "cardiology")
    assert tag == pool_tag(KEY, "cardiology")
    assert len({tag, pool_tag(KEY, "oncology"), pool_tag(KEY, ""), pool_tag(NEXT, "cardiology")}) == 4


# What a site finds when it is shown its own head.


def own(book: Book, seq: int) -> Head:
    return Head.signed("north", GENESIS.ledger, book.entries[seq], KEY)


def test_every_head_of_a_whole_ledger_is_in_it() -> None:
    book = reserved()
    for number in range(1, 4):
        book.begin(number)
    for entry in book.entries:
        book.account.check_own(own(book, entry.seq))


def test_a_ledger_whose_end_was_cut_is_found_by_any_head_that_was_cut() -> None:
    """DP-33: truncate tail. The chain by itself verifies, as the control says."""
    book, cut = reserved(), reserved()
    for number in range(1, 4):
        book.begin(number)
    assert cut.entries == book.entries[:3]
    follow(None, cut.entries)
    for seq in range(3, 6):
        with pytest.raises(LedgerCorrupt, match=f"once had an entry {seq} that it no longer has"):
            cut.account.check_own(own(book, seq))


def test_an_older_copy_that_went_on_is_found_though_it_is_longer() -> None:
    """DP-34: restored snapshot, whose own later entries are as well signed as those that are gone."""
    shown, restored = reserved(), reserved()
    shown.begin(1)
    for number in (2, 3, 4):
        restored.begin(number)
    follow(None, restored.entries)
    with pytest.raises(LedgerCorrupt, match="an older copy was restored"):
        restored.account.check_own(own(shown, 3))
    restored.account.check_own(own(shown, 2))  # what both have in common shows nothing


def test_a_ledger_made_anew_for_the_same_pool_is_found() -> None:
    """DP-34: a deleted ledger starts no new budget where somebody remembers it."""
    anew, old = Book(), reserved()
    with pytest.raises(LedgerCorrupt):
        anew.account.check_own(own(old, 2))


def test_a_head_of_another_pool_or_site_is_no_business_of_this_ledger() -> None:
    book = reserved()
    other = append(book.entries[-1], "roster", {"serial": 1, "root": ""}, KEY)
    book.account.check_own(Head.signed("north", pool_tag(KEY, "oncology"), other, KEY))
    book.account.check_own(Head.signed("south", GENESIS.ledger, other, KEY))


def test_a_head_that_the_site_never_signed_accuses_the_server_not_the_ledger() -> None:
    book = reserved()
    forged = Head.signed("north", GENESIS.ledger, book.entries[-1], PEER)
    with pytest.raises(FaultyServer, match="never signed"):
        book.account.check_own(forged)


def test_heads_signed_before_and_after_a_rotation_count() -> None:
    book = reserved()
    before = own(book, 2)
    book.add("rotate", **rotation(book.account.tip, NEXT))
    book.account.check_own(before)
    last = append(book.entries[-1], "roster", {"serial": 1, "root": ""}, NEXT)
    for key in (KEY, NEXT):
        with pytest.raises(LedgerCorrupt):
            book.account.check_own(Head.signed("north", GENESIS.ledger, last, key))
