"""Ledgers under each other's eyes: a site that is shown where its own ended refuses if it ends earlier now."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clients.site import Site
from federation.errors import TooFewSurvivors
from federation.round.messages import Broadcast, Frame, Kind, Paired, Reason, Welcome, abort_reason, few
from privacy.canonical import Fields
from privacy.errors import FaultyServer, LedgerCorrupt
from privacy.ledger.heads import Head
from privacy.ledger.state import fold
from server.memory.heads import PEERS, Heads
from tests.clients.sites import (
    FIVE,
    ROSTER,
    SIZES,
    Round,
    hello,
    identity,
    joined,
    kinds,
    make_plan,
    make_site,
    make_terms,
    refused,
)

PLAN = make_plan()
FIRST = make_terms(PLAN)
SECOND = replace(FIRST, round=2, attempt=2)


def never(_: object) -> Any:
    raise AssertionError("the data are read")


def head_after(site: Site, seq: int) -> Head:
    """The head that a site showed when its ledger ended in entry `seq`."""
    genesis = fold(site.journal.entries()).tip.genesis
    return Head.signed(genesis.site, genesis.ledger, site.journal.entries()[seq], identity(genesis.site))


def restored(copy: Path, path: Path) -> None:
    """An older copy of the file in the place of the journal."""
    shutil.copy(copy, path)


def cut(copy: Path, path: Path) -> None:
    """The journal without its last entries, in the very same file."""
    with closing(sqlite3.connect(copy)) as older:
        (last,) = older.execute("SELECT max(seq) FROM entries").fetchone()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM entries WHERE seq > ?", (last,))
        connection.execute("DELETE FROM releases")


Rewind = Callable[[Path, Path], None]
rewinds = pytest.mark.parametrize("rewind", [restored, cut])


def set_back(folder: Path, sites: dict[str, Site], rewind: Rewind, entries: int) -> Path:
    """Berlin's ledger, stopped, back where it had so many entries; what is played before is in `sites`."""
    path = folder / "berlin.sqlite"
    sites["berlin"].close()
    assert not path.with_name("berlin.sqlite-wal").exists()
    rewind(folder / "older.sqlite", path)
    sites["berlin"] = make_site(folder, PLAN, "berlin", FIVE["berlin"])
    assert len(sites["berlin"].journal.entries()) == entries
    return path


def copied_after_consent(folder: Path) -> tuple[dict[str, Site], int]:
    """Sites that consented, and a copy of berlin's ledger of that time, of so many entries."""
    sites = joined(folder, PLAN)
    count = len(sites["berlin"].journal.entries())
    sites["berlin"].close()
    shutil.copy(folder / "berlin.sqlite", folder / "older.sqlite")
    sites["berlin"] = make_site(folder, PLAN, "berlin", FIVE["berlin"])
    assert Frame.from_bytes(sites["berlin"].receive(hello(PLAN))).kind is Kind.WELCOME
    return sites, count


@rewinds
def test_a_ledger_set_back_between_two_rounds_is_found_before_data_are_read(
    rewind: Rewind, tmp_path: Path
) -> None:
    """DP-33, DP-34: tail cut off or snapshot restored, the server shows the newest head with the next params."""
    sites, entries = copied_after_consent(tmp_path)
    heads = Heads(ROSTER)
    Round(FIRST, sites, heads=heads).play()
    assert heads.of(["berlin"])["berlin"].seq == entries + 3
    set_back(tmp_path, sites, rewind, entries)
    site = sites["berlin"]
    assert Frame.from_bytes(site.receive(hello(PLAN))).kind is Kind.WELCOME  # an old greeting, without heads
    assert site._joined is not None
    site._joined.trainer = replace(site._joined.trainer, stream=never)
    second = Round(SECOND, sites, heads=heads)
    with pytest.raises(TooFewSurvivors):
        second.play()
    reply = Frame.from_bytes(second.replies["berlin", Kind.BROADCAST])
    assert (reply.kind, abort_reason(reply.body)) == (Kind.ABORT, Reason.FAILED)
    assert isinstance(site.last_error, LedgerCorrupt)
    assert "no longer has" in str(site.last_error)
    assert len(site.journal.entries()) == entries  # nothing begun


@rewinds
def test_a_ledger_set_back_that_nobody_remembers_is_not_found(rewind: Rewind, tmp_path: Path) -> None:
    """DP-33, DP-34, the failing control: a chain alone does not show that its end is missing."""
    sites, entries = copied_after_consent(tmp_path)
    Round(FIRST, sites).play()
    set_back(tmp_path, sites, rewind, entries)
    assert Frame.from_bytes(sites["berlin"].receive(hello(PLAN))).kind is Kind.WELCOME
    assert Round(SECOND, sites).play().coordinator.survivors == tuple(SIZES)
    assert kinds(sites["berlin"])[entries:] == ["begin", "release", "mask", "reveal"]


@rewinds
@pytest.mark.parametrize("reminded", [True, False])
def test_a_ledger_set_back_before_a_greeting_is_found_by_it(
    rewind: Rewind, reminded: bool, tmp_path: Path
) -> None:
    """DP-33, DP-34: and without anyone who remembers, the failing control, it is not."""
    sites, entries = copied_after_consent(tmp_path)
    Round(FIRST, sites).play()
    newest = (sites["berlin"].journal.head(),) if reminded else ()
    set_back(tmp_path, sites, rewind, entries)
    site = sites["berlin"]
    load, site.load = site.load, never
    if not reminded:
        site.load = load
        assert Frame.from_bytes(site.receive(hello(PLAN, heads=newest))).kind is Kind.WELCOME
        return
    assert refused(site, hello(PLAN, heads=newest)) is Reason.FAILED
    assert isinstance(site.last_error, LedgerCorrupt)
    assert len(site.journal.entries()) == entries


def test_a_journal_made_anew_is_found_by_its_old_head(tmp_path: Path) -> None:
    """DP-34: the same pool has the same tag, so a deleted ledger is no ledger of another pool."""
    sites = joined(tmp_path, PLAN)
    newest = sites["berlin"].journal.head()
    sites["berlin"].close()
    (tmp_path / "berlin.sqlite").unlink()
    anew = make_site(tmp_path, PLAN, "berlin", 24, load=never)
    assert refused(anew, hello(PLAN, heads=(newest,))) is Reason.FAILED
    assert isinstance(anew.last_error, LedgerCorrupt)
    assert kinds(anew) in (["genesis"], ["genesis", "roster"])  # no budget was given out


def test_older_heads_of_its_own_do_not_disturb_a_site(tmp_path: Path) -> None:
    sites = joined(tmp_path, PLAN)
    Round(FIRST, sites).play()
    site = sites["berlin"]
    every = tuple(head_after(site, seq) for seq in range(len(kinds(site))))
    assert Frame.from_bytes(site.receive(hello(PLAN, heads=every))).kind is Kind.WELCOME


def forged(site: Site) -> Head:
    head = site.journal.head()
    return replace(head, seq=head.seq + 7)  # and so not what its site signed


def of_a_stranger(site: Site) -> Head:
    genesis = site.journal.entries()[0]
    return Head.signed("zurich", bytes(32), genesis, identity("zurich"))


@pytest.mark.parametrize("whose", ["berlin", "amsterdam", "zurich"])
@pytest.mark.parametrize("when", ["greeting", "round"])
def test_a_head_that_its_site_did_not_sign_accuses_the_server(when: str, whose: str, tmp_path: Path) -> None:
    """Its own as well as a peer's: a server cannot stop a site by a made-up head without being named for it."""
    sites = joined(tmp_path, PLAN)
    site, before = sites["berlin"], kinds(sites["berlin"])
    wrong = of_a_stranger(sites["berlin"]) if whose == "zurich" else forged(sites[whose])
    assert site._joined is not None
    site._joined.trainer = replace(site._joined.trainer, stream=never)

    def show(name: str, frame: Frame) -> Frame:
        if (name, frame.kind) != ("berlin", Kind.BROADCAST):
            return frame
        paired = Paired.from_bytes(frame.body)
        shown = replace(Broadcast.from_bytes(paired.own), heads=(wrong,))
        return replace(frame, body=replace(paired, own=shown.to_bytes()).to_bytes())

    if when == "greeting":
        assert refused(site, hello(PLAN, heads=(wrong,))) is Reason.PROTOCOL
    else:
        played = Round(FIRST, sites)
        with pytest.raises(TooFewSurvivors):
            played.play(alter=show)
        reply = Frame.from_bytes(played.replies["berlin", Kind.BROADCAST])
        assert abort_reason(reply.body) is Reason.PROTOCOL
    assert isinstance(site.last_error, FaultyServer)
    assert kinds(site) == before


def test_what_peers_showed_is_on_record_once_with_the_round_it_came_with(tmp_path: Path) -> None:
    sites, heads = joined(tmp_path, PLAN), Heads(ROSTER)
    for number in (1, 2, 3):
        terms = replace(FIRST, round=number, attempt=number)
        assert Round(terms, sites, heads=heads).play().coordinator.survivors == tuple(SIZES)
    round_of = ["begin", "release", "mask", "reveal"]
    for name, site in sites.items():
        seen = ["witness", *round_of]
        assert kinds(site)[4:] == [*round_of, *seen, *seen]  # in the first round nobody has shown anything
        for entry in site.journal.entries():
            if entry.kind == "witness":
                assert set(Fields(entry.body).table("heads")) == set(SIZES) - {name}
        for head in site.journal.witnessed():
            assert head.is_signed_by(ROSTER.by_site[head.site].key)
            assert sites[head.site].journal.entries()[head.seq].hash == head.hash


def test_a_site_is_shown_and_keeps_the_heads_of_a_few_peers_only(tmp_path: Path) -> None:
    plan = make_plan(minimum=5)
    sites, heads = joined(tmp_path, plan, FIVE), Heads(ROSTER)
    for number in (1, 2):
        Round(make_terms(plan, FIVE, round=number, attempt=number), sites, heads=heads).play()
    for site in sites.values():
        witnessed = [entry for entry in site.journal.entries() if entry.kind == "witness"]
        assert len(witnessed) == 1
        assert len(Fields(witnessed[0].body).table("heads")) <= PEERS
    assert {head.site for site in sites.values() for head in site.journal.witnessed()} == set(FIVE)


def test_a_site_greets_with_what_it_witnessed(tmp_path: Path) -> None:
    """DP-34: so a server that lost its memory finds a restored ledger by those of the peers."""
    sites, heads = joined(tmp_path, PLAN), Heads(ROSTER)
    for number in (1, 2):
        Round(replace(FIRST, round=number, attempt=number), sites, heads=heads).play()
    site = sites["berlin"]
    shown = Welcome.from_bytes(Frame.from_bytes(site.receive(hello(PLAN))).body)
    assert shown.head == site.journal.head()
    assert shown.heads == few(site.journal.witnessed()) != ()
    assert {head.site for head in (shown.head, *shown.heads)} == set(SIZES)


def test_a_server_that_shows_no_heads_harms_nothing_else(tmp_path: Path) -> None:
    sites = joined(tmp_path, PLAN)
    for number in (1, 2):
        played = Round(replace(FIRST, round=number, attempt=number), sites).play()
        assert played.coordinator.survivors == tuple(SIZES)
    assert all("witness" not in kinds(site) for site in sites.values())


def hide(name: str, frame: Frame) -> Frame:
    """Show berlin nothing."""
    if (name, frame.kind) != ("berlin", Kind.BROADCAST):
        return frame
    paired = Paired.from_bytes(frame.body)
    bare = replace(Broadcast.from_bytes(paired.own), heads=())
    return replace(frame, body=replace(paired, own=bare.to_bytes()).to_bytes())


@pytest.mark.parametrize("remembers", [True, False])
def test_the_server_goes_on_without_a_site_whose_ledger_went_back(remembers: bool, tmp_path: Path) -> None:
    """DP-34: the site itself is shown nothing; with a server that never saw more, the control, it stays."""
    plan = make_plan(minimum=5, dropouts=1)
    sites, terms = joined(tmp_path, plan, FIVE), make_terms(plan, FIVE)
    last = sites["berlin"].journal.entries()[-1]
    genesis = fold(sites["berlin"].journal.entries()).tip.genesis
    newer = Head.signed("berlin", genesis.ledger, replace(last, seq=last.seq + 90), identity("berlin"))
    played = Round(terms, sites, heads=Heads(ROSTER, [newer] if remembers else [])).play(alter=hide)
    assert Frame.from_bytes(played.replies["berlin", Kind.BROADCAST]).kind is Kind.MASKED
    assert ("berlin" in played.coordinator.survivors) is not remembers
    assert set(played.coordinator.survivors) >= set(FIVE) - {"berlin"}
    if remembers:
        assert "older than the one it showed before" in played.coordinator.left["berlin"]


def test_a_site_that_shows_no_head_is_in_no_sum(tmp_path: Path) -> None:
    plan = make_plan(minimum=5, dropouts=1)
    sites, terms = joined(tmp_path, plan, FIVE), make_terms(plan, FIVE)

    class Shy(Site):
        def receive(self, data: bytes) -> bytes:
            frame = Frame.from_bytes(super().receive(data))
            if frame.kind is not Kind.MASKED:
                return frame.to_bytes()
            bare = replace(Paired.from_bytes(frame.body), heads=())
            return replace(frame, body=bare.to_bytes()).to_bytes()

    sites["berlin"].__class__ = Shy
    played = Round(terms, sites, heads=Heads(ROSTER)).play()
    assert played.coordinator.survivors == ("amsterdam", "cleveland", "dresden", "essen")
    assert "shows no head" in played.coordinator.left["berlin"]
