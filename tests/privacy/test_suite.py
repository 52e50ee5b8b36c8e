"""Suites 2 and 3 are refused by name wherever they knock: their messages, rosters, signatures."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from privacy.errors import FaultyServer, MalformedMessage
from privacy.roster import Roster, SignedRoster
from privacy.secagg.messages import Advert, Kind, kind_of
from privacy.secagg.server import Phase
from privacy.signing import public_identity, sign
from privacy.suite import BROKEN, OLDER, SUITE, label
from tests import ROOT
from tests.privacy.secagg.rounds import Round, identity, make_roster, site

REASONS = {
    BROKEN: "secagg/2 is refused, as it lets a hostile server read single updates",
    OLDER: "secagg/3 is refused, as it is older; this side speaks secagg/4",
}
EACH = pytest.mark.parametrize("suite", REASONS, ids=["broken", "older"])
CONSORTIUM = identity("consortium")


@EACH
@pytest.mark.parametrize("kind", Kind)
def test_every_message_of_an_earlier_suite_is_refused_with_one_line_that_says_why(
    kind: Kind, suite: int
) -> None:
    """I15."""
    with pytest.raises(MalformedMessage, match=REASONS[suite]) as caught:
        kind_of(bytes([suite, kind]))
    assert "\n" not in str(caught.value)
    assert "newer version" in caught.value.hint


@pytest.mark.parametrize("version", [0, 1, 5, 255])
def test_an_unknown_suite_is_refused_too(version: int) -> None:
    with pytest.raises(MalformedMessage, match=rf"secagg/{version} is refused, as it is unknown here"):
        kind_of(bytes([version, Kind.ADVERT]))


@EACH
@pytest.mark.parametrize("phase", [Phase.ADVERTISE, Phase.SHARE, Phase.MASK, Phase.REVEAL])
def test_a_site_of_an_earlier_suite_is_left_out_and_named(phase: Phase, suite: int) -> None:
    round_ = Round(5).until(phase)
    round_.receive(1, bytes([suite]) + round_.answer(1)[1:])
    assert REASONS[suite] in round_.server.faulty["site-1"]


@EACH
def test_a_server_of_an_earlier_suite_gets_nothing_from_a_site(suite: int) -> None:
    round_ = Round(5).until(Phase.SHARE)
    with pytest.raises(MalformedMessage, match=REASONS[suite]):
        round_.clients[0].share(bytes([suite]) + round_.inbox[0][1:])


def test_an_advert_without_a_kem_key_is_no_advert() -> None:
    """I15: as suite 3 wrote it, under the number of this one."""
    advert = Advert.from_bytes(Round(5).clients[0].advertise())
    older = bytes([SUITE, Kind.ADVERT]) + advert.channel_key + advert.statement[-96:] + advert.signature
    with pytest.raises(MalformedMessage, match="ends too early"):
        Advert.from_bytes(older)


@EACH
def test_a_roster_of_an_earlier_suite_is_refused_with_the_reason_before_its_signatures_are_looked_at(
    suite: int,
) -> None:
    roster = replace(make_roster(map(site, range(3))), suite=suite)
    signed = SignedRoster.by(roster, [CONSORTIUM])
    with pytest.raises(MalformedMessage, match=REASONS[suite]):
        signed.verified([public_identity(CONSORTIUM)], 1, serial=0)
    assert signed.is_signed_by(public_identity(CONSORTIUM))  # the control: it is a good one of its suite


@EACH
def test_a_signature_under_the_label_of_an_earlier_suite_counts_for_nothing(suite: int) -> None:
    roster = make_roster(map(site, range(3)))
    signature = sign(CONSORTIUM, label("roster", suite), roster.to_bytes())
    signed = SignedRoster(roster.to_bytes(), {public_identity(CONSORTIUM): signature})
    with pytest.raises(FaultyServer, match="signed by 0 of the pinned"):
        signed.verified([public_identity(CONSORTIUM)], 1, serial=0)


def test_a_roster_has_another_root_in_each_suite() -> None:
    roster: Roster = make_roster(map(site, range(3)))
    assert len({replace(roster, suite=suite).root for suite in (SUITE, *REASONS)}) == 3


def test_no_label_of_another_suite_is_written_anywhere() -> None:
    """A label that names its suite by hand would outlive the suite."""
    paths = [path for path in (ROOT / "privacy").rglob("*.py") if path.name != "suite.py"]
    assert len(paths) > 20
    for path in paths:
        assert not re.search(r'"secagg/\d', path.read_text()), path
    assert label("vote") == f"secagg/{SUITE}/vote" == "secagg/4/vote"
