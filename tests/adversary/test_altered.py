"""Whatever is relayed and altered is refused before anything is charged, or costs its sender a place in the sum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from privacy.errors import FaultyClient, MalformedMessage, SuspectedClient
from privacy.secagg import dealing
from privacy.secagg.client import ClientMachine
from privacy.secagg.dealing import End
from privacy.secagg.kem import KemPair, encapsulate
from privacy.secagg.keys import Channel
from privacy.secagg.masks import Mask
from privacy.secagg.messages import Advert, Delivery, Masked, Portion, Sealed
from privacy.secagg.ring import packed_size
from privacy.secagg.server import Phase
from privacy.secagg.statements import deal
from privacy.secagg.states import Accepted
from tests.adversary.closure import attack
from tests.adversary.tapped import Tapped
from tests.privacy.secagg.rounds import Round, fork, site

RECIPIENT, DEALER = 0, 3
ENTRY = 1088 + 146 + 192


def _accepts(round_: Round, sealed: Sealed) -> bool:
    """Whether a site takes this in place of what a dealer sealed for it; if not, it names the dealer."""
    delivery = Delivery.from_bytes(round_.inbox[RECIPIENT])
    altered = Delivery(delivery.sharers, {**delivery.by_slot, DEALER: sealed})
    client = fork(round_.clients[RECIPIENT])
    try:
        client.accept(altered.to_bytes())
    except SuspectedClient as error:
        assert error.site == site(DEALER)
        assert "finished" in repr(client)
        return False
    return True


def _entry(round_: Round) -> Sealed:
    return Delivery.from_bytes(round_.until(Phase.MASK).inbox[RECIPIENT]).by_slot[DEALER]


def _flipped(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        yield data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def test_any_byte_of_what_was_sealed_counts() -> None:
    """I5: ciphertext, seal, digests, signature."""
    round_ = Round(4)
    sealed = _entry(round_).to_bytes()
    assert len(sealed) == ENTRY
    assert _accepts(round_, Sealed.from_bytes(sealed))
    assert not any(_accepts(round_, Sealed.from_bytes(each)) for each in _flipped(sealed))


def test_any_byte_of_a_wrap_counts() -> None:
    """I5: wraps are in the signed upload."""
    round_ = Round(4, colluders=0).until(Phase.MASK)
    masked = Masked.from_bytes(round_.answer(1), packed_size(7, 21))
    for peer, wrap in masked.wraps.items():
        for altered in _flipped(wrap):
            data = replace(masked, wraps={**masked.wraps, peer: altered}).to_bytes()
            with pytest.raises(MalformedMessage, match="not signed"):
                round_.server._take_masked(1, data)
    assert not round_.uploads
    round_.server._take_masked(1, masked.to_bytes())
    assert round_.uploads


def _malleable(patch: pytest.MonkeyPatch) -> None:
    """A KEM that does not look at the last byte of a ciphertext."""
    seen: dict[bytes, bytes] = {}

    def send(public: bytes) -> tuple[bytes, bytes]:
        secret, ciphertext = encapsulate(public)
        seen[ciphertext[:-1]] = secret
        return secret, ciphertext

    patch.setattr(dealing, "encapsulate", send)
    patch.setattr(KemPair, "decapsulate", lambda _, ciphertext: seen[ciphertext[:-1]])


@pytest.mark.parametrize("is_bound", [True, False], ids=["now", "control"])
def test_the_ciphertext_is_in_the_key_of_its_seal(is_bound: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """I5: even a KEM under which another ciphertext gave the same secret would not let it pass."""
    _malleable(monkeypatch)
    if not is_bound:
        real = Channel.between
        monkeypatch.setattr(
            Channel, "between", lambda agreed, secret, _, *rest: real(agreed, secret, b"", *rest)
        )
    round_ = Round(4)
    sealed = _entry(round_)
    last = sealed.ciphertext[:-1] + bytes([sealed.ciphertext[-1] ^ 1])
    assert _accepts(round_, replace(sealed, ciphertext=last)) != is_bound


def _dealing_other_than_it_signs(patch: pytest.MonkeyPatch) -> None:
    """A dealer signs digests of other shares than it seals for one site."""
    real = End.seal

    def seal(self: End, agreed: bytes, peer: int, advert: Advert, portion: Portion) -> Sealed:
        made = real(self, agreed, peer, advert, portion)
        if (self.slot, peer) != (DEALER, RECIPIENT):
            return made
        other = replace(portion, shares=tuple(share ^ 1 for share in portion.shares))
        return replace(made, dealt=deal(self.identity, self.adverts, self.slot, peer, other))

    patch.setattr(End, "seal", seal)


def test_what_does_not_fit_the_digests_that_its_dealer_signed_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _dealing_other_than_it_signs(monkeypatch)
    round_ = Round(4, colluders=0)
    assert not _accepts(round_, _entry(round_))


def test_control_a_site_that_did_not_compare_digests_would_be_framed_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its honest reveal is of other shares than its dealer signed."""
    _dealing_other_than_it_signs(monkeypatch)
    monkeypatch.setattr(dealing, "is_portion", lambda *_: True)
    round_ = Round(4, colluders=0).until(Phase.DONE)
    assert set(round_.server.blame) == {site(RECIPIENT)}
    assert isinstance(round_.server.blame[site(RECIPIENT)], FaultyClient)


# --- recovery, and what hides an upload -----------------------------------------------------------------------


def test_control_without_wraps_the_secret_of_a_lost_site_gives_no_mask() -> None:
    """I6: s of either end is enough because of them; with them all pair masks of the lost site follow."""
    round_ = Tapped(5).open([4])
    assert len(attack(round_.view).ways("pair mask")) == 4
    round_.view.wraps.clear()
    known = attack(round_.view)
    assert known.knows("mask secret") == {4}
    assert not known.ways("pair mask")


@pytest.mark.parametrize("is_masked", [True, False], ids=["now", "control"])
def test_the_self_mask_is_what_hides_the_upload_of_a_lost_site(
    is_masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I8: without it, what is revealed of a lost site bares its vector."""
    if not is_masked:
        real = ClientMachine._masks

        def without(self: ClientMachine, state: Accepted, transcript: bytes) -> list[Mask]:
            return real(self, state, transcript)[1:]

        monkeypatch.setattr(ClientMachine, "_masks", without)
    round_ = Tapped(5).betray([4])
    round_.step()
    for slot in range(4):
        round_.view.hear(slot, round_.answer(slot))
    assert attack(round_.view).has_read(4, round_.vectors[4]) != is_masked
