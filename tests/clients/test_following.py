"""The next round travels with this one: its keys come along, and whatever is wrong with it harms only itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.participant import settle
from clients.site import Site
from federation.round.messages import Frame, Invitation, Kind, Member, Paired
from federation.round.terms import Terms
from privacy.errors import FaultyServer
from tests.clients.sites import (
    RUN,
    SIZES,
    Round,
    hello,
    invite,
    joined,
    kinds,
    make_params,
    make_plan,
    make_terms,
    without_head,
)

PLAN = make_plan("record", "none")
FIRST = make_terms(PLAN)
SECOND = replace(FIRST, round=2, attempt=2)


def following(frame: bytes) -> bytes:
    """What a frame carries of the next round."""
    return Paired.from_bytes(Frame.from_bytes(frame).body).following


def carrying(data: bytes) -> Callable[[str, Frame], Frame]:
    """Put other bytes in the place of the next round's frame, for berlin."""

    def alter(name: str, frame: Frame) -> Frame:
        if (name, frame.kind) != ("berlin", Kind.BROADCAST):
            return frame
        return replace(frame, body=replace(Paired.from_bytes(frame.body), following=data).to_bytes())

    return alter


def test_a_prepared_round_needs_neither_invitation_nor_adverts(tmp_path: Path) -> None:
    sites = joined(tmp_path, PLAN)
    first = Round(FIRST, sites, following=SECOND).play()
    for name in SIZES:
        for kind, answer in ((Kind.BROADCAST, Kind.ADVERT), (Kind.CERTIFICATE, Kind.SHARES)):
            frame = Frame.from_bytes(following(first.replies[name, kind]))
            assert (frame.kind, frame.run, frame.round, frame.attempt) == (answer, *SECOND.place)
    assert first.following is not None
    assert first.following.is_prepared
    second = Round.prepared(first).play()
    assert {kind for _, kind in second.requests} == {Kind.BROADCAST, Kind.CERTIFICATE}
    assert second.coordinator.survivors == tuple(SIZES)
    for played, terms in ((first, FIRST), (second, SECOND)):
        ring, total = np.uint64((1 << terms.codec.ring_bits) - 1), np.zeros(terms.dimension, np.uint64)
        for site in joined(tmp_path / f"twins {terms.round}", PLAN).values():  # no noise: the same vectors
            total += site.release(terms, make_params())
        assert played.coordinator.result is not None
        assert np.array_equal(played.coordinator.result, total & ring)
    round_of = ["begin", "release", "mask", "reveal"]
    assert all(
        kinds(site) == ["genesis", "roster", "budget", "reserve", *round_of, *round_of]
        for site in sites.values()
    )


def test_keys_are_exchanged_ahead_but_nothing_is_charged_or_trained_ahead(tmp_path: Path) -> None:
    sites = joined(tmp_path, PLAN)
    Round(FIRST, sites, following=SECOND).play()
    for site in sites.values():
        assert [entry.body["round"] for entry in site.journal.entries() if entry.kind == "begin"] == [1]


def test_a_replayed_request_carries_the_same_answer_of_the_next_round(tmp_path: Path) -> None:
    sites = joined(tmp_path, PLAN)
    first = Round(FIRST, sites, following=SECOND).play()
    for kind in (Kind.BROADCAST, Kind.CERTIFICATE):
        again = sites["berlin"].receive(first.requests["berlin", kind])
        assert without_head(again) == without_head(first.replies["berlin", kind])


def members(*names: str) -> tuple[Member, ...]:
    return tuple(Member(name, SIZES.get(name, 9)) for name in names)


def invitation(terms: Terms, shown: tuple[Member, ...]) -> bytes:
    return Frame(Kind.INVITE, *terms.place, Invitation(shown).to_bytes()).to_bytes()


WRONG = {
    "no frame": b"rubbish",
    "half a frame": invite(SECOND)[:-5],
    "of this round": invite(replace(FIRST, attempt=2)),
    "of the round after the next": invite(replace(SECOND, round=3)),
    "of a round that the plan has not": invite(replace(SECOND, round=5)),
    "of another run": invite(replace(SECOND, run=bytes(16))),
    "a greeting": hello(PLAN),
    "a greeting for the next round": Frame(
        Kind.HELLO, RUN, 2, 2, Frame.from_bytes(hello(PLAN)).body
    ).to_bytes(),
    "a broadcast": Frame(Kind.BROADCAST, *SECOND.place, Paired(b"", b"").to_bytes()).to_bytes(),
    "adverts without an invitation": Frame(Kind.ADVERTS, *SECOND.place, b"").to_bytes(),
    "a small cohort": invitation(SECOND, members("amsterdam", "berlin")),
    "a stranger": invitation(SECOND, members("amsterdam", "berlin", "zurich")),
    "without this site": invitation(SECOND, members("amsterdam", "cleveland", "dresden")),
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_frame_of_the_next_round_does_not_harm_this_one(data: bytes, tmp_path: Path) -> None:
    sites = joined(tmp_path, PLAN)
    played = Round(FIRST, sites).play(alter=carrying(data))
    assert played.coordinator.survivors == tuple(SIZES)
    assert following(played.replies["berlin", Kind.BROADCAST]) == b""
    assert sites["berlin"].last_error is not None
    assert Round(SECOND, sites).play().coordinator.survivors == tuple(SIZES)


@pytest.fixture(scope="module")
def tireless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Iterator[int], dict[str, Site]]]:
    """Sites that play the first round again and again, and the number of the next attempt."""
    sites = joined(tmp_path_factory.mktemp("tireless"), PLAN)
    yield count(1), sites
    for site in sites.values():
        site.close()


@settings(max_examples=60, deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=80), st.binary(max_size=40).map(lambda tail: invite(SECOND)[:-3] + tail)
    )
)
def test_any_bytes_in_the_place_of_the_next_round_leave_this_one_whole(
    data: bytes, tireless: tuple[Iterator[int], dict[str, Site]]
) -> None:
    attempts, sites = tireless
    played = Round(replace(FIRST, attempt=next(attempts)), sites).play(alter=carrying(data))
    assert played.coordinator.survivors == tuple(SIZES)


def test_not_even_a_bug_of_ours_in_the_next_round_harms_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(plan: object, frame: Frame, *rest: object) -> Terms:
        if frame.round == SECOND.round:
            raise ZeroDivisionError
        return settle(plan, frame, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("clients.site.settle", broken)
    sites = joined(tmp_path, PLAN)
    played = Round(FIRST, sites, following=SECOND).play()
    assert played.coordinator.survivors == tuple(SIZES)
    assert all(isinstance(site.last_error, ZeroDivisionError) for site in sites.values())


def test_spoiled_adverts_of_the_next_round_end_it_and_not_this_one(tmp_path: Path) -> None:
    sites = joined(tmp_path, PLAN)

    def spoil(name: str, frame: Frame) -> Frame:
        if (name, frame.kind) != ("berlin", Kind.CERTIFICATE):
            return frame
        paired = Paired.from_bytes(frame.body)
        ahead = Frame.from_bytes(paired.following)
        assert ahead.kind is Kind.ADVERTS
        spoiled = replace(ahead, body=bytes(ahead.body[:-1]) + bytes([ahead.body[-1] ^ 1]))
        return replace(frame, body=replace(paired, following=spoiled.to_bytes()).to_bytes())

    first = Round(FIRST, sites, following=SECOND).play(alter=spoil)
    assert first.coordinator.survivors == tuple(SIZES)
    assert following(first.replies["berlin", Kind.CERTIFICATE]) == b""
    assert isinstance(sites["berlin"].last_error, FaultyServer)
    assert first.following is not None
    assert not first.following.is_prepared
    assert Round(replace(SECOND, attempt=3), sites).play().coordinator.survivors == tuple(SIZES)


def test_a_round_that_fails_leaves_the_prepared_one_usable_but_its_own_next_attempt_comes_first(
    tmp_path: Path,
) -> None:
    sites = joined(tmp_path, PLAN)
    site = sites["berlin"]
    site.receive(invite(FIRST))
    ahead = site.receive(invite(SECOND))
    assert Round(replace(FIRST, attempt=2), sites).play().coordinator.survivors == tuple(SIZES)
    assert site.receive(invite(SECOND)) == ahead
