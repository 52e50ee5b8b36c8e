"""Sites that deal, wrap or reveal what is wrong: never a wrong sum, exactly they are named, and it is proven."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from privacy.errors import FaultyClient, FaultyServer
from privacy.secagg.client import ClientMachine
from privacy.secagg.dealing import End
from privacy.secagg.keys import mask_half, wrap_half
from privacy.secagg.masks import Mask, apply
from privacy.secagg.messages import Dealt, Portion, Reveal
from privacy.secagg.ring import reduce
from privacy.secagg.server import Phase, TooFew
from privacy.secagg.shamir import PRIME
from privacy.secagg.statements import deal, sign_reveal
from privacy.secagg.states import Pair, Shares
from privacy.secagg.unmasking import Bound, check_reveal, masks
from tests.privacy.secagg.rounds import Round, identity, site

COHORTS = [(10, 1), (20, 2), (60, 6)]
BOTH = pytest.mark.parametrize(("n", "colluders"), COHORTS)


class _AltersShares(ClientMachine):
    """Reveals wrong shares of some secrets, under its good signature; those who conspire alter them alike."""

    owners: frozenset[int] | None = None

    def _reveal(self, state: Any, data: bytes) -> tuple[Any, bytes]:
        after, reply = super()._reveal(state, data)
        reveal = Reveal.from_bytes(reply, len(self._parameters.levels))
        wrong = replace(
            reveal, seed_shares=self._altered(reveal.seed_shares), key_shares=self._altered(reveal.key_shares)
        )
        signed = sign_reveal(
            self._identity, state.transcript, reveal.seed_shares.keys(), state.accepted, wrong
        )
        return after, signed.to_bytes()

    def _altered(self, shares: Mapping[int, int]) -> dict[int, int]:
        chosen = shares.keys() - {self._slot} if self.owners is None else self.owners
        return {owner: (share + (owner in chosen)) % PRIME for owner, share in shares.items()}


class _AltersOne(_AltersShares):
    owners = frozenset({8})


class _DealsUnevenly(ClientMachine):
    """Deals shares that are of no polynomial, each under its digest."""

    def _split(self, *arguments: Any) -> dict[int, Shares]:
        shares = super()._split(*arguments)
        return {
            at: tuple((share + at * at * at) % PRIME for share in of) if at > 5 else of
            for at, of in shares.items()
        }


class _DealsAnother(ClientMachine):
    """Deals shares of another secret than it has advertised."""

    def _split(self, state: Any, secrets: Any, *rest: Any) -> dict[int, Shares]:
        return super()._split(
            state, replace(secrets, seed=b"another".ljust(32), mask=b"one".ljust(32)), *rest
        )


class _WrapsAnother(ClientMachine):
    """Wraps another half than it dealt."""

    def _wrap(self, pair: Pair, transcript: bytes, peer: int) -> bytes:
        return super()._wrap(replace(pair, given=bytes(32)), transcript, peer)


class _WrapsNothing(ClientMachine):
    """Its wraps do not open."""

    def _wrap(self, pair: Pair, transcript: bytes, peer: int) -> bytes:
        return super()._wrap(replace(pair, wrap=bytes(32)), transcript, peer)


def _spoil_halves(patch: pytest.MonkeyPatch, slots: set[int], **changes: bytes) -> None:
    real = End.portion

    def portion(self: End, secret: bytes, peer: int, shares: Shares) -> Portion:
        made = real(self, secret, peer, shares)
        return replace(made, **changes) if self.slot in slots else made  # type: ignore[arg-type]

    patch.setattr(End, "portion", portion)


def _round(n: int, colluders: int, liars: Mapping[int, type[ClientMachine]]) -> Round:
    round_ = Round(n, colluders=colluders, length=3)
    for slot, machine in liars.items():
        round_.clients[slot].__class__ = machine
    return round_


def _lose(round_: Round, lost: set[int]) -> Round:
    round_.until(Phase.MASK).step(round_.everyone - lost)
    return round_.until(Phase.DONE)


def _void(round_: Round, lost: set[int]) -> None:
    with pytest.raises(TooFew) as caught:
        _lose(round_, lost)
    assert caught.value.stage is Phase.REVEAL
    assert round_.server.result is None
    assert round_.server.opened is None


def _proven(round_: Round, liars: set[int]) -> None:
    assert set(round_.server.blame) == set(map(site, liars))
    assert all(isinstance(fault, FaultyClient) for fault in round_.server.blame.values())


@BOTH
@pytest.mark.parametrize("machine", [_AltersShares, _AltersOne], ids=["of all", "of one, alike"])
def test_holders_of_wrong_shares_are_proven_faulty_and_the_sum_is_right(
    machine: type[ClientMachine], n: int, colluders: int
) -> None:
    """I7: as many as there may be colluders, who conspire."""
    liars, lost = set(range(colluders)), {n - 1}
    round_ = _lose(_round(n, colluders, dict.fromkeys(liars, machine)), lost)
    assert round_.result() == round_.sum_over(round_.everyone - lost)
    _proven(round_, liars)


@pytest.mark.parametrize("machine", [_DealsUnevenly, _DealsAnother], ids=["no polynomial", "another secret"])
@pytest.mark.parametrize("is_lost", [False, True], ids=["in the sum", "lost"])
@BOTH
def test_a_dealer_of_wrong_shares_is_proven_faulty_and_the_round_is_void(
    n: int, colluders: int, is_lost: bool, machine: type[ClientMachine]
) -> None:
    """I7: and no holder of a share that it dealt is."""
    round_ = _round(n, colluders, {3: machine})
    _void(round_, {3} if is_lost else {n - 1})
    _proven(round_, {3})


@BOTH
def test_a_dealer_of_wrong_shares_is_told_from_holders_of_wrong_shares(n: int, colluders: int) -> None:
    liars = dict.fromkeys(range(colluders - 1), _AltersShares) | {colluders: _DealsUnevenly}
    round_ = _round(n, colluders, liars)
    _void(round_, {n - 1})
    _proven(round_, set(liars))


@pytest.mark.parametrize("field", ["mask_half", "wrap_half"])
@BOTH
def test_a_lost_dealer_of_wrong_halves_is_proven_faulty(
    n: int, colluders: int, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _spoil_halves(monkeypatch, {3}, **{field: b"half".ljust(32)})
    round_ = _round(n, colluders, {})
    _void(round_, {3})
    _proven(round_, {3})


@pytest.mark.parametrize("machine", [_WrapsAnother, _WrapsNothing])
@BOTH
def test_whoever_wraps_what_it_did_not_deal_is_proven_faulty(
    n: int, colluders: int, machine: type[ClientMachine]
) -> None:
    round_ = _round(n, colluders, {3: machine})
    _void(round_, {n - 1})
    _proven(round_, {3})


def test_wrong_wraps_matter_to_nobody_if_nobody_is_lost() -> None:
    round_ = _lose(_round(10, 1, {3: _WrapsNothing}), set())
    assert round_.result() == round_.sum_over(range(10))
    _proven(round_, set())


# --- controls: what the digests are for ----------------------------------------------------------------------


def test_control_without_digests_honest_dealers_are_framed_by_a_holder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Bound, "was_dealt", lambda *_: True)
    round_ = _round(10, 1, {0: _AltersShares})
    _void(round_, {9})
    assert site(0) not in round_.server.blame
    assert round_.server.blame


@pytest.mark.parametrize("machine", [_WrapsAnother])
def test_control_without_digests_a_wrong_wrap_is_a_wrong_sum(
    machine: type[ClientMachine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bound, "was_dealt", lambda *_: True)
    round_ = _lose(_round(10, 1, {3: machine}), {9})
    assert round_.result() != round_.sum_over(range(9))
    _proven(round_, set())


# --- I16: a second signature of the dealer -------------------------------------------------------------------

DEALER, HOLDER = 4, 1


def _second(round_: Round, portion: Portion) -> Dealt:
    """What the dealer signs later, with the server, for the same holder."""
    return deal(identity(site(DEALER)), round_.server._link, DEALER, HOLDER, portion)


def _other(what: str) -> Portion:
    """A portion in which everything is other than what the holder has."""
    return Portion(b"x" * 32, b"y" * 32, (1, 2)) if what else Portion(b"", b"", ())


def _revealing(lost: set[int]) -> tuple[Round, Reveal]:
    round_ = Round(5, colluders=0).until(Phase.MASK)
    round_.step(round_.everyone - lost)
    round_.until(Phase.REVEAL)
    return round_, Reveal.from_bytes(round_.answer(HOLDER))


@pytest.mark.parametrize("lost", [set(), {DEALER}], ids=["share of m", "share of s"])
def test_nobody_is_framed_for_a_share_by_a_second_signature_of_its_dealer(lost: set[int]) -> None:
    """The good share does not fit what it is held against; what its holder had signed that it took settles that."""
    round_, reveal = _revealing(lost)
    server, survivors = round_.server, frozenset(round_.everyone - lost)
    taken = server._taken[HOLDER]
    arguments = server._bound, survivors, HOLDER, reveal
    check_reveal(*arguments, server._dealt, taken)
    framed = {**server._dealt, (DEALER, HOLDER): _second(round_, _other("all"))}
    with pytest.raises(FaultyServer, match="site-1 did not take"):
        check_reveal(*arguments, framed, taken)


def test_control_without_what_it_had_accepted_the_holder_would_be_framed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("privacy.secagg.unmasking.check_taken", lambda *_: None)
    round_, reveal = _revealing(set())
    server = round_.server
    framed = {**server._dealt, (DEALER, HOLDER): _second(round_, _other("all"))}
    with pytest.raises(FaultyClient, match="site site-1"):
        check_reveal(server._bound, round_.everyone, HOLDER, reveal, framed, server._taken[HOLDER])


def _with_a_wrong_half(patch: pytest.MonkeyPatch, part: str) -> tuple[Round, Callable[[bool], list[Mask]]]:
    """The dealer gave the holder another half than follows from s, and is lost; what comes of either signature."""
    field = {"x": "mask_half", "y": "wrap_half"}[part]
    real = End.portion

    def portion(self: End, secret: bytes, peer: int, shares: Shares) -> Portion:
        made = real(self, secret, peer, shares)
        return replace(made, **{field: b"half".ljust(32)}) if (self.slot, peer) == (DEALER, HOLDER) else made  # type: ignore[arg-type]

    patch.setattr(End, "portion", portion)
    round_ = Round(5, colluders=0).until(Phase.MASK)
    round_.step(round_.everyone - {DEALER})
    server, secret = round_.server, round_.secrets(DEALER).mask
    right = (half(secret, server._link, DEALER, HOLDER) for half in (mask_half, wrap_half))
    second = _second(round_, Portion(*right, (1, 2)))

    def made(is_second: bool) -> list[Mask]:
        seeds = {slot: round_.secrets(slot).seed for slot in range(4)}
        dealt = {**server._dealt, (DEALER, HOLDER): second} if is_second else server._dealt
        return masks(server._bound, seeds, {DEALER: secret}, dealt, server._taken, server._wraps)

    return round_, made


@pytest.mark.parametrize("part", ["x", "y"])
def test_nobody_is_framed_for_a_half_or_a_wrap_by_a_second_signature(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the first signature the dealer is at fault; a second one, over what follows from s, is not believed."""
    _, made = _with_a_wrong_half(monkeypatch, part)
    with pytest.raises(FaultyClient, match="half that it dealt to site-1 does not follow") as caught:
        made(False)
    assert caught.value.site == site(DEALER)
    with pytest.raises(FaultyServer, match="site-1 did not take"):
        made(True)


@pytest.mark.parametrize("part", ["x", "y"])
def test_control_without_what_it_had_accepted_it_would_be_framed_or_the_sum_be_wrong(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    round_, made = _with_a_wrong_half(monkeypatch, part)
    monkeypatch.setattr("privacy.secagg.unmasking.check_taken", lambda *_: None)
    if part == "y":
        with pytest.raises(FaultyClient, match="does not hold the half that it dealt") as caught:
            made(True)
        assert caught.value.site == site(HOLDER)
    else:
        total = round_.server._total.copy()
        apply(total, made(True))
        reduce(total, round_.parameters.ring_bits)
        assert total.tolist() != round_.sum_over(range(4))
