"""privacy.secagg.client: what a site refuses, and what it forgets. Numbers: the abuse it answers to."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import is_dataclass, replace
from functools import partial
from types import FunctionType, ModuleType

import numpy as np
import pytest

from privacy.errors import (
    FaultyServer,
    MalformedMessage,
    PolicyViolation,
    PrivacyError,
    ProtocolError,
    SuspectedClient,
)
from privacy.secagg.client import ClientMachine
from privacy.secagg.dealing import named
from privacy.secagg.kem import KemPair
from privacy.secagg.keys import Secrets, channel_pair, kem_pair, mask_half, wrap_half
from privacy.secagg.masks import apply, pair_mask, self_mask
from privacy.secagg.messages import (
    Advert,
    Adverts,
    Certificate,
    Delivery,
    Masked,
    Reveal,
    Sealed,
    SealedShares,
    Survivors,
    Vote,
)
from privacy.secagg.parameters import Floor
from privacy.secagg.ring import lane_type
from privacy.secagg.server import Phase
from privacy.secagg.statements import bind_adverts, bind_masks, bind_session, cast, make_advert
from privacy.secagg.states import Masked as HasMasked
from tests.privacy.secagg.rounds import (
    CONTEXT,
    SESSION,
    Round,
    entropy,
    identity,
    make_roster,
    mask,
    site,
    unpack,
)
from tests.privacy.secagg.statistics import ALARM, chi_square_p_value

LOW_ORDER = [0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18]


def _is_over(client: ClientMachine) -> None:
    """After an abort nothing works and no secret is left."""
    vector = np.zeros(7, np.uint64)
    calls: list[Callable[[], bytes]] = [
        client.advertise,
        lambda: client.share(b""),
        lambda: mask(client, b"", vector, CONTEXT),
        lambda: client.mask(vector, CONTEXT),
        lambda: client.commit(b""),
        lambda: client.reveal(b""),
    ]
    for call in calls:
        with pytest.raises(ProtocolError):
            call()
    assert not _secrets(client)


def _secrets(client: ClientMachine) -> list[object]:
    """Everything a machine still holds beyond what everyone may know."""
    public = {"_parameters", "_keys", "_slot", "_peers", "_session", "_graph", "_answered"}
    public |= {"_entropy", "_identity"}  # the caller's own, for more than this round
    left = [value for name, value in vars(client).items() if name not in public]
    return [value for value in left if not is_dataclass(value) or vars(value)]


def _refuses(
    call: Callable[[], bytes | None], error: type[PrivacyError], match: str, client: ClientMachine
) -> None:
    with pytest.raises(error, match=match):
        call()
    _is_over(client)


# --- adverts ---------------------------------------------------------------------------------------------


FIELDS = ["channel_key", "kem_key", "commitments"]


def _other(field: str) -> object:
    """What this field of an advert could hold as well."""
    secret = b"server".ljust(32)
    makers = {"channel_key": channel_pair, "kem_key": kem_pair}
    return makers[field](secret, SESSION).public if field in makers else (secret,) * 2


def _adverts(round_: Round) -> Adverts:
    return Adverts.from_bytes(round_.until(Phase.SHARE).inbox[0])


@pytest.mark.parametrize("field", FIELDS)
def test_an_own_advert_that_was_altered_is_refused(field: str) -> None:
    round_ = Round()
    adverts = dict(_adverts(round_).by_slot)
    adverts[0] = replace(adverts[0], **{field: _other(field)})
    client = round_.clients[0]
    _refuses(lambda: client.share(Adverts(adverts).to_bytes()), FaultyServer, "own advert", client)


def test_an_own_advert_that_is_missing_is_refused() -> None:
    round_ = Round()
    others = {slot: advert for slot, advert in _adverts(round_).by_slot.items() if slot != 0}
    client = round_.clients[0]
    _refuses(lambda: client.share(Adverts(others).to_bytes()), FaultyServer, "own advert", client)


def test_fewer_adverts_than_required_are_refused() -> None:
    round_ = Round(5, colluders=1)
    adverts = {slot: advert for slot, advert in _adverts(round_).by_slot.items() if slot < 3}
    client = round_.clients[0]
    _refuses(lambda: client.share(Adverts(adverts).to_bytes()), FaultyServer, "adverts of 3 sites, 4", client)


def test_an_advert_of_no_member_is_refused() -> None:
    round_ = Round()
    adverts = dict(_adverts(round_).by_slot)
    adverts[5] = replace(adverts[4], channel_key=channel_pair(b"x" * 32, CONTEXT).public)
    del adverts[4]
    client = round_.clients[0]
    _refuses(lambda: client.share(Adverts(adverts).to_bytes()), FaultyServer, "no member", client)


@pytest.mark.parametrize("field", FIELDS[:2])
def test_the_same_key_twice_is_refused(field: str) -> None:
    round_ = Round()
    adverts = dict(_adverts(round_).by_slot)
    adverts[1] = replace(adverts[1], **{field: getattr(adverts[2], field)})
    client = round_.clients[0]
    _refuses(lambda: client.share(Adverts(adverts).to_bytes()), FaultyServer, "same key", client)


@pytest.mark.parametrize("coordinate", LOW_ORDER)
def test_a_peer_key_of_small_order_is_refused(coordinate: int) -> None:
    round_ = Round()
    adverts = dict(_adverts(round_).by_slot)
    adverts[1] = replace(adverts[1], channel_key=coordinate.to_bytes(32, "little"))
    client = round_.clients[0]
    _refuses(lambda: client.share(Adverts(adverts).to_bytes()), MalformedMessage, "small order", client)


def test_a_peer_kem_key_that_is_not_reduced_is_refused() -> None:
    round_ = Round()
    adverts = dict(_adverts(round_).by_slot)
    adverts[1] = replace(adverts[1], kem_key=b"\xff" * 1184)
    client = round_.clients[0]
    _refuses(lambda: client.share(Adverts(adverts).to_bytes()), MalformedMessage, "KEM key", client)


def test_an_advert_whose_keys_the_server_swapped_is_refused() -> None:
    """1: the server puts its own key in place of a peer's, and cannot sign for it."""
    for field in FIELDS:
        round_ = Round()
        adverts = dict(_adverts(round_).by_slot)
        adverts[1] = replace(adverts[1], **{field: _other(field)})
        client = round_.clients[0]
        _refuses(
            partial(client.share, Adverts(adverts).to_bytes()), FaultyServer, "site-1 did not sign", client
        )


def test_an_advert_signed_by_another_member_is_refused() -> None:
    """2: two members' adverts exchanged, each with its own good signature."""
    round_ = Round()
    adverts = dict(_adverts(round_).by_slot)
    adverts[1], adverts[2] = adverts[2], adverts[1]
    client = round_.clients[0]
    _refuses(partial(client.share, Adverts(adverts).to_bytes()), FaultyServer, "did not sign", client)


def test_an_advert_of_another_session_is_refused() -> None:
    """48: what a peer signed for another run, round or attempt."""
    round_, other = Round(), Round(session=b"another attempt".ljust(32))
    adverts = dict(_adverts(round_).by_slot)
    adverts[1] = _adverts(other).by_slot[1]
    client = round_.clients[0]
    _refuses(partial(client.share, Adverts(adverts).to_bytes()), FaultyServer, "for this round", client)


# --- shares ----------------------------------------------------------------------------------------------


def _delivered(round_: Round) -> dict[int, Sealed]:
    return dict(Delivery.from_bytes(round_.until(Phase.MASK).inbox[0]).by_slot)


def _mask(round_: Round, shares: dict[int, Sealed], sharers: set[int] | None = None) -> Callable[[], bytes]:
    delivery = Delivery(frozenset(sharers or {0, *shares}), shares).to_bytes()
    return lambda: mask(round_.clients[0], delivery, round_.vectors[0], CONTEXT)


def test_a_share_moved_to_another_recipient_is_refused() -> None:
    round_ = Round()
    shares = _delivered(round_)
    shares[2] = Delivery.from_bytes(round_.inbox[1]).by_slot[2]
    _refuses(_mask(round_, shares), SuspectedClient, "site-2 or the server", round_.clients[0])


def test_a_share_under_another_senders_name_is_refused() -> None:
    round_ = Round()
    shares = _delivered(round_)
    shares[1], shares[2] = shares[2], shares[1]
    _refuses(_mask(round_, shares), SuspectedClient, "does not open", round_.clients[0])


def test_a_share_of_another_round_is_refused() -> None:
    round_, other = Round(), Round(session=b"another round".ljust(32))
    shares = _delivered(round_)
    shares[3] = _delivered(other)[3]
    _refuses(_mask(round_, shares), SuspectedClient, "site-3", round_.clients[0])


@pytest.mark.parametrize(
    "at", [0, 1087, 1088, 1233, 1234, 1265, 1266, 1297, 1298, 1329, 1330, 1361, 1362, 1425]
)
def test_an_entry_with_one_bit_flipped_is_refused_and_its_dealer_named(at: int) -> None:
    """I5: both ends of ciphertext, seal, each digest and signature."""
    round_ = Round()
    shares = _delivered(round_)
    altered = bytearray(shares[4].to_bytes())
    altered[at] ^= 1 << at % 8
    shares[4] = Sealed.from_bytes(bytes(altered))
    with pytest.raises(SuspectedClient) as caught:
        _mask(round_, shares)()
    assert caught.value.site == "site-4"
    _is_over(round_.clients[0])


@pytest.mark.parametrize("field", ["ciphertext", "sealed", "dealt"])
def test_parts_of_an_entry_do_not_fit_another_entry(field: str) -> None:
    """I5: of another sender, another recipient, another attempt."""
    for source in ("sender", "recipient", "attempt"):
        round_ = Round()
        shares = _delivered(round_)
        other = {
            "sender": shares[2],
            "recipient": Delivery.from_bytes(round_.inbox[1]).by_slot[4],
            "attempt": _delivered(Round(session=b"another attempt".ljust(32)))[4],
        }[source]
        shares[4] = replace(shares[4], **{field: getattr(other, field)})
        _refuses(_mask(round_, shares), SuspectedClient, "site-4", round_.clients[0])


def test_fewer_sharers_than_required_are_refused() -> None:
    round_ = Round(5, colluders=1)
    shares = {slot: sealed for slot, sealed in _delivered(round_).items() if slot < 3}
    _refuses(_mask(round_, shares), FaultyServer, "sharers of 3 sites, 4", round_.clients[0])


def test_a_sharer_that_never_advertised_is_refused() -> None:
    for stranger in (5, 60_000):
        round_ = Round()
        shares = _delivered(round_)
        shares[stranger] = shares.pop(4)
        _refuses(_mask(round_, shares), FaultyServer, "never advertised", round_.clients[0])


def test_deliveries_other_than_one_from_each_sharing_neighbor_are_refused() -> None:
    round_ = Round()
    shares = _delivered(round_)
    _refuses(_mask(round_, {**shares, 0: shares[1]}), FaultyServer, "one from each", round_.clients[0])
    for sharers, match in (({0, 1, 2, 3}, "one from each"), ({1, 2, 3, 4}, "not to have shared")):
        round_ = Round()
        _refuses(_mask(round_, _delivered(round_), sharers), FaultyServer, match, round_.clients[0])


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros(6, np.uint64),
        np.zeros((7, 1), np.uint64),
        np.zeros(7, np.int64),
        np.full(7, 2**21, np.uint64),
    ],
)
def test_a_vector_outside_the_ring_is_refused_and_ends_the_round(vector: np.ndarray) -> None:
    round_ = Round(ring_bits=21, length=7).until(Phase.MASK)
    with pytest.raises(ValueError):
        mask(round_.clients[0], round_.inbox[0], vector, CONTEXT)
    _is_over(round_.clients[0])


def test_a_second_vector_is_never_masked() -> None:
    """The difference of two vectors under one mask would be plain."""
    round_ = Round().until(Phase.MASK)
    client = round_.clients[0]
    first = mask(client, round_.inbox[0], round_.vectors[0], CONTEXT)
    assert mask(client, round_.inbox[0], round_.vectors[1], CONTEXT) == first
    shares = _delivered_again(round_)
    del shares[1]
    _refuses(_mask(round_, shares), FaultyServer, "second", client)


def test_the_same_delivery_again_is_free_and_another_one_ends_the_round() -> None:
    """Before the vector is masked and after it."""
    for is_masked in (False, True):
        round_ = Round().until(Phase.MASK)
        client = round_.clients[0]
        client.accept(round_.inbox[0])
        if is_masked:
            client.mask(round_.vectors[0], CONTEXT)
        client.accept(round_.inbox[0])
        shares = _delivered_again(round_)
        del shares[1]
        other = Delivery(frozenset({0, *shares}), shares).to_bytes()
        _refuses(partial(client.accept, other), FaultyServer, "second", client)


def test_accepted_shares_serve_one_context() -> None:
    round_ = Round().until(Phase.MASK)
    client = round_.clients[0]
    client.accept(round_.inbox[0])
    first = client.mask(round_.vectors[0], CONTEXT)
    assert client.mask(round_.vectors[1], CONTEXT) == first
    other = b"other params".ljust(32)
    _refuses(partial(client.mask, round_.vectors[0], other), FaultyServer, "second", client)


def _delivered_again(round_: Round) -> dict[int, Sealed]:
    return dict(Delivery.from_bytes(round_.inbox[0]).by_slot)


def test_other_params_in_the_same_round_are_refused() -> None:
    """15: the same delivery under another context is another request."""
    round_ = Round().until(Phase.MASK)
    client = round_.clients[0]
    mask(client, round_.inbox[0], round_.vectors[0], CONTEXT)
    other = partial(mask, client, round_.inbox[0], round_.vectors[0], b"other params".ljust(32))
    _refuses(other, FaultyServer, "second", client)


def test_masking_leaves_the_callers_vector_alone() -> None:
    round_ = Round(ring_bits=40).until(Phase.MASK)
    before = round_.vectors[0].copy()
    mask(round_.clients[0], round_.inbox[0], round_.vectors[0], CONTEXT)
    assert np.array_equal(round_.vectors[0], before)


# --- survivors and certificates ----------------------------------------------------------------------------


def _masked(*gone: int, colluders: int = 1, dropouts: int = 99) -> Round:
    """All of five sites have masked; the server heard nothing of those who are gone. Site 0 is not asked yet."""
    round_ = Round(5, colluders=colluders, dropouts=dropouts).until(Phase.MASK)
    for slot in gone:
        round_.answer(slot)
    round_.step(round_.everyone - set(gone))
    return round_


def _votes(round_: Round, survivors: frozenset[int], voters: frozenset[int]) -> dict[int, Vote]:
    """Genuine votes, as the sites' own keys sign them."""
    return {
        slot: cast(identity(site(slot)), round_.server.transcript, survivors, b"u" * 32) for slot in voters
    }


def _certify(round_: Round, *slots: int, voters: tuple[int, ...] | None = None) -> partial[bytes]:
    survivors = frozenset(slots)
    votes = _votes(round_, survivors, frozenset(slots if voters is None else voters))
    return partial(round_.clients[0].reveal, Certificate(survivors, votes).to_bytes())


def _vote(round_: Round, *slots: int) -> Callable[[], bytes]:
    return partial(round_.clients[0].commit, Survivors(frozenset(slots)).to_bytes())


def _never_shared() -> Round:
    round_ = Round().until(Phase.SHARE)
    round_.step({0, 1, 2, 3})
    round_.step()
    return round_


@pytest.mark.parametrize("ask", [_vote, _certify])
def test_survivors_that_no_honest_server_names_are_refused(ask: Callable[..., Callable[[], bytes]]) -> None:
    """18, 19, 20: whoever never shared, a sum without oneself, fewer than required."""
    round_ = _never_shared()
    _refuses(ask(round_, 0, 1, 2, 4), FaultyServer, "never shared", round_.clients[0])
    round_ = _masked(4)
    _refuses(ask(round_, 1, 2, 3, 4), FaultyServer, "without its own", round_.clients[0])
    round_ = _masked(4)
    _refuses(ask(round_, 0, 1, 2), FaultyServer, "survivors of 3 sites, 4", round_.clients[0])


@pytest.mark.parametrize("ask", [_vote, _certify])
def test_survivors_below_what_the_plan_demands_are_refused_though_above_the_threshold(
    ask: Callable[..., Callable[[], bytes]],
) -> None:
    round_ = _masked(4, colluders=0, dropouts=1)
    assert round_.parameters.threshold == 3
    _refuses(ask(round_, 0, 1, 2), FaultyServer, "4 are required", round_.clients[0])


def test_a_second_vote_for_another_set_is_refused_and_the_same_one_answered_alike() -> None:
    """21: two subset votes."""
    round_ = _masked(4)
    first = _vote(round_, 0, 1, 2, 3)()
    assert _vote(round_, 0, 1, 2, 3)() == first
    _refuses(_vote(round_, 0, 1, 2, 4), FaultyServer, "other content", round_.clients[0])


def test_a_second_vote_for_everyone_is_refused() -> None:
    round_ = _masked(4)
    _refuses(_vote(round_, 0, 1, 2, 3, 4), FaultyServer, "nobody is missing", round_.clients[0])


def test_whoever_voted_for_a_smaller_set_helps_to_open_no_other() -> None:
    for others in ((0, 1, 2, 3, 4), (0, 1, 2, 4)):
        round_ = _masked(4)
        _vote(round_, 0, 1, 2, 3)()
        _refuses(_certify(round_, *others), FaultyServer, "than this site voted for", round_.clients[0])


def test_a_site_that_was_not_asked_to_vote_accepts_the_vote_of_the_others() -> None:
    round_ = _masked(4, colluders=0)
    assert _certify(round_, 0, 1, 2, 3, voters=(1, 2, 3))()


def test_a_second_certificate_is_refused_and_the_same_one_answered_alike() -> None:
    """23: a reveal asked for twice, for different sets."""
    round_ = _masked(4)
    first = _certify(round_, 0, 1, 2, 3)()
    assert _certify(round_, 0, 1, 2, 3)() == first
    _refuses(_certify(round_, 0, 1, 2, 4), FaultyServer, "other content", round_.clients[0])


def test_a_reveal_gives_one_kind_of_share_for_every_sharer() -> None:
    round_ = _masked(2)
    reveal = Reveal.from_bytes(_certify(round_, 0, 1, 3, 4)())
    assert reveal.seed_shares.keys() == {0, 1, 3, 4}
    assert reveal.key_shares.keys() == {2}


def test_a_certificate_is_checked_before_it_is_answered_and_by_the_same_rules() -> None:
    """The names of those whose sum is opened, and all shares still held; a bad certificate ends the round."""
    round_ = _masked(2)
    client, certificate = round_.clients[0], _certify(round_, 0, 1, 3, 4).args[0]
    assert client.check(certificate) == client.check(certificate) == tuple(map(site, (0, 1, 3, 4)))
    assert Reveal.from_bytes(client.reveal(certificate)).seed_shares.keys() == {0, 1, 3, 4}
    round_ = _masked(4)
    short = _certify(round_, 0, 1, 2, 3, voters=(1, 2, 3)).args[0]
    client = round_.clients[0]
    _refuses(partial(client.check, short), FaultyServer, "3 votes, 4", client)
    fresh = Round(5, colluders=1).clients[0]
    _refuses(partial(fresh.check, certificate), FaultyServer, "out of order", fresh)


def test_a_certificate_below_the_quorum_is_refused() -> None:
    """22: q - 1 votes; no vote can be counted twice, as a message names a slot once."""
    round_ = _masked(4)
    _refuses(_certify(round_, 0, 1, 2, 3, voters=(1, 2, 3)), FaultyServer, "3 votes, 4", round_.clients[0])


def test_votes_from_outside_the_sum_do_not_count() -> None:
    """22: voters who are no survivors, or no members."""
    for stranger in (4, 5, 60_000):
        round_ = _masked(4)
        votes = _votes(round_, frozenset({0, 1, 2, 3}), frozenset({1, 2, 3, stranger}))
        certificate = Certificate(frozenset({0, 1, 2, 3}), votes).to_bytes()
        client = round_.clients[0]
        _refuses(partial(client.reveal, certificate), FaultyServer, "outside the sum", client)


def test_votes_for_other_sets_rounds_or_by_other_keys_do_not_count() -> None:
    """22, 48: one vote among enough good ones is for another set, from another round, or not that site's."""
    survivors = frozenset({0, 1, 2, 3})
    for case in ("set", "round", "signer", "upload"):
        round_ = _masked(4)
        votes = _votes(round_, survivors, survivors)
        transcript = round_.server.transcript
        wrong = {
            "set": cast(identity(site(1)), transcript, frozenset({0, 1, 2, 4}), b"u" * 32),
            "round": cast(identity(site(1)), b"other".ljust(32), survivors, b"u" * 32),
            "signer": votes[2],
            "upload": replace(votes[1], upload=b"v" * 32),
        }
        certificate = Certificate(survivors, {**votes, 1: wrong[case]}).to_bytes()
        client = round_.clients[0]
        _refuses(partial(client.reveal, certificate), FaultyServer, "did not cast", client)


# --- order, memory, randomness ---------------------------------------------------------------------------


def test_steps_out_of_order_end_the_round() -> None:
    """24: a step before its time, whatever it carries."""
    phases = [Phase.ADVERTISE, Phase.SHARE, Phase.MASK, Phase.MASK]
    for reached, phase in enumerate(phases):
        for early in range(reached + 1, 6):
            round_ = Round().until(phase)
            client, vector = round_.clients[0], round_.vectors[0]
            if reached == 3:
                client.accept(round_.inbox[0])
            calls: list[Callable[[], bytes | None]] = [
                client.advertise,
                partial(client.share, b"\x04\x02\0\0"),
                partial(client.accept, b"\x04\x04\0\0\0\0"),
                partial(client.mask, vector, CONTEXT),
                partial(client.commit, b"\x04\x06\0\0"),
                partial(client.reveal, b"\x04\x08\0\0\0\0"),
            ]
            _refuses(calls[early], FaultyServer, "out of order", client)


def test_nothing_is_answered_after_the_reveal_but_what_was_answered_before() -> None:
    round_ = Round().until(Phase.DONE)
    client = round_.clients[0]
    _refuses(
        lambda: client.commit(Survivors(frozenset({0, 1, 2, 3})).to_bytes()), FaultyServer, "order", client
    )


def test_the_same_request_gets_the_same_bytes_at_every_step() -> None:
    round_ = Round()
    client = round_.clients[0]
    while round_.server.phase is not Phase.DONE:
        assert round_.answer(0) == round_.answer(0)
        round_.step()
    assert client.advertise() == client.advertise()


def test_secrets_are_gone_after_the_reveal() -> None:
    round_ = Round().until(Phase.REVEAL)
    assert _secrets(round_.clients[0])
    round_.step()
    assert not _secrets(round_.clients[0])
    assert repr(round_.clients[0]) == "ClientMachine(slot=0, finished)"


def _reaches(start: object, wanted: object) -> bool:
    """Whether these bytes, or an object of this class, are held anywhere below an object."""
    seen, stack = set(), [start]
    while stack:
        item = stack.pop()
        if id(item) in seen or isinstance(item, type | ModuleType | FunctionType):
            continue
        seen.add(id(item))
        if isinstance(wanted, type) and isinstance(item, wanted):
            return True
        if isinstance(item, bytes) and isinstance(wanted, bytes) and wanted in item:
            return True
        stack.extend(gc.get_referents(item))
    return False


def test_each_secret_is_gone_as_soon_as_its_step_is_over() -> None:
    """I12: root, s, w and the seeds of excess noise go when shares are sealed, what opens incoming seals when they
    are open, m and halves when it masks.
    """
    round_, held = Round(levels=(1,)), []
    client = round_.clients[0]
    secrets, other = round_.secrets(0), round_.secrets(1)
    twins = [Round(levels=(1,)).clients[slot] for slot in range(5)]
    adverts = Adverts({slot: Advert.from_bytes(twin.advertise(), 1) for slot, twin in enumerate(twins)})
    link = bind_adverts(round_.link, adverts)
    sought: list[object] = [
        entropy(site(0))(32),
        secrets.mask,
        secrets.channel,
        round_.excess(0)[0],
        secrets.seed,
        channel_pair(secrets.channel, round_.link).agree(channel_pair(other.channel, round_.link).public),
        KemPair,
        mask_half(secrets.mask, link, 0, 1),
        wrap_half(secrets.mask, link, 0, 1),
        mask_half(other.mask, link, 1, 0),
        wrap_half(other.mask, link, 1, 0),
    ]
    while round_.server.phase is not Phase.DONE:
        if round_.server.phase is Phase.MASK:
            client.accept(round_.inbox[0])
            held.append([_reaches(client, secret) for secret in sought])
        round_.step()
        held.append([_reaches(client, secret) for secret in sought])
    names = ["root", "s", "w", "e", "m", "agreed", "kem", "x to", "y to", "x from", "y from"]
    opening, pair = {"m", "agreed", "kem", "x to"}, {"m", "x to", "x from", "y from"}
    kept = [{"root", "e"}, opening, pair, set(), set()]  # advertise to reveal
    assert held == [[name in each for name in names] for each in kept]


def test_control_a_root_that_is_kept_is_seen() -> None:
    round_ = Round().until(Phase.MASK)
    client, root = round_.clients[0], entropy(site(0))(32)
    assert not _reaches(client, root)
    vars(vars(client)["_state"])["kept"] = {"deep": [root]}
    assert _reaches(client, root)


def test_an_abort_by_the_caller_ends_the_round() -> None:
    round_ = Round().until(Phase.MASK)
    round_.clients[0].abort()
    _is_over(round_.clients[0])


# --- who may make a machine --------------------------------------------------------------------------------


def _machine(name: str = "site-0", **changes: object) -> ClientMachine:
    round_ = Round()
    given = {
        "identity": identity(name),
        "roster": round_.roster,
        "parameters": round_.parameters,
        "session": SESSION,
        "floor": round_.floor,
        "entropy": entropy(name),
    }
    return ClientMachine(name, **{**given, **changes})  # type: ignore[arg-type]


def test_a_site_outside_the_cohort_gets_no_machine() -> None:
    with pytest.raises(ProtocolError, match="not a member"):
        _machine("stranger")


def test_a_site_whose_key_is_not_the_rosters_gets_no_machine() -> None:
    with pytest.raises(ProtocolError, match="another identity key"):
        _machine(identity=identity("site-1"))


def test_a_session_or_context_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        _machine(session=b"short")
    round_ = Round(contexts={0: b"short"}).until(Phase.MASK)
    with pytest.raises(ValueError, match="32 bytes"):
        round_.answer(0)


def test_a_member_that_the_roster_does_not_certify_is_refused() -> None:
    """8: invented sites among the members."""
    roster = make_roster(["site-0", "site-1", "site-2", "site-3", "site-5"])
    with pytest.raises(FaultyServer, match="not on the roster"):
        _machine(roster=roster)


def test_two_members_of_one_organization_are_refused() -> None:
    """4: one organization would count twice, in the floor and among the colluders."""
    roster = make_roster(Round().parameters.members, organization="one for all, not {0:.0}")
    with pytest.raises(PolicyViolation, match="one organization"):
        _machine(roster=roster)


def test_a_cohort_below_the_floor_is_refused() -> None:
    """7: smaller than the site's own least."""
    with pytest.raises(PolicyViolation, match="cohort of 5 sites, this site demands 6"):
        _machine(floor=Floor(6, 1, 99))
    assert _machine(floor=Floor(5, 1, 99))


@pytest.mark.parametrize("floor", [Floor(3, 2, 99), Floor(3, 1, 0)])
def test_what_the_plan_says_of_colluders_and_dropouts_is_not_the_servers_to_change(floor: Floor) -> None:
    """10: the threshold follows from both."""
    with pytest.raises(PolicyViolation, match="not those of the plan"):
        _machine(floor=floor)


# --- what a lie gets -----------------------------------------------------------------------------------------


def test_a_masked_vector_is_uniform_even_to_the_server() -> None:
    """Of a constant vector, at false alarms of one in a million; the vector itself is the failing control."""
    round_ = Round(3, ring_bits=24, length=100_000)
    round_.vectors = [np.full(100_000, 3, np.uint64)] * 3
    round_.until(Phase.MASK)
    reply = round_.answer(0)
    size = round_.parameters.length * 3
    lanes = unpack(Masked.from_bytes(reply, size).packed, 100_000, 24)
    assert chi_square_p_value(round_.vectors[0].astype(lane_type(24))) < ALARM
    assert chi_square_p_value(lanes) > ALARM
    assert chi_square_p_value(lanes >> lanes.dtype.type(16)) > ALARM


def test_sites_that_were_told_of_different_sessions_do_not_accept_each_others_adverts() -> None:
    """17: a session holds plan, policy, run, round and attempt; here one site was told of another plan."""
    round_ = Round(5, sessions={0: b"another plan".ljust(32)})
    adverts = {slot: Advert.from_bytes(client.advertise()) for slot, client in enumerate(round_.clients)}
    for client in round_.clients:
        with pytest.raises(FaultyServer, match="did not sign"):
            client.share(Adverts(adverts).to_bytes())


def test_sites_that_were_shown_different_rosters_do_not_accept_each_others_adverts() -> None:
    """9, 17: the roster's root is in every signature."""
    members = Round(5).parameters.members
    round_ = Round(5, rosters={0: make_roster([*members, "one-more"])})
    adverts = {slot: Advert.from_bytes(client.advertise()) for slot, client in enumerate(round_.clients)}
    for client in round_.clients:
        with pytest.raises(FaultyServer, match="did not sign"):
            client.share(Adverts(adverts).to_bytes())


def test_sites_that_were_shown_different_adverts_do_not_open_each_others_shares() -> None:
    """A site's own second advert, genuinely signed, shown to one site only."""
    round_ = Round(5)
    adverts = dict(_adverts(round_).by_slot)
    link = bind_session(SESSION, round_.roster.root, round_.parameters)
    secrets = Secrets.of(b"r" * 32, link)
    adverts[4] = make_advert(identity(site(4)), link, 4, secrets.channel, named(secrets, ()))
    round_.inbox[0] = Adverts(adverts).to_bytes()
    dealt = {slot: SealedShares.from_bytes(round_.answer(slot)).by_slot for slot in range(4)}
    for slot in range(4):
        sealed = {peer: shares[slot] for peer, shares in dealt.items() if peer != slot}
        with pytest.raises(SuspectedClient):
            round_.clients[slot].accept(Delivery(frozenset(range(4)), sealed).to_bytes())


class _Colluder:
    """All that the server could know at the very most, for one lie: every self seed, and the halves with site 3."""

    def __init__(self, round_: Round) -> None:
        self.round = round_.until(Phase.MASK)
        self.adverts = {
            slot: Advert.from_bytes(client.advertise()) for slot, client in enumerate(round_.clients)
        }
        session = bind_session(SESSION, round_.roster.root, round_.parameters)
        self.link = bind_adverts(session, Adverts(self.adverts))

    def transcript(self, slot: int, sharers: set[int]) -> bytes:
        return bind_masks(self.link, self.round.contexts[slot], sharers)

    def bare(self, slot: int, sharers: set[int]) -> np.ndarray:
        """A zero vector's upload when told of these sharers, without its self mask and site 3's pair mask."""
        length, transcript = self.round.parameters.length, self.transcript(slot, sharers)
        sealed = Delivery.from_bytes(self.round.inbox[slot]).by_slot
        data = Delivery(frozenset(sharers), {at: sealed[at] for at in sharers - {slot}}).to_bytes()
        reply = mask(self.round.clients[slot], data, np.zeros(length, np.uint64), self.round.contexts[slot])
        upload = unpack(Masked.from_bytes(reply, 4 * length).packed, length, 32)
        masks = [self_mask(self.round.secrets(slot).seed, transcript, slot).inverse()]
        if 3 in sharers:
            ends = ((3, slot), (slot, 3))
            given, taken = (
                mask_half(self.round.secrets(own).mask, self.link, own, peer) for own, peer in ends
            )
            masks.append(pair_mask(given, taken, transcript, 3, slot))
        apply(upload, masks)
        return upload


@pytest.mark.parametrize(
    ("params", "sharers", "is_told_alike"),
    [
        (CONTEXT, {0, 1, 2, 3}, True),
        (b"other params".ljust(32), {0, 1, 2, 3}, False),
        (CONTEXT, {0, 1, 2}, False),
    ],
)
def test_uploads_of_sites_that_were_told_different_things_sum_to_noise(
    params: bytes, sharers: set[int], is_told_alike: bool
) -> None:
    """16, 17: of zero vectors, site 0 lied to about params or sharers. Told alike, the control, they sum to 0."""
    server = _Colluder(Round(4, colluders=0, ring_bits=32, length=50_000, contexts={0: params}))
    total = server.bare(0, sharers) + server.bare(1, {0, 1, 2, 3}) + server.bare(2, {0, 1, 2, 3})
    assert total.any() != is_told_alike
    assert is_told_alike or chi_square_p_value(total) > ALARM


# --- on a ring -----------------------------------------------------------------------------------------------


def test_on_a_ring_survivors_that_leave_a_member_with_too_few_neighbors_are_refused() -> None:
    """29: a hostile server cuts around one member; one neighbor more (the control) and it is a set like others."""
    round_ = Round(200, colluders=2, dropouts=40)
    rules, link = round_.parameters, bind_session(SESSION, round_.roster.root, round_.parameters)
    around = [slot for slot in rules.graph(link).neighbors(100) if slot != 0]
    cut = rules.shape.degree - rules.threshold + 1
    assert cut <= rules.tolerated
    for gone, is_refused in ((around[:cut], True), (around[: cut - 1], False)):
        client = round_.client(0)
        vars(client)["_state"] = HasMasked(bytes(32), bytes(32), round_.everyone, frozenset(), bytes(32), {})
        ask = partial(client.commit, Survivors(round_.everyone - set(gone)).to_bytes())
        if is_refused:
            _refuses(ask, FaultyServer, "too few neighbors", client)
        else:
            assert ask()
