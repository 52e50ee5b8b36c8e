"""No entry can be changed, removed, added, moved or signed by another without the chain showing it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import LedgerCorrupt
from privacy.ledger.approvals import Replacement, approve
from privacy.ledger.chain import KINDS, Entry, Tip, append, follow, genesis_from_json, rotation
from privacy.signing import public_identity
from tests.privacy.ledger.ledgers import ANNA, APPROVERS, BERT, GENESIS, KEY, NEXT, PEER, genesis

BODIES = st.dictionaries(
    st.text(max_size=5),
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=5),
    max_size=3,
)


def verify(entries: Sequence[Entry]) -> Tip:
    """Where a whole chain ends."""
    return follow(None, entries)


def chain(bodies: list[dict[str, Any]]) -> list[Entry]:
    entries = [genesis()]
    for body in bodies:
        entries.append(append(entries[-1], "begin", body, KEY))
    return entries


def flipped(data: bytes, bit: int) -> bytes:
    bit %= 8 * len(data)
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


@given(st.lists(BODIES, max_size=6))
def test_what_was_appended_verifies(bodies: list[dict[str, Any]]) -> None:
    entries = chain(bodies)
    tip = verify(entries)
    assert (tip.first, tip.last, tip.key) == (entries[0], entries[-1], public_identity(KEY))
    assert tip.genesis == GENESIS
    assert follow(verify(entries[:1]), entries[1:]) == tip


@given(st.lists(BODIES, min_size=2, max_size=6), st.data())
def test_one_change_anywhere_is_seen(bodies: list[dict[str, Any]], data: st.DataObject) -> None:
    """DP-32: any bit of any field, the last entry's included."""
    entries = chain(bodies)
    index, bit = data.draw(st.integers(0, len(entries) - 1)), data.draw(st.integers(0, 511))
    entry = entries[index]
    change: dict[str, Any] = data.draw(
        st.sampled_from(
            [
                {"seq": entry.seq + 1},
                {"seq": -1},
                {"kind": "release"},
                {"kind": "other"},
                {"body": {**entry.body, "more": 1}},
                {"previous": flipped(entry.previous, bit)},
                {"hash": flipped(entry.hash, bit)},
                {"signature": flipped(entry.signature, bit)},
                {"signature": b""},
                {"signature": entry.signature + b"\0"},
                {"signature": None},
            ]
        )
    )
    entries[index] = dataclasses.replace(entry, **change)
    with pytest.raises(LedgerCorrupt, match=f"entry {index} .*release nothing"):
        verify(entries)


@given(st.lists(BODIES, min_size=2, max_size=6), st.data())
def test_a_removed_moved_or_repeated_entry_is_seen(bodies: list[dict[str, Any]], data: st.DataObject) -> None:
    """DP-32: reorder, delete from the middle, a number twice."""
    entries = chain(bodies)
    index = data.draw(st.integers(0, len(entries) - 2))
    removed = entries[:index] + entries[index + 1 :]
    swapped = [*entries[:index], entries[index + 1], entries[index], *entries[index + 2 :]]
    repeated = entries[: index + 1] + entries[index:]
    for wrong in (removed, swapped, repeated):
        with pytest.raises(LedgerCorrupt):
            verify(wrong)


@given(st.integers(0, 3))
def test_whoever_lacks_the_key_cannot_write_any_part_of_it_anew(start: int) -> None:
    """DP-32: foreign signature; every hash is right, every signature is one, by another key."""
    honest = chain([{"round": 1}, {"round": 2}, {"round": 3}])
    forged = honest[:start]
    for entry in honest[start:]:
        forged.append(append(forged[-1] if forged else None, entry.kind, entry.body, PEER))
    with pytest.raises(LedgerCorrupt, match=rf"entry {start} .* not signed by the site's key"):
        verify(forged)


def test_the_entries_of_another_site_or_pool_do_not_fit() -> None:
    """DP-32: swapped site id, in the first entry and by splicing two ledgers of one key."""
    honest = chain([{"round": 1}, {"round": 2}])
    for other in ({"site": "south"}, {"pool": "oncology"}):
        renamed = dataclasses.replace(honest[0], body={**honest[0].body, **other})
        for spliced in ([renamed, *honest[1:]], [genesis(**other), *honest[1:]]):
            with pytest.raises(LedgerCorrupt):
                verify(spliced)


def test_a_change_whose_hash_was_made_anew_is_seen_at_the_next_entry() -> None:
    entries = chain([{"round": 1}, {"round": 2}])
    entries[1] = append(entries[0], "begin", {"round": 9}, KEY)
    with pytest.raises(LedgerCorrupt, match="entry 2"):
        verify(entries)


def test_a_ledger_without_a_genesis_is_none() -> None:
    with pytest.raises(LedgerCorrupt):
        verify([])
    with pytest.raises(LedgerCorrupt):
        verify(chain([{}])[1:])
    with pytest.raises(ValueError, match="genesis"):
        append(genesis(), "genesis", {}, KEY)
    with pytest.raises(ValueError, match="begin"):
        append(None, "begin", {}, KEY)
    with pytest.raises(ValueError, match="refund"):
        append(genesis(), "refund", {}, KEY)


def test_a_second_genesis_cannot_follow() -> None:
    first = genesis()
    body = GENESIS.to_json()
    forged = dataclasses.replace(append(first, "begin", body, KEY), kind="genesis")
    with pytest.raises(LedgerCorrupt):
        verify([first, forged])


@pytest.mark.parametrize(
    "changes",
    [
        {"site": ""},
        {"site": 3},
        {"simulated": 0},
        {"ledger": "00"},
        {"key": "00" * 32},
        {"key": "ff" * 32},
        {"key": GENESIS.key.hex().upper()},
        {"approvers": None},
        {"approvers": ["00" * 32]},
        {"approvers": [APPROVERS[0].hex()] * 2},
        {"approvers": [GENESIS.key.hex()]},
        {"more": 1},
    ],
)
def test_a_genesis_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    assert genesis_from_json(GENESIS.to_json()) == GENESIS
    with pytest.raises(LedgerCorrupt, match="entry 0"):
        verify([genesis(**changes)])


@pytest.mark.parametrize("body", [{"x": float("nan")}, {"x": 1e20}, {"x": 2**53}, {"x": "\ud800"}])
def test_what_would_not_be_read_back_is_never_appended(body: dict[str, Any]) -> None:
    """DP-44: an entry that was written verifies for good."""
    with pytest.raises(ValueError):
        append(genesis(), "begin", body, KEY)


def test_a_body_without_canonical_form_does_not_verify() -> None:
    good = append(genesis(), "begin", {"x": 1}, KEY)
    with pytest.raises(LedgerCorrupt):
        verify([genesis(), dataclasses.replace(good, body={"x": float("inf")})])


def test_hash_and_signature_are_what_the_protocol_says() -> None:
    # An independent reading: length-prefixed label and canonical JSON, hashed; label and digest, signed.
    def packed(*parts: bytes) -> bytes:
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)

    first = genesis()
    entry = append(first, "close", {"run": "r", "params": "p"}, KEY)
    content = {"body": {"params": "p", "run": "r"}, "kind": "close", "previous": first.hash.hex(), "seq": 1}
    text = json.dumps(content, separators=(",", ":")).encode()
    assert entry.hash == hashlib.sha256(packed(b"privacy/ledger/2", text)).digest()
    label = b"privacy/ledger/entry/1"
    signed = packed(label) + hashlib.sha256(packed(label, entry.hash)).digest()
    Ed25519PublicKey.from_public_bytes(GENESIS.key).verify(entry.signature, signed)


# Keys change.


def rotated(to: Ed25519PrivateKey = NEXT, by: Ed25519PrivateKey = KEY, **changes: Any) -> list[Entry]:
    entries = chain([{"round": 1}])
    body = {**rotation(verify(entries), to), **changes}
    return [*entries, append(entries[-1], "rotate", body, by)]


def test_after_a_rotation_the_new_key_signs_and_the_old_one_does_not() -> None:
    """DP-45: key rotation; a retired key signs nothing more."""
    entries = rotated()
    assert verify(entries).keys == (public_identity(KEY), public_identity(NEXT))
    verify([*entries, append(entries[-1], "begin", {}, NEXT)])
    with pytest.raises(LedgerCorrupt, match=r"entry 3 .* not signed by the site's key"):
        verify([*entries, append(entries[-1], "begin", {}, KEY)])


def test_a_retired_key_never_comes_back() -> None:
    """DP-45: it may have leaked since."""
    entries = rotated()
    again = append(entries[-1], "rotate", rotation(verify(entries), KEY), NEXT)
    with pytest.raises(LedgerCorrupt, match="cannot be the site's next"):
        verify([*entries, again])


def test_a_rotation_is_signed_by_the_old_key_and_proven_by_the_new() -> None:
    """DP-45: neither a stranger's rotation, nor one to a key that its holder knows nothing of."""
    for by in (NEXT, PEER):
        with pytest.raises(LedgerCorrupt, match="not signed by the site's key"):
            verify(rotated(by=by))
    borrowed = rotation(verify(chain([])), PEER)["proof"]
    with pytest.raises(LedgerCorrupt, match="proven to hold"):
        verify(rotated(proof=borrowed))
    elsewhere = rotation(verify([genesis(pool="oncology")]), NEXT)["proof"]
    with pytest.raises(LedgerCorrupt, match="proven to hold"):
        verify(rotated(proof=elsewhere))


def test_an_approver_does_not_become_the_site() -> None:
    """DP-45: whoever signs for the site approves nothing, and the reverse."""
    with pytest.raises(LedgerCorrupt, match="cannot be the site's next"):
        verify(rotated(ANNA))


def test_a_lost_key_is_replaced_with_two_approvals_and_no_fewer() -> None:
    """DP-45: lost key."""
    tip = verify(chain([{"round": 1}]))
    statement = tip.replacement(public_identity(NEXT))
    anna, bert, peer = (approve(statement, key).to_json() for key in (ANNA, BERT, PEER))
    other = approve(Replacement("north", tip.first.hash, tip.key, public_identity(PEER)), BERT).to_json()
    verify(rotated(by=NEXT, approvals=[anna, bert]))
    for wrong in ([anna], [anna, anna], [anna, peer], [anna, other], [anna, bert, peer], [anna, {}]):
        with pytest.raises(LedgerCorrupt):
            verify(rotated(by=NEXT, approvals=wrong))
    for signer in (KEY, PEER):  # whoever holds the lost key has no say in it
        with pytest.raises(LedgerCorrupt, match="not signed"):
            verify(rotated(by=signer, approvals=[anna, bert]))


@pytest.mark.parametrize("changes", [{"key": "00" * 32}, {"key": 3}, {"more": 1}, {"approvals": None}])
def test_a_malformed_rotation_is_corrupt(changes: dict[str, Any]) -> None:
    with pytest.raises(LedgerCorrupt, match="entry 2"):
        verify(rotated(**changes))


def test_every_kind_is_described_where_it_is_defined() -> None:
    described = {
        line.split()[0]
        for line in (append.__globals__["__doc__"] or "").splitlines()
        if line.startswith("    ")
    }
    assert described == set(KINDS)
