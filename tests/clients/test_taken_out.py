"""DP-62: Noise that may be taken out again: one secret a round, in every attempt, kept with what was released."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clients.release import Payload, release
from clients.site import Site
from federation.errors import TooFewSurvivors
from federation.plan.plan import Plan
from federation.round.messages import Frame, Kind, Reason, abort_reason
from federation.round.parts import secrets_of, streams_of, without_excess
from federation.round.terms import Terms
from privacy.errors import PolicyViolation
from privacy.mechanism.encoding import RingVector
from privacy.secagg.ring import unpack
from tests.clients.sites import (
    FIVE,
    RUN,
    Round,
    hello,
    invite,
    joined,
    key_of,
    keyed_trainer,
    make_data,
    make_params,
    make_plan,
    make_site,
    make_terms,
    open_journal,
)

LOSABLE: dict[str, object] = {"dropouts": 1, "colluders": 1}


def five(folder: Path, **changes: object) -> tuple[Plan, dict[str, Site], Terms]:
    plan = make_plan(**{**LOSABLE, **changes})
    return plan, joined(folder, plan, FIVE), make_terms(plan, FIVE, attempt=2)


def kept(site: Site, terms: Terms) -> tuple[RingVector, bytes]:
    """What the journal holds of a round: the vector, and the secret."""
    sealed = site.journal.kept(*terms.account)
    assert sealed is not None
    vector, secret, cohort = Payload(terms.length, terms.codec.ring_bits).split(sealed)
    assert (secret == b"") is (cohort == b"")
    return unpack(vector, terms.length, terms.codec.ring_bits).astype(np.uint64), secret


def without_parts(site: str, vector: RingVector, secret: bytes, terms: Terms, lost: int) -> RingVector:
    """A vector less the parts of its noise that a sum which lost so many does not need."""
    level = terms.levels.level(lost)
    streams = streams_of(terms, site, secrets_of(terms, site, secret)[level:])
    return vector - terms.kind.excess(terms.parties, lost, streams) if streams else vector


def taken_out(round_: Round) -> tuple[RingVector, tuple[str, ...], tuple[str, ...]]:
    coordinator = round_.coordinator
    assert coordinator.result is not None
    found = without_excess(coordinator.terms, coordinator.result, coordinator.survivors, coordinator.excess)
    return found.total, found.reduced, found.left


def expected(sites: dict[str, Site], survivors: tuple[str, ...], terms: Terms) -> RingVector:
    lost = len(terms.members) - len(survivors)
    parts = [without_parts(name, *kept(sites[name], terms), terms, lost) for name in survivors]
    return np.sum(parts, axis=0, dtype=np.uint64) & np.uint64((1 << terms.codec.ring_bits) - 1)


def test_where_nobody_is_lost_every_site_s_excess_is_taken_out(tmp_path: Path) -> None:
    _, sites, terms = five(tmp_path)
    total, reduced, stayed = taken_out(Round(terms, sites).play())
    assert (reduced, stayed) == (tuple(FIVE), ())
    assert np.array_equal(total, expected(sites, tuple(FIVE), terms))


@pytest.mark.parametrize("stage", [Kind.INVITE, Kind.ADVERTS, Kind.BROADCAST])
def test_whenever_a_site_is_lost_all_noise_that_counts_stays(stage: Kind, tmp_path: Path) -> None:
    """With its only dropout gone a plan has no excess left, also if the site never shared."""
    _, sites, terms = five(tmp_path)
    round_ = Round(terms, sites).play(lost=(("berlin", stage),))
    rest = tuple(name for name in FIVE if name != "berlin")
    assert round_.coordinator.survivors == rest
    assert round_.coordinator.excess == {}
    assert np.array_equal(taken_out(round_)[0], round_.coordinator.result)
    assert np.array_equal(expected(sites, rest, terms), round_.coordinator.result)


@pytest.mark.parametrize("stage", [Kind.INVITE, Kind.BROADCAST])
def test_with_one_of_two_dropouts_gone_the_second_one_s_part_is_taken_out(
    stage: Kind, tmp_path: Path
) -> None:
    """Of five sites without colluders; the shares of four are then 3/4 of their variance."""
    _, sites, terms = five(tmp_path, dropouts=2, colluders=0)
    round_ = Round(terms, sites).play(lost=(("essen", stage),))
    total, reduced, _ = taken_out(round_)
    assert reduced == round_.coordinator.survivors == tuple(name for name in FIVE if name != "essen")
    assert np.array_equal(total, expected(sites, reduced, terms))
    assert not np.array_equal(total, round_.coordinator.result)


def test_a_site_that_reveals_nothing_loses_nothing_of_the_sum(tmp_path: Path) -> None:
    """Its secret is rebuilt by the others: it is shared, and no site hands in its own."""
    _, sites, terms = five(tmp_path)
    round_ = Round(terms, sites).play(lost=(("essen", Kind.CERTIFICATE),))
    total, reduced, stayed = taken_out(round_)
    assert (reduced, stayed) == (tuple(FIVE), ())
    assert np.array_equal(total, expected(sites, tuple(FIVE), terms))


def restarted(folder: Path, plan: Plan, sites: dict[str, Site], name: str) -> None:
    sites[name].close()
    sites[name] = make_site(folder, plan, name, FIVE[name])
    sites[name].receive(hello(plan))


def test_a_site_restarted_between_attempts_shares_the_secret_of_the_noise_it_released(tmp_path: Path) -> None:
    plan, sites, terms = five(tmp_path)
    gone = (("amsterdam", Kind.BROADCAST), ("essen", Kind.BROADCAST))
    with pytest.raises(TooFewSurvivors):
        Round(terms, sites).play(lost=gone)
    before = kept(sites["berlin"], terms)
    restarted(tmp_path, plan, sites, "berlin")
    again = Round(replace(terms, attempt=3), sites).play()
    vector, secret = kept(sites["berlin"], terms)
    assert np.array_equal(vector, before[0])
    assert secret == before[1] == again.coordinator.excess["berlin"]
    total, reduced, _ = taken_out(again)
    assert reduced == tuple(FIVE)
    assert np.array_equal(total, expected(sites, tuple(FIVE), terms))


def advertised(site: Site, terms: Terms) -> bytes:
    """The secret that a site shares in an attempt."""
    assert Frame.from_bytes(site.receive(invite(terms))).kind is Kind.ADVERT
    return site._joined.rounds[terms.round].excess  # type: ignore[union-attr]


def test_until_something_is_released_every_attempt_has_a_secret_of_its_own(tmp_path: Path) -> None:
    _, sites, terms = five(tmp_path)
    places = [terms, replace(terms, attempt=3), replace(terms, round=2, attempt=3)]
    secrets = [advertised(sites["berlin"], place) for place in places]
    assert len(set(secrets)) == 3
    assert {len(secret) for secret in secrets} == {32}
    assert advertised(sites["berlin"], places[-1]) == secrets[-1], "the same invitation again"


def test_what_was_released_is_never_dealt_to_another_cohort(tmp_path: Path) -> None:
    """Its members could be shown, without this site in the sum, a set that lost nobody, and open it.

    The first cohort's sum, if it lost a site, needs all of the noise that follows from it.
    """
    _, sites, terms = five(tmp_path)
    with pytest.raises(TooFewSurvivors):
        Round(terms, sites).play(lost=(("amsterdam", Kind.BROADCAST), ("essen", Kind.BROADCAST)))
    secret = kept(sites["berlin"], terms)[1]
    assert advertised(sites["berlin"], replace(terms, attempt=3)) == secret
    fewer = tuple(member for member in terms.members if member.site != "essen")
    other = replace(terms, attempt=4, members=fewer)
    assert other.takes_out
    assert advertised(sites["berlin"], other) not in (secret, b"")
    round_ = Round(replace(other, attempt=5), sites)
    with pytest.raises(TooFewSurvivors):
        round_.play()
    assert refusal_of(round_, "berlin") is Reason.POLICY, "it answers one question in a round"
    assert kept(sites["berlin"], terms)[1] == secret


def refusal_of(round_: Round, name: str) -> Reason:
    reply = Frame.from_bytes(round_.replies[name, Kind.BROADCAST])
    assert reply.kind is Kind.ABORT
    return abort_reason(reply.body)


def test_a_site_restarted_before_it_released_has_another_secret(tmp_path: Path) -> None:
    plan, sites, terms = five(tmp_path)
    first = advertised(sites["berlin"], terms)
    restarted(tmp_path, plan, sites, "berlin")
    again = Round(replace(terms, attempt=3), sites).play()
    assert kept(sites["berlin"], terms)[1] == again.coordinator.excess["berlin"] != first


def test_a_release_under_another_secret_is_not_sent(tmp_path: Path) -> None:
    """The noise in the vector would not be what the others are given to take out."""
    plan = make_plan(**LOSABLE)
    terms, journal = make_terms(plan, FIVE), open_journal(tmp_path / "book", plan)
    trainer = keyed_trainer(plan, make_data(40, 1), key_of("excess"))
    first = release(terms, "amsterdam", make_params(), trainer, journal, excess=bytes(32))
    assert np.array_equal(
        first, release(terms, "amsterdam", make_params(), trainer, journal, excess=bytes(32))
    )
    for other in (b"\1" * 32, b""):
        with pytest.raises(PolicyViolation):
            release(terms, "amsterdam", make_params(), trainer, journal, excess=other)


def test_the_secret_goes_with_the_release(tmp_path: Path) -> None:
    """It is on the disk only beside the vector it belongs to, and is dropped with it."""
    _, sites, terms = five(tmp_path)
    Round(terms, sites).play()
    secret = kept(sites["berlin"], terms)[1]
    path = tmp_path / "berlin.sqlite"
    assert secret in b"".join(part.read_bytes() for part in tmp_path.glob(f"{path.name}*"))
    sites["berlin"].finish(RUN, bytes(32))
    assert secret not in b"".join(part.read_bytes() for part in tmp_path.glob(f"{path.name}*"))
    assert not any(participant.excess for participant in sites["berlin"]._joined.rounds.values())  # type: ignore[union-attr]


def test_nothing_shows_a_secret(tmp_path: Path) -> None:
    _, sites, terms = five(tmp_path)
    secret = advertised(sites["berlin"], terms)
    shown = repr(sites["berlin"]) + repr(sites["berlin"]._joined) + repr(sites["berlin"]._joined.rounds)  # type: ignore[union-attr]
    assert secret.hex() not in shown
    assert repr(secret) not in shown


@pytest.mark.parametrize(
    "changes", [{"dropouts": 0}, {"secure_aggregation.excess_levels": 0}], ids=["none lost", "off"]
)
def test_where_nothing_is_taken_out_there_is_no_secret(changes: dict[str, object], tmp_path: Path) -> None:
    _, sites, terms = five(tmp_path, **changes)
    round_ = Round(terms, sites).play()
    assert round_.coordinator.excess == {}
    assert kept(sites["berlin"], terms)[1] == b""
    assert np.array_equal(taken_out(round_)[0], round_.coordinator.result)


@pytest.mark.parametrize("noise", ["site", "none"])
def test_other_noise_has_no_secret_either(noise: str, tmp_path: Path) -> None:
    _, sites, terms = five(tmp_path, noise=noise)
    round_ = Round(terms, sites).play()
    assert round_.coordinator.excess == {}
    assert kept(sites["berlin"], terms)[1] == b""
