"""privacy.secagg.server: the exact sum or a clean refusal, whoever vanishes, errs or repeats."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.secagg.keys import mask_pair
from privacy.secagg.masks import apply, pair_mask, self_mask
from privacy.secagg.messages import Advert, Adverts, Masked, Reveal, SealedShares, Survivors
from privacy.secagg.ring import pack, unpack
from privacy.secagg.server import Phase, TooFew
from privacy.secagg.shamir import PRIME
from privacy.secagg.transcript import bind_parameters, bind_roster, bind_sharers
from tests.privacy.secagg.rounds import CONTEXT, Round, entropy, site
from tests.privacy.secagg.statistics import ALARM, chi_square_p_value

PHASES = [Phase.ADVERTISE, Phase.SHARE, Phase.MASK, Phase.REVEAL]


def _expected(round_: Round, gone: tuple[int, ...]) -> tuple[Phase, list[int]]:
    """Where a round ends when site i answers in the first gone[i] phases only; and the survivors."""
    sites = [[slot for slot, answers in enumerate(gone) if answers > phase] for phase in range(4)]
    rules = round_.parameters
    for phase, needed in enumerate([rules.required] * 3 + [rules.threshold]):
        if len(sites[phase]) < needed:
            return PHASES[phase], []
    return Phase.DONE, sites[2]


def _check_vanishing(n: int, colluders: int, gone: tuple[int, ...]) -> None:
    round_ = Round(n, colluders=colluders, length=3)
    end, survivors = _expected(round_, gone)
    try:
        for phase in range(4):
            round_.step(slot for slot, answers in enumerate(gone) if answers > phase)
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
    assert not round_.server.faulty


@pytest.mark.parametrize(("n", "colluders"), [(3, 0), (3, 1), (4, 0), (4, 1)])
def test_whoever_vanishes_whenever_the_sum_is_exact_or_the_round_is_void(n: int, colluders: int) -> None:
    for gone in product(range(5), repeat=n):
        _check_vanishing(n, colluders, gone)


@pytest.mark.parametrize("colluders", [0, 1, 2])
@pytest.mark.parametrize("answers", [0, 1, 2, 3])
def test_any_five_sites_may_vanish_together(colluders: int, answers: int) -> None:
    for size in range(6):
        for vanishing in combinations(range(5), size):
            gone = tuple(answers if slot in vanishing else 4 for slot in range(5))
            _check_vanishing(5, colluders, gone)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3), st.lists(st.sampled_from([0, 1, 2, 3, 4, 4, 4]), min_size=5, max_size=8))
def test_larger_cohorts_may_thin_out_step_by_step(colluders: int, gone: list[int]) -> None:
    _check_vanishing(len(gone), colluders, tuple(gone))


@pytest.mark.parametrize("bits", [1, 16, 31, 32, 33, 40, 62])
@pytest.mark.parametrize("vanishing", [(), (2,)])
def test_every_ring_width_sums_exactly(bits: int, vanishing: tuple[int, ...]) -> None:
    round_ = Round(5, ring_bits=bits, length=131).until(Phase.MASK)
    stay = round_.everyone - set(vanishing)
    round_.step(stay)
    round_.step(stay)
    assert round_.result() == round_.sum_over(stay)


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
    assert not round_.server.faulty


def test_a_context_that_all_sites_share_but_the_server_does_not_voids_the_round() -> None:
    round_ = Round(5, contexts=dict.fromkeys(range(5), b"not the server's".ljust(32)))
    with pytest.raises(TooFew):
        round_.until(Phase.DONE)
    assert round_.server.result is None


# --- late, unknown, contradicting, malformed ---------------------------------------------------------------


def test_a_vector_that_comes_too_late_is_in_no_sum() -> None:
    round_ = Round(5).until(Phase.MASK)
    late, stay = round_.answer(4), frozenset({0, 1, 2, 3})
    round_.step(stay)
    for slot in stay:
        round_.receive(4, late)
        round_.receive(slot, round_.answer(slot))
    round_.receive(4, late)
    assert round_.result() == round_.sum_over(stay)
    assert round_.server.survivors == tuple(map(site, sorted(stay)))
    assert not round_.server.faulty


def test_a_vector_that_comes_too_late_stays_hidden_though_its_key_secret_was_rebuilt() -> None:
    """Without its pairwise masks the upload is uniform; without its self mask too (the control) it is bare."""
    length, context = 50_000, bind_parameters(CONTEXT, Round(5, ring_bits=32, length=50_000).parameters)
    round_ = Round(5, ring_bits=32, length=length).until(Phase.SHARE)
    adverts = Adverts.from_bytes(round_.inbox[0])
    round_.until(Phase.MASK)
    round_.vectors[4] = np.zeros(length, np.uint64)
    upload = unpack(Masked.from_bytes(round_.answer(4), 4 * length).packed, length, 32)
    source = entropy(site(4))
    keys, seed = mask_pair(source(32), context), source(32)
    transcript = bind_sharers(bind_roster(context, adverts), range(5))
    ends = [(peer, adverts.by_slot[peer].mask_key) for peer in range(4)]
    apply(
        upload,
        [pair_mask(keys.agree(end[1]), transcript, (4, keys.public), end).inverse() for end in ends],
    )
    assert chi_square_p_value(upload) > ALARM
    apply(upload, [self_mask(seed, transcript, 4).inverse()])
    assert not upload.any()


def test_an_unknown_sender_is_ignored() -> None:
    round_ = Round(5)
    assert round_.server.receive("stranger", round_.clients[0].advertise()) == []
    assert round_.until(Phase.DONE).result() == round_.sum_over(range(5))


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("body", [b"", b"\0\0", b"short", bytes(2000)])
@pytest.mark.parametrize("head", ["", "09", "0109", "0201", "own kind", "next kind"])
def test_a_malformed_message_costs_only_its_sender(phase: Phase, head: str, body: bytes) -> None:
    round_ = Round(5, colluders=0).until(phase)
    own = {Phase.ADVERTISE: 1, Phase.SHARE: 3, Phase.MASK: 4, Phase.REVEAL: 6}[phase]
    kinds = {"own kind": bytes([1, own]), "next kind": b"\x01\x06"}
    data = (kinds[head] if head in kinds else bytes.fromhex(head)) + body
    round_.receive(2, data)
    assert set(round_.server.faulty) == {"site-2"}
    while round_.server.phase is not Phase.DONE:
        round_.step(round_.everyone - {2})
    stay = range(5) if phase is Phase.REVEAL else [0, 1, 3, 4]
    assert round_.result() == round_.sum_over(stay)


def test_the_last_one_awaited_may_be_malformed() -> None:
    round_ = Round(5, colluders=0)
    for slot in (0, 1, 3, 4):
        round_.receive(slot, round_.answer(slot))
    round_.receive(2, b"nonsense")
    assert round_.server.phase is Phase.SHARE


def test_a_site_that_answers_twice_differently_is_not_listened_to_any_more() -> None:
    round_ = Round(5, colluders=0)
    advert = Advert.from_bytes(round_.answer(2))
    round_.receive(2, advert.to_bytes())
    round_.receive(2, replace(advert, commitment=b"other".ljust(32)).to_bytes())
    assert round_.server.faulty == {"site-2": "it answered twice, differently"}
    while round_.server.phase is not Phase.DONE:
        round_.step(round_.everyone - {2})
    assert round_.result() == round_.sum_over([0, 1, 3, 4])


def test_of_two_masked_vectors_the_first_stands() -> None:
    round_ = Round(5).until(Phase.MASK)
    round_.receive(2, round_.answer(2))
    round_.receive(2, Masked(pack(np.zeros(7, np.uint32), 21)).to_bytes())
    assert round_.until(Phase.DONE).result() == round_.sum_over(range(5))


def test_a_key_taken_from_another_site_is_refused_at_the_door() -> None:
    round_ = Round(5)
    round_.receive(0, round_.answer(0))
    stolen = Advert.from_bytes(round_.answer(0)).mask_key
    round_.receive(1, replace(Advert.from_bytes(round_.answer(1)), channel_key=stolen).to_bytes())
    assert set(round_.server.faulty) == {"site-1"}


def test_shares_for_others_than_the_roster_are_refused() -> None:
    for change in ("missing", "self"):
        round_ = Round(5).until(Phase.SHARE)
        shares = dict(SealedShares.from_bytes(round_.answer(1)).by_slot)
        moved = shares.pop(0)
        if change == "self":
            shares[1] = moved
        round_.receive(1, SealedShares(shares).to_bytes())
        assert set(round_.server.faulty) == {"site-1"}


def test_a_reveal_of_other_shares_than_asked_for_is_refused() -> None:
    round_ = Round(5, colluders=0).until(Phase.MASK)
    round_.step({0, 1, 2, 3})
    honest = Reveal.from_bytes(round_.answer(1))
    turned = Reveal({**honest.seed_shares, 4: 1}, {})
    round_.receive(1, turned.to_bytes())
    assert set(round_.server.faulty) == {"site-1"}
    round_.step({0, 2, 3})
    assert round_.result() == round_.sum_over([0, 1, 2, 3])


def test_a_reveal_that_leaves_a_key_share_out_is_refused() -> None:
    round_ = Round(5, colluders=0).until(Phase.MASK)
    round_.step({0, 1, 2, 3})
    honest = Reveal.from_bytes(round_.answer(1))
    round_.receive(1, Reveal(honest.seed_shares, {}).to_bytes())
    assert set(round_.server.faulty) == {"site-1"}
    round_.step({0, 2, 3})
    assert round_.result() == round_.sum_over([0, 1, 2, 3])


def test_the_plans_dropouts_bind_until_the_vectors_are_in_and_the_threshold_after() -> None:
    """Of five sites one may vanish by plan; t = 3 reveals open the sum."""
    for phase in (Phase.ADVERTISE, Phase.SHARE, Phase.MASK):
        round_ = Round(5, colluders=0, dropouts=1).until(phase)
        with pytest.raises(TooFew, match="3 of 4"):
            round_.step({0, 1, 2})
    round_ = Round(5, colluders=0, dropouts=1).until(Phase.REVEAL)
    round_.step({0, 1, 2})
    assert round_.result() == round_.sum_over(range(5))


# --- wrong shares and wrong commitments --------------------------------------------------------------------


@pytest.mark.parametrize("liar", [0, 2, 3])
def test_a_wrong_share_is_survived_and_its_holder_named(liar: int) -> None:
    round_ = Round(5, colluders=0).until(Phase.MASK)
    round_.step({0, 1, 2, 3})
    for slot in range(4):
        reveal = Reveal.from_bytes(round_.answer(slot))
        if slot == liar:
            wrong = {owner: (share + 1) % PRIME for owner, share in reveal.seed_shares.items()}
            reveal = Reveal(wrong, {4: (reveal.key_shares[4] + 1) % PRIME})
        round_.receive(slot, reveal.to_bytes())
    assert round_.result() == round_.sum_over(range(4))
    assert set(round_.server.faulty) == {site(liar)}
    assert "does not fit" in round_.server.faulty[site(liar)]


def test_with_too_few_good_shares_the_sum_stays_hidden() -> None:
    round_ = Round(5, colluders=1).until(Phase.REVEAL)
    with pytest.raises(TooFew) as caught:
        for slot in range(5):
            reveal = Reveal.from_bytes(round_.answer(slot))
            shifted = {owner: (share + slot**3) % PRIME for owner, share in reveal.seed_shares.items()}
            round_.receive(slot, Reveal(shifted if slot > 1 else reveal.seed_shares, {}).to_bytes())
    assert caught.value.stage is Phase.REVEAL
    assert set(round_.server.faulty) == {"site-0"}
    assert round_.server.phase is Phase.ABORTED
    assert round_.server.result is None


def _advertising_falsely(field: str) -> Round:
    """Site 4 advertises what does not follow from the secrets it will share."""
    round_ = Round(5, colluders=1)
    for slot in range(5):
        data = round_.answer(slot)
        if slot == 4:
            other = mask_pair(b"other".ljust(32), CONTEXT).public
            advert = replace(Advert.from_bytes(data), **{field: other})
            machine = vars(round_.clients[4])
            machine["_state"] = replace(machine["_state"], advert=advert)
            data = advert.to_bytes()
        round_.receive(slot, data)
    return round_


@pytest.mark.parametrize(("field", "vanishing"), [("commitment", set()), ("mask_key", {4})])
def test_a_secret_that_does_not_fit_its_advert_names_its_owner(field: str, vanishing: set[int]) -> None:
    """A sum with a wrong mask taken off would be noise."""
    round_ = _advertising_falsely(field)
    round_.step()
    round_.step(round_.everyone - vanishing)
    with pytest.raises(TooFew) as caught:
        round_.step()
    assert caught.value.stage is Phase.REVEAL
    assert set(round_.server.faulty) == {"site-4"}


def test_a_site_whose_shares_nobody_can_open_voids_the_round() -> None:
    round_ = _advertising_falsely("channel_key")
    round_.step()
    with pytest.raises(TooFew) as caught:
        round_.step()
    assert caught.value.stage is Phase.MASK


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
