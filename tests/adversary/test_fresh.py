"""Rounds and attempts share no secret: every value that is drawn or derived belongs to one of them alone."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from clients.site import Site
from federation.round.messages import Frame, Kind
from privacy.secagg.statements import bind_session
from tests.adversary.tapped import Call, record, record_secrets
from tests.clients.sites import FIVE, ROSTER, Round, joined, make_plan, make_terms

ROUNDS = 20
PLAN = make_plan(noise="none", rounds=ROUNDS, dropouts=1)
TERMS = make_terms(PLAN, FIVE)


def _recorded(site: Site, drawn: list[bytes]) -> None:
    def draw(size: int) -> bytes:
        drawn.append(os.urandom(size))
        return drawn[-1]

    site.entropy = draw


def _play(sites: dict[str, Site]) -> tuple[list[bytes], int]:
    """All rounds, each with the keys of the next beside it; their links, and how many were prepared."""
    attempts, prepared, count = [], None, 0
    for number in range(1, ROUNDS + 1):
        terms = replace(TERMS, round=number, attempt=2 if prepared is None else 1)
        following = replace(terms, round=number + 1, attempt=1) if number < ROUNDS else None
        attempts.append(terms)
        round_ = Round(terms, sites, following=following) if prepared is None else prepared
        if prepared is not None and following is not None:
            round_.following = Round(following, sites).coordinator
        victim = sorted(sites)[number % len(sites)]
        lost = ((victim, Kind.BROADCAST),) if number % 5 == 0 else ()
        round_.play(lost=lost)
        prepared = None
        if round_.following is not None and round_.following.is_prepared and not lost:
            prepared, count = Round.prepared(round_), count + 1
    return [bind_session(terms.session, ROSTER.root, terms.parameters) for terms in attempts], count


def test_no_two_rounds_share_a_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[bytes] = []
    sites = joined(tmp_path, PLAN, FIVE)
    for site in sites.values():
        _recorded(site, drawn)
    calls, encapsulated = record(monkeypatch), record_secrets(monkeypatch)
    links, prepared = _play(sites)
    assert prepared == ROUNDS - ROUNDS // 5  # all but the first, and those before which a site came back
    _are_all_apart(drawn, calls)
    roots = {secret for secret, _, use, _ in calls if use == "channel secret"}
    assert {salt for _, salt, use, _ in calls if use == "channel secret"} >= set(links)
    assert roots <= set(drawn)
    # 20 seals in each round, and in each whose keys were prepared in vain.
    assert len(encapsulated) == len({ciphertext for _, ciphertext in encapsulated.values()}) >= 20 * ROUNDS
    assert not encapsulated.keys() & (set(calls.values()) | set(drawn))
    assert len(roots) >= ROUNDS * len(sites)


def _are_all_apart(drawn: list[bytes], calls: dict[Call, bytes]) -> None:
    """Nothing is drawn twice, nor is anything derived twice; a polynomial has a key of its own."""
    pieces = drawn
    assert len(set(pieces)) == len(pieces)
    origins: dict[bytes, set[Call]] = defaultdict(set)
    for call, made in calls.items():
        origins[made].add(call)
    assert all(len(each) == 1 for each in origins.values())
    assert not origins.keys() & set(pieces)
    salts: dict[bytes, set[bytes]] = defaultdict(set)
    for secret, salt, use, _ in calls:
        if use in ("mask secret", "self seed", "channel secret", "channel key", "kem d", "kem z"):
            salts[secret].add(salt)
    assert all(len(each) == 1 for each in salts.values()), "a secret serves one session"


def test_no_two_attempts_share_a_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts that are void at every step in turn, then one that is opened."""
    drawn: list[bytes] = []
    sites = joined(tmp_path, PLAN, FIVE)
    for site in sites.values():
        _recorded(site, drawn)
    calls = record(monkeypatch)
    for attempt, step in enumerate((Kind.ADVERTS, Kind.BROADCAST, Kind.BROADCAST, Kind.CERTIFICATE), 1):
        _give_up(Round(replace(TERMS, attempt=attempt), sites), step)
    Round(replace(TERMS, attempt=5), sites).play()
    _are_all_apart(drawn, calls)
    sessions = {salt for _, salt, use, _ in calls if use == "channel secret"}
    assert len(sessions) == 5


def test_control_a_root_that_serves_two_attempts_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[bytes] = []
    sites = joined(tmp_path, PLAN, FIVE)
    for name, site in sites.items():
        site.entropy = lambda size, name=name: drawn.append(name.encode().ljust(size)) or drawn[-1]  # type: ignore[misc,func-returns-value]
    calls = record(monkeypatch)
    _give_up(Round(TERMS, sites), Kind.BROADCAST)
    Round(replace(TERMS, attempt=2), sites).play()
    with pytest.raises(AssertionError):
        _are_all_apart(drawn, calls)


class _Enough(Exception):
    """The server stops here."""


def _give_up(round_: Round, step: Kind) -> None:
    """Everybody is asked for this step, the last one in vain."""

    def stop(name: str, frame: Frame) -> Frame:
        if frame.kind is step and name == max(FIVE):
            raise _Enough
        return frame

    with pytest.raises(_Enough):
        round_.play(alter=stop)
