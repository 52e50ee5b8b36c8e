"""Notes and checkpoints as C2SP has them: its examples verify, and nothing else passes for one."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import MalformedMessage
from privacy.signing import is_signed, public_identity, sign
from privacy.tlog.checkpoint import Checkpoint, checkpoint_of, cosigned, seen_at
from privacy.tlog.note import LOG, WITNESS, Verifier, note_from_text, note_of, verifier_from_text

FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE = (
    "This is an example message.\n\n"
    "\u2014 example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72"
    "IneyaQM=\n"
)
"""The example of the specification of signed notes."""
KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))
BY = Verifier("example.org/log", LOG, public_identity(KEY))
WITNESSED = Verifier("w.example.org/1", WITNESS, public_identity(OTHER))
NOTE = Checkpoint("example.org/log", 7, bytes(range(32))).note().signed("example.org/log", KEY)


def test_the_published_example_verifies_and_no_other_text_under_it() -> None:
    key, note = verifier_from_text(FOO), note_from_text(EXAMPLE)
    assert str(key) == FOO
    assert str(note) == EXAMPLE
    assert note.is_signed(key)
    assert not note_from_text(EXAMPLE.replace("example message", "example massage")).is_signed(key)


def test_a_note_survives_its_file_and_is_believed_by_its_key_alone() -> None:
    again = note_from_text(str(NOTE))
    assert again == NOTE
    assert checkpoint_of(again) == Checkpoint("example.org/log", 7, bytes(range(32)))
    assert again.is_signed(BY)
    assert not again.is_signed(Verifier("example.org/log", LOG, public_identity(OTHER)))
    assert not again.is_signed(Verifier("example.org/other", LOG, public_identity(KEY)))


def test_a_cosignature_is_of_its_time_its_text_and_its_key() -> None:
    note = cosigned(NOTE, WITNESSED.name, OTHER, 1_700_000_000)
    assert seen_at(note_from_text(str(note)), WITNESSED) == 1_700_000_000
    assert note.is_signed(BY), "the log's own signature stays"
    assert seen_at(NOTE, WITNESSED) is None
    (content,) = note.of(WITNESSED)
    later = (1_700_000_001).to_bytes(8, "big") + content[8:]
    moved = str(note).replace(str(note).split()[-1], encoded_of(WITNESSED.id + later))
    assert seen_at(note_from_text(moved), WITNESSED) is None
    other = str(note).replace("\n7\n", "\n8\n")
    assert seen_at(note_from_text(other), WITNESSED) is None


def encoded_of(data: bytes) -> str:
    from base64 import b64encode

    return b64encode(data).decode()


def test_a_key_signs_once_the_newest_cosignature_stays() -> None:
    note = cosigned(cosigned(NOTE, WITNESSED.name, OTHER, 5), WITNESSED.name, OTHER, 9)
    assert len(note.signatures) == 2
    assert seen_at(note, WITNESSED) == 9


def test_a_false_signature_in_a_trusted_name_spoils_the_note() -> None:
    lines = str(NOTE).splitlines(keepends=True)
    forged = NOTE.signed("example.org/log", OTHER).signatures[-1]
    twice = "".join(lines) + f"\u2014 {BY.name} {encoded_of(BY.id + forged.content)}\n"
    assert not note_from_text(twice).is_signed(BY)


def test_no_note_is_a_statement_of_the_protocol_and_none_of_those_a_note() -> None:
    """A site signs both with one key."""
    for label in ("privacy/ledger/entry/1", "secagg/4/vote"):
        signature = sign(KEY, label, b"x")
        assert not any(is_signed(public_identity(KEY), one.content, label, b"x") for one in NOTE.signatures)
        assert not note_from_text(
            f"{NOTE.text}\n\u2014 {BY.name} {encoded_of(BY.id + signature)}\n"
        ).is_signed(BY)
    with pytest.raises(MalformedMessage):
        note_of("\x00\x00\x00\x16privacy/ledger/entry/1\n")


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", "a\n", "a\n\n", "a\n\nb\n", "a\n\n\u2014 x\n", "a\n\n\u2014 x AAAA\n", "a\n\n\u2014 x !!!!\n",
        "a\x00\n\n\u2014 x AAAAAAAA\n", "a\n\n\u2014 x AAAAAAAA", "a\n\n" + "\u2014 x AAAAAAAA\n" * 65,
        "a" * 70_000 + "\n\n\u2014 x AAAAAAAA\n",
    ],
    ids=["empty", "blank", "text", "no line", "no dash", "no bytes", "id alone", "no base 64", "zero", "no end",
         "many", "long"],
)  # fmt: skip
def test_what_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        note_from_text(text)


@pytest.mark.parametrize("size", ["0", "07", "-1", "7.0", "", "99999999999999999999", "9223372036854775808"])
def test_what_is_no_checkpoint_is_refused(size: str) -> None:
    with pytest.raises(MalformedMessage):
        checkpoint_of(note_of(NOTE.text.replace("\n7\n", f"\n{size}\n")))
    for text in (NOTE.text + "extension\n", NOTE.text.replace("=", ""), "a\n1\n"):
        with pytest.raises(MalformedMessage):
            checkpoint_of(note_of(text))


@pytest.mark.parametrize(
    "text", ["", "a", "a+b", FOO[:-4], FOO.replace("530d903a", "530d903b"), "a b" + FOO, "+" + FOO]
)
def test_what_is_no_key_of_a_note_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        verifier_from_text(text)


@given(st.text(max_size=200))
def test_any_text_is_a_note_or_refused(text: str) -> None:
    try:
        note = note_from_text(text)
    except MalformedMessage:
        return
    assert str(note) == text
