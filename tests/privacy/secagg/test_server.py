"""privacy.secagg.server: the exact sum or a clean refusal, whoever vanishes, errs or repeats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import FaultyClient, SuspectedClient
from privacy.secagg.dealing import named
from privacy.secagg.keys import Secrets, channel_pair, kem_pair, mask_half
from privacy.secagg.masks import apply, pair_mask, self_mask
from privacy.secagg.messages import Advert, Adverts, Masked, Reveal, SealedShares, Survivors, Vote
from privacy.secagg.ring import pack, packed_size
from privacy.secagg.server import Phase, TooFew
from privacy.secagg.shamir import PRIME
from privacy.secagg.statements import (
    accepted_digest,
    bind_adverts,
    bind_session,
    cast,
    check_certificate,
    make_advert,
    sign_reveal,
    upload_digest,
)
from privacy.signing import sign
from privacy.suite import SUITE, label
from tests.privacy.secagg.rounds import CONTEXT, SESSION, Round, identity, site, unpack
from tests.privacy.secagg.statistics import ALARM, chi_square_p_value

PHASES = [Phase.ADVERTISE, Phase.SHARE, Phase.MASK, Phase.COMMIT, Phase.REVEAL]


def _expected(round_: Round, gone: tuple[int, ...]) -> tuple[Phase, list[int]]:
    """Where a round ends when site i answers in the first gone[i] phases only; and the survivors."""
    rules = round_.parameters
    needed = dict.fromkeys(PHASES, rules.required) | {
        Phase.COMMIT: rules.quorum,
        Phase.REVEAL: rules.threshold,
    }
    sites = [[slot for slot, answers in enumerate(gone) if answers > phase] for phase in range(5)]
    for at, phase in enumerate(PHASES):
        if phase is Phase.COMMIT and sites[2] == sites[1]:
            continue
        if len(sites[at]) < needed[phase]:
            return phase, []
    return Phase.DONE, sites[2]


def _check_vanishing(n: int, colluders: int, gone: tuple[int, ...]) -> None:
    """27: the exact sum, or a clean abort where too few are left."""
    round_ = Round(n, colluders=colluders, length=3)
    end, survivors = _expected(round_, gone)
    try:
        for at, phase in enumerate(PHASES):
            if round_.server.phase is phase:
                round_.step(slot for slot, answers in enumerate(gone) if answers > at)
    except TooFew as error:
        assert error.stage is end
        assert error.got < error.needed
        assert round_.server.phase is Phase.ABORTED
        assert round_.server.result is None
        assert round_.server.survivors == ()
        return
    assert round_.server.phase is end is Phase.DONE
    assert round_.server.survivors == tuple(map(site, survivors))
    assert round_.result() == round_.sum_over(survivors)
    assert not round_.server.blame


@pytest.mark.parametrize(("n", "colluders"), [(3, 0), (3, 1), (4, 1)])
def test_whoever_vanishes_whenever_the_sum_is_exact_or_the_round_is_void(n: int, colluders: int) -> None:
    """27: each site at each step, every combination."""
    for gone in product(range(6), repeat=n):
        _check_vanishing(n, colluders, gone)


@pytest.mark.parametrize("answers", [0, 1, 2, 3, 4])
@pytest.mark.parametrize(("n", "colluders"), [(5, 0), (5, 1), (6, 0), (6, 2)])
def test_any_of_five_or_six_sites_may_vanish_together(n: int, colluders: int, answers: int) -> None:
    """27: every subset, at every step."""
    for size in range(n + 1):
        for vanishing in combinations(range(n), size):
            gone = tuple(answers if slot in vanishing else 5 for slot in range(n))
            _check_vanishing(n, colluders, gone)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3), st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 5, 5]), min_size=5, max_size=8))
def test_larger_cohorts_may_thin_out_step_by_step(colluders: int, gone: list[int]) -> None:
    _check_vanishing(len(gone), colluders, tuple(gone))


def test_a_cohort_of_140_on_a_ring_sums_exactly_with_and_without_dropouts() -> None:
    for vanishing in (frozenset[int](), frozenset({3, 70, 71, 139})):
        round_ = Round(140, colluders=2, dropouts=6, length=5)
        assert round_.parameters.shape.degree < 139
        round_.until(Phase.MASK)
        round_.step(round_.everyone - vanishing)
        assert round_.until(Phase.DONE).result() == round_.sum_over(round_.everyone - vanishing)
        assert not round_.server.blame


@pytest.mark.parametrize("bits", [1, 16, 31, 32, 33, 40, 62])
@pytest.mark.parametrize("vanishing", [(), (2,)])
def test_every_ring_width_sums_exactly(bits: int, vanishing: tuple[int, ...]) -> None:
    round_ = Round(5, ring_bits=bits, length=131).until(Phase.MASK)
    stay = round_.everyone - set(vanishing)
    round_.step(stay)
    assert round_.until(Phase.DONE).result() == round_.sum_over(stay)


def test_the_largest_elements_wrap_as_the_ring_does() -> None:
    for bits in (20, 32, 62):
        round_ = Round(5, ring_bits=bits)
        round_.vectors = [np.full(7, 2**bits - 1, np.uint64)] * 5
        assert round_.until(Phase.DONE).result() == [(5 * (2**bits - 1)) % 2**bits] * 7


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_arrivals_in_any_order_with_repetitions_give_the_same_sum(data: st.DataObject) -> None:
    round_ = Round(5)
    earlier: list[tuple[int, bytes]] = []
    while round_.server.phase is not Phase.DONE:
        replies = {slot: round_.answer(slot) for slot in round_.everyone}
        for slot in data.draw(st.permutations(range(5))):
            for again, old in data.draw(st.lists(st.sampled_from(earlier), max_size=2)) if earlier else []:
                round_.receive(again, old)
            round_.receive(slot, replies[slot])
            earlier.append((slot, replies[slot]))
    assert round_.result() == round_.sum_over(range(5))
    assert not round_.server.blame


@pytest.mark.parametrize(("what", "stage"), [("sessions", Phase.ADVERTISE), ("contexts", Phase.MASK)])
def test_what_all_sites_agree_on_but_the_server_does_not_voids_the_round(what: str, stage: Phase) -> None:
    changes = {what: dict.fromkeys(range(5), b"not the server's".ljust(32))}
    round_ = Round(5, **changes)  # type: ignore[arg-type]
    with pytest.raises(TooFew) as caught:
        round_.until(Phase.DONE)
    assert caught.value.stage is stage
    assert round_.server.result is None


def test_a_server_without_a_context_takes_no_vectors() -> None:
    round_ = Round(5).until(Phase.SHARE)
    with pytest.raises(ValueError, match="sharers"):
        _ = round_.server.transcript
    with pytest.raises(ValueError, match="one context"):
        round_.server.bind(SESSION)


# --- late, unknown, contradicting, malformed ---------------------------------------------------------------


def test_a_vector_that_comes_too_late_is_in_no_sum() -> None:
    """26: at every later moment."""
    round_ = Round(5).until(Phase.MASK)
    late, stay = round_.answer(4), frozenset({0, 1, 2, 3})
    round_.step(stay)
    while round_.server.phase is not Phase.DONE:
        for slot in stay:
            reply = round_.answer(slot)
            round_.receive(4, late)
            round_.receive(slot, reply)
    round_.receive(4, late)
    assert round_.result() == round_.sum_over(stay)
    assert round_.server.survivors == tuple(map(site, sorted(stay)))
    assert not round_.server.blame


def test_a_vector_that_comes_too_late_stays_hidden_though_its_key_secret_was_rebuilt() -> None:
    """26: without its pairwise masks the upload is uniform; without its self mask too (the control) it is bare."""
    length = 50_000
    round_ = Round(5, ring_bits=32, length=length).until(Phase.SHARE)
    session = bind_session(SESSION, round_.roster.root, round_.parameters)
    adverts = Adverts.from_bytes(round_.inbox[0])
    round_.until(Phase.MASK)
    round_.vectors[4] = np.zeros(length, np.uint64)
    upload = unpack(Masked.from_bytes(round_.answer(4), 4 * length).packed, length, 32)
    link, transcript = bind_adverts(session, adverts), round_.server.transcript
    for peer in range(4):
        given, taken = (
            mask_half(round_.secrets(own).mask, link, own, other) for own, other in ((4, peer), (peer, 4))
        )
        apply(upload, [pair_mask(given, taken, transcript, 4, peer).inverse()])
    assert chi_square_p_value(upload) > ALARM
    apply(upload, [self_mask(round_.secrets(4).seed, transcript, 4).inverse()])
    assert not upload.any()


def test_an_unknown_sender_is_ignored() -> None:
    round_ = Round(5)
    assert round_.server.receive("stranger", round_.clients[0].advertise()) == []
    assert round_.until(Phase.DONE).result() == round_.sum_over(range(5))


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("body", [b"", b"\0\0", b"short", bytes(2000)])
@pytest.mark.parametrize("head", ["", "09", "0409", "0301", "0201", "0101", "own kind", "next kind"])
def test_a_malformed_message_costs_only_its_sender(phase: Phase, head: str, body: bytes) -> None:
    round_ = Round(6, colluders=0)
    if phase is Phase.COMMIT:
        round_.until(Phase.MASK).step(round_.everyone - {5})
    round_.until(phase)
    own = {Phase.ADVERTISE: 1, Phase.SHARE: 3, Phase.MASK: 5, Phase.COMMIT: 7, Phase.REVEAL: 9}[phase]
    kinds = {"own kind": bytes([SUITE, own]), "next kind": b"\x04\x09"}
    data = (kinds[head] if head in kinds else bytes.fromhex(head)) + body
    round_.receive(2, data)
    assert set(round_.server.blame) == {"site-2"}
    assert isinstance(round_.server.blame["site-2"], SuspectedClient)
    while round_.server.phase is not Phase.DONE:
        round_.step(round_.everyone - {2})
    stay = {Phase.COMMIT: [0, 1, 2, 3, 4], Phase.REVEAL: range(6)}.get(phase, [0, 1, 3, 4, 5])
    assert round_.result() == round_.sum_over(stay)


def test_the_last_one_awaited_may_be_malformed() -> None:
    round_ = Round(5, colluders=0)
    for slot in (0, 1, 3, 4):
        round_.receive(slot, round_.answer(slot))
    round_.receive(2, b"nonsense")
    assert round_.server.phase is Phase.SHARE


def _advert(session: bytes, slot: int, root: bytes, *, signer: str = "") -> Advert:
    """The advert of this site, or in its name, with these secrets."""
    secrets = Secrets.of(root, session)
    return make_advert(identity(signer or site(slot)), session, slot, secrets.channel, named(secrets, ()))


def _second_advert(slot: int) -> Advert:
    """Another advert that this site genuinely signs for the same round."""
    round_ = Round(5, colluders=0)
    session = bind_session(SESSION, round_.roster.root, round_.parameters)
    return _advert(session, slot, b"r" * 32)


def test_a_site_that_signs_two_adverts_is_suspected_and_not_proven_faulty() -> None:
    """An honest site that was restarted does so: its keys were in its memory only."""
    round_ = Round(5, colluders=0)
    round_.receive(2, round_.answer(2))
    round_.receive(2, _second_advert(2).to_bytes())
    assert isinstance(round_.server.blame["site-2"], SuspectedClient)
    while round_.server.phase is not Phase.DONE:
        round_.step(round_.everyone - {2})
    assert round_.result() == round_.sum_over([0, 1, 3, 4])


def test_a_second_advert_that_the_site_did_not_sign_is_a_suspicion_only() -> None:
    round_ = Round(5, colluders=0)
    round_.receive(2, round_.answer(2))
    round_.receive(2, replace(_second_advert(2), signature=b"s" * 64).to_bytes())
    assert isinstance(round_.server.blame["site-2"], SuspectedClient)


def test_an_answer_that_differs_from_the_first_is_not_listened_to() -> None:
    round_ = Round(5, colluders=0).until(Phase.SHARE)
    shares = SealedShares.from_bytes(round_.answer(1))
    round_.receive(1, shares.to_bytes())
    other = replace(shares.by_slot[0], sealed=b"x" * 146)
    round_.receive(1, SealedShares({**shares.by_slot, 0: other}).to_bytes())
    assert "answered twice, differently" in round_.server.faulty["site-1"]


def test_an_advert_that_its_site_did_not_sign_is_not_taken() -> None:
    """2, 3: signed by a key that the roster no longer holds."""
    round_ = Round(5, colluders=0)
    advert = Advert.from_bytes(round_.answer(2))
    old = _advert(SESSION, 2, b"r" * 32, signer="a revoked key")
    round_.receive(2, replace(advert, signature=old.signature).to_bytes())
    assert "not signed" in round_.server.faulty["site-2"]


def test_a_masked_vector_that_its_site_did_not_sign_is_not_added() -> None:
    """32: one bit flipped on the way, or a signature that is for another vector."""
    for at in (2, 70, -1):
        round_ = Round(5, colluders=0).until(Phase.MASK)
        data = bytearray(round_.answer(2))
        data[at] ^= 1
        round_.receive(2, bytes(data))
        assert isinstance(round_.server.blame["site-2"], SuspectedClient)
        round_.step(round_.everyone - {2})
        assert round_.until(Phase.DONE).result() == round_.sum_over([0, 1, 3, 4])


def test_a_signed_vector_with_set_padding_is_proven_faulty() -> None:
    round_ = Round(5, colluders=0, ring_bits=21, length=7).until(Phase.MASK)
    masked = Masked.from_bytes(round_.answer(2), packed_size(7, 21))
    packed = bytearray(masked.packed)
    packed[-1] |= 0x80
    round_.receive(2, _signed_upload(round_, bytes(packed), masked.wraps))
    assert isinstance(round_.server.blame["site-2"], FaultyClient)
    round_.step(round_.everyone - {2})
    assert round_.until(Phase.DONE).result() == round_.sum_over([0, 1, 3, 4])


def test_a_vector_of_another_length_is_not_added() -> None:
    """32: too short, too long, or bytes after its end."""
    right = packed_size(7, 21)
    for length in (right - 1, right + 1, 0, 1000):
        round_ = Round(5, colluders=0, ring_bits=21, length=7).until(Phase.MASK)
        wraps = Masked.from_bytes(round_.answer(2), right).wraps
        round_.receive(2, _signed_upload(round_, bytes(length), wraps))
        assert set(round_.server.blame) == {"site-2"}


@pytest.mark.parametrize("change", ["missing", "self", "stranger"])
def test_wraps_other_than_one_for_each_peer_are_refused(change: str) -> None:
    round_ = Round(5, colluders=0).until(Phase.MASK)
    masked = Masked.from_bytes(round_.answer(2), packed_size(7, 21))
    wraps = dict(masked.wraps)
    moved = wraps.pop(0)
    wraps |= {"missing": {}, "self": {2: moved}, "stranger": {5: moved}}[change]
    round_.receive(2, _signed_upload(round_, masked.packed, wraps))
    assert "wraps are not one for each peer" in round_.server.faulty["site-2"]


def _signed_upload(round_: Round, packed: bytes, wraps: Mapping[int, bytes]) -> bytes:
    """What site 2 could send as its own, with its good signature."""
    machine, server = vars(round_.clients[2])["_state"], round_.server
    upload = upload_digest(packed, wraps, machine.accepted)
    vote = cast(identity(site(2)), server.transcript, round_.everyone, upload)
    return Masked(vote.signature, wraps, packed).to_bytes()


# --- votes and certificates ----------------------------------------------------------------------------------


def test_a_round_without_losses_needs_no_votes_beside_those_with_the_vectors() -> None:
    round_ = Round(5).until(Phase.MASK)
    round_.step()
    assert round_.server.phase is Phase.REVEAL
    assert round_.until(Phase.DONE).result() == round_.sum_over(range(5))


@pytest.mark.parametrize("vanishing", [set(), {1}])
def test_the_certificate_is_a_quorums_agreement_that_anyone_can_check(vanishing: set[int]) -> None:
    round_ = Round(5, colluders=1).until(Phase.MASK)
    round_.step(round_.everyone - vanishing)
    certificate = round_.until(Phase.DONE).server.certificate
    assert certificate is not None
    assert certificate.survivors == round_.everyone - vanishing
    assert len(certificate.votes) == round_.parameters.quorum
    keys = [round_.roster.by_site[site(slot)].key for slot in range(5)]
    check_certificate(certificate, round_.server.transcript, keys, round_.parameters.quorum)


def test_a_vote_that_is_not_for_the_survivors_does_not_count() -> None:
    for case in ("everyone", "other upload", "other signer"):
        round_ = Round(5, colluders=0).until(Phase.MASK)
        round_.step({0, 1, 2, 3})
        own = Vote.from_bytes(round_.answer(2))
        wrong = {
            "everyone": cast(identity(site(2)), round_.server.transcript, round_.everyone, own.upload),
            "other upload": cast(identity(site(2)), round_.server.transcript, {0, 1, 2, 3}, b"u" * 32),
            "other signer": cast(identity(site(1)), round_.server.transcript, {0, 1, 2, 3}, own.upload),
        }
        round_.receive(2, wrong[case].to_bytes())
        assert set(round_.server.blame) == {"site-2"}
        round_.step({0, 1, 3})
        assert round_.until(Phase.DONE).result() == round_.sum_over([0, 1, 2, 3])


def test_too_few_votes_void_the_round() -> None:
    """28: more lost than the quorum bears."""
    round_ = Round(5, colluders=1).until(Phase.MASK)
    round_.step({0, 1, 2, 3})
    with pytest.raises(TooFew, match="3 of 4 needed votes"):
        round_.step({0, 1, 2})


# --- what a site may not get past the server ----------------------------------------------------------------


def test_of_two_masked_vectors_the_first_stands() -> None:
    round_ = Round(5).until(Phase.MASK)
    round_.receive(2, round_.answer(2))
    round_.receive(2, Masked(b"s" * 64, {}, pack(np.zeros(7, np.uint32), 21)).to_bytes())
    assert round_.until(Phase.DONE).result() == round_.sum_over(range(5))


def test_a_key_taken_from_another_site_is_refused_at_the_door() -> None:
    """5: the same secrets, hence the same keys, under two names."""
    round_ = Round(5)
    round_.receive(0, _second_advert_in(round_, 0).to_bytes())
    round_.receive(1, _second_advert_in(round_, 1).to_bytes())
    assert round_.server.faulty.keys() == {"site-1"}
    assert "appears twice" in round_.server.faulty["site-1"]


def _second_advert_in(round_: Round, slot: int) -> Advert:
    session = bind_session(SESSION, round_.roster.root, round_.parameters)
    return _advert(session, slot, b"same" * 8)


def test_shares_for_others_than_the_roster_are_refused() -> None:
    for change in ("missing", "self"):
        round_ = Round(5).until(Phase.SHARE)
        shares = dict(SealedShares.from_bytes(round_.answer(1)).by_slot)
        moved = shares.pop(0)
        if change == "self":
            shares[1] = moved
        round_.receive(1, SealedShares(shares).to_bytes())
        assert set(round_.server.blame) == {"site-1"}


def test_a_reveal_of_other_shares_than_asked_for_is_refused() -> None:
    round_ = Round(5, colluders=0).until(Phase.MASK)
    round_.step({0, 1, 2, 3})
    round_.until(Phase.REVEAL)
    honest = Reveal.from_bytes(round_.answer(1))
    round_.receive(
        1, _signed_reveal(round_, 1, replace(honest, seed_shares={**honest.seed_shares, 4: 1}, key_shares={}))
    )
    assert set(round_.server.blame) == {"site-1"}
    round_.step({0, 2, 3})
    assert round_.result() == round_.sum_over([0, 1, 2, 3])


def test_a_reveal_that_leaves_a_key_share_out_is_refused() -> None:
    round_ = Round(5, colluders=0).until(Phase.MASK)
    round_.step({0, 1, 2, 3})
    round_.until(Phase.REVEAL)
    honest = Reveal.from_bytes(round_.answer(1))
    round_.receive(1, _signed_reveal(round_, 1, replace(honest, key_shares={})))
    assert set(round_.server.blame) == {"site-1"}
    round_.step({0, 2, 3})
    assert round_.result() == round_.sum_over([0, 1, 2, 3])


def test_the_plans_dropouts_bind_until_the_vectors_are_in_and_the_threshold_after() -> None:
    """Of five sites one may vanish by plan; t = 3 reveals open the sum."""
    for phase in PHASES[:3]:
        round_ = Round(5, colluders=0, dropouts=1).until(phase)
        with pytest.raises(TooFew, match="3 of 4"):
            round_.step({0, 1, 2})
    round_ = Round(5, colluders=0, dropouts=1).until(Phase.REVEAL)
    round_.step({0, 1, 2})
    assert round_.result() == round_.sum_over(range(5))


# --- wrong shares and wrong commitments --------------------------------------------------------------------


def _signed_reveal(round_: Round, slot: int, reveal: Reveal) -> bytes:
    """What this site could reveal, with its good signature."""
    server = round_.server
    accepted = accepted_digest(server._link, server._taken[slot])
    signed = sign_reveal(identity(site(slot)), server.transcript, server._masked, accepted, reveal)
    return signed.to_bytes()


def _wrong(reveal: Reveal, owners: Iterable[int] | None = None, by: int = 1) -> Reveal:
    """All shares of these owners altered; of all, if None."""

    def altered(shares: Mapping[int, int]) -> dict[int, int]:
        chosen = shares.keys() if owners is None else set(owners)
        return {owner: (share + by * (owner in chosen)) % PRIME for owner, share in shares.items()}

    return replace(reveal, seed_shares=altered(reveal.seed_shares), key_shares=altered(reveal.key_shares))


@pytest.mark.parametrize("owners", [None, {4}, {1}], ids=["all", "of the lost", "of one in the sum"])
@pytest.mark.parametrize("liar", [0, 2, 3])
def test_a_wrong_share_is_survived_and_proves_its_holder_faulty(liar: int, owners: set[int] | None) -> None:
    round_ = Round(5, colluders=0).until(Phase.MASK)
    round_.step({0, 1, 2, 3})
    round_.until(Phase.REVEAL)
    for slot in range(4):
        data = round_.answer(slot)
        if slot == liar:
            data = _signed_reveal(round_, slot, _wrong(Reveal.from_bytes(data), owners))
        round_.receive(slot, data)
    assert round_.result() == round_.sum_over(range(4))
    assert set(round_.server.blame) == {site(liar)}
    assert isinstance(round_.server.blame[site(liar)], FaultyClient)
    assert "did not deal to it" in round_.server.faulty[site(liar)]


def test_a_share_that_was_altered_on_the_way_proves_nothing() -> None:
    round_ = Round(5, colluders=0).until(Phase.REVEAL)
    for slot in range(5):
        reveal = Reveal.from_bytes(round_.answer(slot))
        round_.receive(slot, (_wrong(reveal) if slot == 2 else reveal).to_bytes())
    assert round_.result() == round_.sum_over(range(5))
    assert isinstance(round_.server.blame["site-2"], SuspectedClient)


def test_with_too_few_good_shares_the_sum_stays_hidden() -> None:
    round_ = Round(5, colluders=1).until(Phase.REVEAL)
    with pytest.raises(TooFew) as caught:
        for slot in range(5):
            reveal = Reveal.from_bytes(round_.answer(slot))
            round_.receive(slot, _signed_reveal(round_, slot, _wrong(reveal) if slot > 1 else reveal))
    assert caught.value.stage is Phase.REVEAL
    assert set(round_.server.blame) == {"site-2", "site-3", "site-4"}
    assert round_.server.phase is Phase.ABORTED
    assert round_.server.result is None


def test_a_wrong_share_of_its_own_secret_names_a_site_and_is_not_needed() -> None:
    """Holder and dealer are one: there is no digest, and its signature is on the reveal."""
    round_ = Round(5, colluders=0).until(Phase.REVEAL)
    for slot in range(5):
        reveal = Reveal.from_bytes(round_.answer(slot))
        wrong = _wrong(reveal, {slot}) if slot == 3 else reveal
        round_.receive(slot, _signed_reveal(round_, slot, wrong))
    assert round_.result() == round_.sum_over(range(5))
    assert set(round_.server.blame) == {"site-3"}
    assert isinstance(round_.server.blame["site-3"], FaultyClient)


def _advertising_falsely(field: str) -> Round:
    """Site 4 advertises, and signs, what does not follow from the secrets it will share."""
    round_ = Round(5, colluders=1)
    for slot in range(5):
        data = round_.answer(slot)
        if slot == 4:
            data = _signed(_falsified(Advert.from_bytes(data), field), round_)
            machine = vars(round_.clients[4])
            machine["_state"] = replace(machine["_state"], advert=Advert.from_bytes(data))
        round_.receive(slot, data)
    return round_


def _falsified(advert: Advert, field: str) -> Advert:
    of_s, of_m = advert.commitments
    return {
        "s": replace(advert, commitments=(b"x" * 32, of_m)),
        "m": replace(advert, commitments=(of_s, b"x" * 32)),
        "channel_key": replace(advert, channel_key=channel_pair(b"other".ljust(32), CONTEXT).public),
        "kem_key": replace(advert, kem_key=kem_pair(b"other".ljust(32), CONTEXT).public),
    }[field]


def _signed(advert: Advert, round_: Round) -> bytes:
    session = bind_session(SESSION, round_.roster.root, round_.parameters)
    signature = sign(identity(site(4)), label("advert"), session, b"\0\x04", advert.statement)
    return replace(advert, signature=signature).to_bytes()


@pytest.mark.parametrize(("field", "vanishing"), [("m", set()), ("s", {4})])
def test_a_secret_that_does_not_fit_its_advert_proves_its_owner_faulty(
    field: str, vanishing: set[int]
) -> None:
    """31: a sum with a wrong mask taken off would be noise."""
    round_ = _advertising_falsely(field)
    round_.step()
    round_.step(round_.everyone - vanishing)
    with pytest.raises(TooFew) as caught:
        round_.until(Phase.DONE)
    assert caught.value.stage is Phase.REVEAL
    assert set(round_.server.blame) == {"site-4"}
    assert isinstance(round_.server.blame["site-4"], FaultyClient)
    assert round_.server.opened is None


def test_a_site_whose_shares_nobody_can_open_voids_the_round() -> None:
    """Its X25519 key is not its own: nobody opens what it sealed, and it opens nothing."""
    round_ = _advertising_falsely("channel_key")
    round_.step()
    with pytest.raises(TooFew) as caught:
        round_.step()
    assert caught.value.stage is Phase.MASK


def test_a_site_that_advertised_a_kem_key_it_does_not_hold_opens_nothing_and_is_lost() -> None:
    round_ = _advertising_falsely("kem_key")
    round_.until(Phase.MASK)
    with pytest.raises(SuspectedClient):
        round_.answer(4)
    assert round_.until(Phase.DONE).result() == round_.sum_over(range(4))


def test_what_a_dealer_did_not_sign_is_not_relayed() -> None:
    for field in ("digests", "signature"):
        round_ = Round(5, colluders=0).until(Phase.SHARE)
        shares = dict(SealedShares.from_bytes(round_.answer(1)).by_slot)
        dealt = replace(shares[3].dealt, **{field: bytes(len(getattr(shares[3].dealt, field)))})
        shares[3] = replace(shares[3], dealt=dealt)
        round_.receive(1, SealedShares(shares).to_bytes())
        assert "did not sign what it sealed" in round_.server.faulty["site-1"]


# --- bookkeeping -----------------------------------------------------------------------------------------


def test_a_finished_round_answers_nothing() -> None:
    round_ = Round(3).until(Phase.DONE)
    assert round_.server.receive(site(0), round_.clients[0].advertise()) == []
    assert round_.server.deadline() == []


def test_survivors_are_told_to_survivors_only() -> None:
    round_ = Round(5, colluders=0).until(Phase.MASK)
    round_.step({0, 2, 4})
    assert round_.inbox.keys() == {0, 2, 4}
    assert {Survivors.from_bytes(data).slots for data in round_.inbox.values()} == {frozenset({0, 2, 4})}


def test_too_few_says_how_many_in_one_line() -> None:
    round_ = Round(5, colluders=1)
    with pytest.raises(TooFew) as caught:
        round_.step({0, 1})
    assert str(caught.value) == "2 of 4 needed adverts"
    assert (caught.value.got, caught.value.needed, caught.value.stage) == (2, 4, Phase.ADVERTISE)


def test_on_a_ring_that_chance_cut_too_thin_the_round_is_void() -> None:
    """The sites would refuse to open it, so they are not asked."""
    round_ = Round(200, colluders=2, dropouts=40)
    link = bind_session(SESSION, round_.roster.root, round_.parameters)
    graph = round_.parameters.graph(link)
    cut = round_.parameters.shape.degree - round_.parameters.threshold + 1
    gone = graph.neighbors(100)[:cut]
    server, stay = round_.server, round_.everyone - set(gone)
    server.phase = Phase.MASK
    server._sharers = round_.everyone
    server._masked, server._seen = set(stay), dict.fromkeys(stay, b"")
    with pytest.raises(TooFew) as caught:
        server.deadline()
    needed = round_.parameters.threshold
    assert (caught.value.got, caught.value.needed, caught.value.stage) == (needed - 1, needed, Phase.MASK)


@pytest.mark.parametrize("n", [5, 8])
def test_whoever_shared_and_is_blamed_before_the_shares_are_relayed_is_lost_like_any_other(n: int) -> None:
    """What it dealt, and what was dealt to it, is needed to take its pair masks out: it was no recipient."""
    round_ = Round(n, colluders=0).until(Phase.SHARE)
    round_.receive(1, round_.answer(1))
    round_.receive(1, bytes([SUITE, 3]))
    assert isinstance(round_.server.blame[site(1)], SuspectedClient)
    while round_.server.phase is not Phase.DONE:
        round_.step(round_.everyone - {1})
    survivors = round_.everyone - {1}
    assert round_.result() == round_.sum_over(survivors)
    assert set(round_.server.blame) == {site(1)}
    assert round_.server.opened is not None
    assert {slot for ends in round_.server.opened.dealt for slot in ends} == round_.everyone
