"""privacy.secagg.opened: the sum counted again from what was signed, and nothing else is believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from privacy.errors import FaultyServer, ProtocolError
from privacy.secagg.messages import Certificate, Dealt, Sealed
from privacy.secagg.opened import Opened, Upload, recount
from privacy.secagg.server import Phase
from privacy.signing import sign
from privacy.suite import label
from tests.privacy.secagg.rounds import Round, identity, make_roster, site

LOST = frozenset({2, 5})


def _round(lost: frozenset[int] = LOST, n: int = 7, **settings: Any) -> Round:
    round_ = Round(n, colluders=0, **settings).until(Phase.MASK)
    round_.step(round_.everyone - lost)
    return round_.until(Phase.DONE)


def _recount(round_: Round, opened: Opened | None = None, uploads: list[Upload] | None = None) -> list[int]:
    shown = round_.server.opened if opened is None else opened
    assert shown is not None
    made = recount(round_.roster, round_.parameters, shown, round_.uploads if uploads is None else uploads)
    return [int(each) for each in made]


@pytest.fixture(scope="module")
def played() -> Round:
    return _round(levels=(2, 3))


@pytest.mark.parametrize(
    "lost", [frozenset[int](), frozenset({0}), frozenset({6}), LOST, frozenset({0, 3, 6})]
)
def test_the_sum_follows_from_what_is_kept(lost: frozenset[int]) -> None:
    round_ = _round(lost)
    assert _recount(round_) == round_.result() == round_.sum_over(round_.everyone - lost)
    assert [upload.slot for upload in round_.uploads] == sorted(round_.everyone - lost)


def test_uploads_may_come_in_any_order_and_one_at_a_time(played: Round) -> None:
    shown: list[int] = []

    def stream() -> Iterator[Upload]:
        for upload in reversed(played.uploads):
            shown.append(upload.slot)
            yield upload

    assert played.server.opened is not None
    made = recount(played.roster, played.parameters, played.server.opened, stream())
    assert made.tolist() == played.result()
    assert shown == sorted(shown, reverse=True)


def test_on_a_ring_the_sum_follows_as_well() -> None:
    round_ = Round(140, colluders=2, dropouts=6, length=5).until(Phase.MASK)
    round_.step(round_.everyone - {3, 70})
    assert _recount(round_.until(Phase.DONE)) == round_.sum_over(round_.everyone - {3, 70})


def test_the_first_votes_are_kept_beside_those_for_fewer(played: Round) -> None:
    opened = played.server.opened
    assert opened is not None
    assert opened.votes.keys() == opened.survivors == played.everyone - LOST
    for slot, vote in opened.certificate.votes.items():
        assert vote.upload == opened.votes[slot].upload
        assert vote.signature != opened.votes[slot].signature


def test_nothing_that_would_open_a_seal_and_nobody_elses_upload_is_kept(played: Round) -> None:
    """No sealed share, no single share, no late upload: what is there by type, and by value."""
    opened = played.server.opened
    assert opened is not None
    assert {type(each) for each in opened.dealt.values()} == {Dealt}
    assert all(len(set(ends) & LOST) == 1 for ends in opened.dealt)
    held = repr([vars(opened), [vars(upload) for upload in played.uploads]])
    for slot in played.everyone:
        for secret in (played.secrets(slot).channel, played.secrets(slot).seed if slot in LOST else b"-" * 9):
            assert repr(secret)[2:-1] not in held
    assert "Sealed(" not in held
    assert not any(isinstance(value, Sealed) for value in vars(opened).values())
    assert all(seed.hex() not in repr(opened) for seed in opened.seeds.values())


Change = Callable[[Opened, list[Upload]], tuple[Opened, list[Upload]]]


def _flip(data: bytes, at: int = 0) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _swap(opened: Opened, name: str, key: Any, value: Any) -> Opened:
    return replace(opened, **{name: {**getattr(opened, name), key: value}})


def _less(opened: Opened, name: str, key: Any) -> Opened:
    return replace(opened, **{name: {at: each for at, each in getattr(opened, name).items() if at != key}})


def _of_upload(change: Callable[[Upload], Upload]) -> Change:
    return lambda opened, uploads: (opened, [change(uploads[0]), *uploads[1:]])


def _of_opened(change: Callable[[Opened], Opened]) -> Change:
    return lambda opened, uploads: (change(opened), uploads)


def _vote(of: Upload, **changes: bytes) -> Upload:
    return replace(of, vote=replace(of.vote, **changes))


def _advert(opened: Opened, field: str) -> Opened:
    """An advert altered and signed anew, by its own site: the transcript is another one."""
    advert = opened.adverts[1]
    parts = {
        "commitments": (b"x" * 32, *advert.commitments[1:]),
        "channel_key": opened.adverts[2].channel_key,
    }
    return _swap(opened, "adverts", 1, replace(advert, **{field: parts[field]}))


def _certificate(opened: Opened, **changes: Any) -> Opened:
    return replace(opened, certificate=replace(opened.certificate, **changes))


CHANGES: dict[str, Change] = {
    "vector": _of_upload(lambda it: replace(it, packed=_flip(bytes(it.packed)))),
    "wrap": _of_upload(lambda it: replace(it, wraps={**it.wraps, 5: _flip(it.wraps[5])})),
    "wrap missing": _of_upload(lambda it: replace(it, wraps={k: v for k, v in it.wraps.items() if k != 5})),
    "upload's vote": _of_upload(lambda it: _vote(it, signature=_flip(it.vote.signature))),
    "upload's digest": _of_upload(lambda it: _vote(it, upload=_flip(it.vote.upload))),
    "upload of another": _of_upload(lambda it: replace(it, slot=1)),
    "upload twice": lambda opened, uploads: (opened, [*uploads, uploads[0]]),
    "upload missing": lambda opened, uploads: (opened, uploads[1:]),
    "uploads exchanged": lambda opened, uploads: (
        opened,
        [
            replace(uploads[0], packed=uploads[1].packed),
            replace(uploads[1], packed=uploads[0].packed),
            *uploads[2:],
        ],
    ),
    "session": _of_opened(lambda it: replace(it, session=_flip(it.session))),
    "context": _of_opened(lambda it: replace(it, context=_flip(it.context))),
    "sharers": _of_opened(lambda it: replace(it, sharers=it.sharers - {5})),
    "vote": _of_opened(lambda it: _swap(it, "votes", 0, replace(it.votes[0], signature=bytes(64)))),
    "vote missing": _of_opened(lambda it: _less(it, "votes", 0)),
    "advert": _of_opened(lambda it: _advert(it, "commitments")),
    "advert's key": _of_opened(lambda it: _advert(it, "channel_key")),
    "advert missing": _of_opened(lambda it: _less(it, "adverts", 1)),
    "certificate's votes": _of_opened(
        lambda it: _certificate(it, votes=dict(list(it.certificate.votes.items())[:2]))
    ),
    "certificate's set": _of_opened(lambda it: _certificate(it, survivors=it.survivors - {0})),
    "taken": _of_opened(lambda it: _swap(it, "taken", 0, {**it.taken[0], 5: bytes(32)})),
    "taken missing": _of_opened(lambda it: _less(it, "taken", 0)),
    "taken of one missing": _of_opened(
        lambda it: _swap(it, "taken", 0, {k: v for k, v in it.taken[0].items() if k != 5})
    ),
    "dealt missing": _of_opened(lambda it: _less(it, "dealt", (5, 0))),
    "dealt by the lost": _of_opened(
        lambda it: _swap(it, "dealt", (5, 0), replace(it.dealt[5, 0], digests=_flip(it.dealt[5, 0].digests)))
    ),
    "dealt to the lost": _of_opened(
        lambda it: _swap(it, "dealt", (0, 5), replace(it.dealt[0, 5], digests=_flip(it.dealt[0, 5].digests)))
    ),
    "seed": _of_opened(lambda it: _swap(it, "seeds", 0, _flip(it.seeds[0]))),
    "seed of the lost": _of_opened(lambda it: _swap(it, "seeds", 5, bytes(32))),
    "seed missing": _of_opened(lambda it: _less(it, "seeds", 0)),
    "secret": _of_opened(lambda it: _swap(it, "secrets", 5, _flip(it.secrets[5]))),
    "secret missing": _of_opened(lambda it: _less(it, "secrets", 5)),
    "excess": _of_opened(lambda it: _swap(it, "excess", 0, (2, _flip(it.excess[0][1])))),
    "level of excess": _of_opened(lambda it: _swap(it, "excess", 0, (1, it.excess[0][1]))),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_one_thing_altered_is_found_and_nobody_but_the_server_is_blamed(
    change: Change, played: Round
) -> None:
    opened = played.server.opened
    assert opened is not None
    altered, uploads = change(opened, list(played.uploads))
    with pytest.raises(FaultyServer):
        _recount(played, altered, uploads)


@pytest.mark.parametrize("at", range(19))
def test_any_bit_of_an_upload_counts(at: int, played: Round) -> None:
    upload = played.uploads[2]
    assert len(upload.packed) > 16
    packed = _flip(bytes(upload.packed), at % len(upload.packed))
    with pytest.raises(FaultyServer, match="did not vote for"):
        _recount(
            played,
            None,
            [replace(upload, packed=packed) if each is upload else each for each in played.uploads],
        )


def test_another_roster_or_other_parameters_give_no_sum(played: Round) -> None:
    opened = played.server.opened
    assert opened is not None
    newer = make_roster(played.parameters.members, serial=2)
    for roster, rules in (
        (newer, played.parameters),
        (make_roster(played.parameters.members[1:]), played.parameters),
        (played.roster, replace(played.parameters, ring_bits=22)),
        (played.roster, replace(played.parameters, levels=())),
    ):
        with pytest.raises(ProtocolError):
            recount(roster, rules, opened, played.uploads)


def test_seeds_of_excess_noise_may_be_missing_and_then_stay_in(played: Round) -> None:
    opened = played.server.opened
    assert opened is not None
    assert {level for level, _ in opened.excess.values()} == {2}
    assert _recount(played, _less(opened, "excess", 0)) == played.result()


def test_a_second_signature_of_a_dealer_frames_nobody(played: Round) -> None:
    """I16: the lost site 5 signs, with the server, other halves for site 0, and site 0's wrap seems wrong."""
    opened = played.server.opened
    assert opened is not None
    first = opened.dealt[5, 0]
    ends = b"\0\x05", b"\0\x00"
    digests = bytes(len(first.digests))
    second = Dealt(digests, sign(identity(site(5)), label("dealt"), played.server._link, *ends, digests))
    with pytest.raises(FaultyServer, match="site-0 did not take"):
        _recount(played, _swap(opened, "dealt", (5, 0), second))


def test_a_sum_of_fewer_than_required_is_none(played: Round) -> None:
    opened = played.server.opened
    assert opened is not None
    few = replace(opened, certificate=Certificate(frozenset({0, 1, 3}), {}))
    with pytest.raises(FaultyServer, match="sum of 3 sites"):
        _recount(played, few)
